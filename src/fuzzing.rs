//! Fuzzing of the readers and decisions that take input from outside. Each target has a folder in `tests/fuzz` with its
//! corpus: recorded inputs, and those that failed once. A run replays the corpus, then mutates it.
//!
//! `cargo test` runs [`COUNT`] inputs of a fixed seed. `make fuzz` sets `FUZZ_SECONDS` or `FUZZ_COUNT`, runs random
//! inputs, and prints their number. A failing input is reduced and added to the corpus.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

/// Inputs per target of a run without settings.
const COUNT: u64 = 300;

/// Longest time for one input. An input has some kilobytes, and takes milliseconds in a debug build.
const SLOW: Duration = Duration::from_secs(5);

/// Time after which an input counts as endless. The process ends then, because a thread cannot be stopped.
const ENDLESS: Duration = Duration::from_secs(60);

/// Largest growth of the peak memory of one target, in KiB. It is checked only if the process runs nothing else.
const MEMORY: u64 = 256 << 10;

/// Largest input, in bytes. Mutations repeat parts of it.
const MAX_BYTES: usize = 64 << 10;

/// Texts that replace a part of an input.
const TEXTS: [&str; 40] = [
    "",
    "0",
    "-1",
    "1e999",
    "18446744073709551616",
    "true",
    "false",
    "null",
    "{}",
    "[]",
    "[[[[[[[[[[[[[[[[",
    "\"",
    "\\",
    "*",
    "?",
    "local",
    "active",
    "pending-acceptance",
    "deleted",
    "Owned",
    "0.0.0.0/0",
    "0.0.0.0/1",
    "::/0",
    "10.1.0.0/16",
    "10.1.2.3/24",
    "10.0.0.0/33",
    "2001:db8::/56",
    "fd00::/8",
    "pcx-0123456789abcdef0",
    "pcx-0a1b2c3d4e5f67890",
    "vpc-11111111",
    "vpc-22222222",
    "rtb-0123456789abcdef0",
    "eu-central-1",
    "111111111111",
    "9999-12-31T23:59:59Z",
    "-009999-01-01T00:00:00Z",
    "&#0;&lt;&amp;",
    "\u{1f578}\u{202e}\u{0}\u{1b}[31m",
    "<item></item>",
];

/// A change of an input. Positions refer to its tokens.
#[derive(Clone, Debug)]
enum Mutation {
    /// Replace a token.
    Replace(Index, &'static str),
    /// Copy a token over another one.
    Copy(Index, Index),
    /// Remove this number of tokens.
    Remove(Index, usize),
    /// Repeat this number of tokens.
    Repeat(Index, usize, usize),
    /// Insert a part of another input of the corpus.
    Splice(Index, Index, Index, usize),
    Flip(Index, u8),
    Truncate(Index),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let at = any::<Index>;
    prop_oneof![
        6 => (at(), prop::sample::select(&TEXTS[..])).prop_map(|(at, text)| Mutation::Replace(at, text)),
        4 => (at(), at()).prop_map(|(from, to)| Mutation::Copy(from, to)),
        2 => (at(), 1..8usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        2 => (at(), 1..40usize, 1..20usize).prop_map(|(at, length, times)| Mutation::Repeat(at, length, times)),
        1 => (at(), at(), at(), 1..60usize).prop_map(|(to, other, at, length)| Mutation::Splice(to, other, at, length)),
        1 => (at(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => at().prop_map(Mutation::Truncate),
    ]
}

/// The ends of the tokens of an input: delimiters, and the texts between them.
fn tokens(input: &[u8]) -> Vec<usize> {
    let is_text = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"-_./".contains(&byte);
    let ends = (1..input.len()).filter(|end| !is_text(input[*end]) || !is_text(input[end - 1]));
    std::iter::once(0).chain(ends).chain([input.len()]).collect()
}

impl Mutation {
    fn apply(&self, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
        if input.is_empty() {
            return;
        }
        let ends = tokens(input);
        let token = |at: &Index, length: usize| {
            let first = at.index(ends.len() - 1);
            ends[first]..ends[(first + length).min(ends.len() - 1)]
        };
        match self {
            Self::Replace(at, text) => _ = input.splice(token(at, 1), text.bytes()),
            Self::Copy(from, to) => {
                let copy = input[token(from, 1)].to_vec();
                _ = input.splice(token(to, 1), copy);
            }
            Self::Remove(at, length) => _ = input.drain(token(at, *length)),
            Self::Repeat(at, length, times) => {
                let range = token(at, *length);
                let copy = input[range.clone()].repeat(*times);
                _ = input.splice(range.end..range.end, copy);
            }
            Self::Splice(to, other, at, length) => {
                let other = &corpus[other.index(corpus.len())];
                let ends = tokens(other);
                let first = at.index(ends.len());
                let part = &other[ends[first]..ends[(first + length).min(ends.len() - 1)]];
                let at = token(to, 1).end;
                _ = input.splice(at..at, part.iter().copied());
            }
            Self::Flip(at, bit) => {
                let at = at.index(input.len());
                input[at] ^= 1 << bit;
            }
            Self::Truncate(at) => input.truncate(at.index(input.len())),
        }
        input.truncate(MAX_BYTES);
    }
}

fn mutated(corpus: Arc<Vec<Vec<u8>>>) -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), prop::collection::vec(mutation(), 1..8)).prop_map(move |(seed, mutations)| {
        let mut input = corpus[seed.index(corpus.len())].clone();
        mutations.iter().for_each(|mutation| mutation.apply(&mut input, &corpus));
        input
    })
}

/// The outcome of a check. The error says which rule the code breaks.
pub(crate) type Verdict = Result<(), String>;

/// The number of inputs, or the time for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Budget {
    Count(u64),
    Time(Duration),
}

impl Budget {
    fn of_environment() -> Option<Self> {
        let number = |name: &str| std::env::var(name).ok()?.parse().ok();
        let seconds = number("FUZZ_SECONDS").map(|seconds| Self::Time(Duration::from_secs(seconds)));
        seconds.or_else(|| number("FUZZ_COUNT").map(Self::Count))
    }
}

/// Runs a target. `structured` makes inputs that mutations would hardly find. Panics if an input fails.
pub(crate) fn run(name: &str, structured: Option<BoxedStrategy<Vec<u8>>>, check: impl Fn(&[u8]) -> Verdict) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz").join(name);
    let target = Target { name, check, slow: SLOW, watch: Watch::start(&folder) };
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|file| file.map(|file| file.path()).unwrap_or_else(|error| panic!("{}: {error}", folder.display())))
        .collect();
    files.sort();
    let read = |file: &PathBuf| std::fs::read(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let corpus: Vec<_> = files.iter().map(read).collect();
    for (file, input) in files.iter().zip(&corpus) {
        target.check(input).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let mutations = mutated(Arc::new(corpus)).boxed();
    let inputs = structured.map_or_else(|| mutations.clone(), |inputs| prop_oneof![inputs, mutations.clone()].boxed());
    let budget = Budget::of_environment();
    let before = peak_memory();
    let (count, failure) = target.run(&inputs, budget);
    if let Some((reason, input)) = failure {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let file = folder.join(format!("failure-{:016x}", hasher.finish()));
        let written = std::fs::write(&file, &input);
        panic!("{name}: {reason}\nafter {count} inputs; input in {} ({written:?})", file.display());
    }
    if let (Some(_), Some(before), Some(after)) = (budget, before, peak_memory()) {
        assert!(after - before < MEMORY, "{name}: the memory has grown from {before} to {after} KiB");
    }
    if budget.is_some() {
        eprintln!("{name}: {count} inputs");
    }
}

/// A check of inputs.
struct Target<'a, C> {
    name: &'a str,
    check: C,
    /// Longest time for one input.
    slow: Duration,
    watch: Watch,
}

impl<C: Fn(&[u8]) -> Verdict> Target<'_, C> {
    fn check(&self, input: &[u8]) -> Verdict {
        let start = self.watch.begin(input);
        let outcome = (self.check)(input);
        let took = start.elapsed();
        self.watch.end();
        if took > self.slow {
            return Err(format!("{} bytes took {took:?}", input.len()));
        }
        outcome
    }

    /// Runs inputs until the budget is used up, or until one fails. Returns their number, and the failure.
    fn run(&self, inputs: &BoxedStrategy<Vec<u8>>, budget: Option<Budget>) -> (u64, Option<(String, Vec<u8>)>) {
        const BATCH: u32 = 1_000;
        let (count, start) = (AtomicU64::new(0), Instant::now());
        loop {
            let done = count.load(Ordering::Relaxed);
            let cases = match budget.unwrap_or(Budget::Count(COUNT)) {
                Budget::Count(all) => u32::try_from(all.saturating_sub(done)).unwrap_or(BATCH).min(BATCH),
                Budget::Time(time) if start.elapsed() < time => BATCH / 10,
                Budget::Time(_) => 0,
            };
            if cases == 0 {
                return (done, None);
            }
            let rng_seed = if budget.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) };
            let config = Config { cases, rng_seed, failure_persistence: None, ..Config::default() };
            let outcome = TestRunner::new(config).run(inputs, |input| {
                count.fetch_add(1, Ordering::Relaxed);
                self.check(&input).map_err(TestCaseError::fail)
            });
            match outcome {
                Ok(()) => {}
                Err(TestError::Fail(reason, input)) => {
                    return (count.load(Ordering::Relaxed), Some((reason.to_string(), input)));
                }
                Err(TestError::Abort(reason)) => panic!("{}: {reason}", self.name),
            }
        }
    }
}

/// Ends the process if an input takes endlessly, and keeps that input.
struct Watch(Arc<Mutex<Current>>);

/// The input that is being checked, and the start of its check.
type Current = Option<(Instant, Vec<u8>)>;

impl Watch {
    fn start(folder: &Path) -> Self {
        let (watch, file) = (Self(Arc::default()), folder.join("failure-endless"));
        let watched = Arc::downgrade(&watch.0);
        std::thread::spawn(move || {
            while let Some(current) = watched.upgrade() {
                let current = current.lock().ok().and_then(|current| current.clone());
                if let Some((_, input)) = current.filter(|(start, _)| start.elapsed() > ENDLESS) {
                    let written = std::fs::write(&file, input);
                    eprintln!("an input takes endlessly: {} ({written:?})", file.display());
                    std::process::abort();
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        watch
    }

    fn begin(&self, input: &[u8]) -> Instant {
        let now = Instant::now();
        self.set(Some((now, input.to_owned())));
        now
    }

    fn end(&self) {
        self.set(None);
    }

    fn set(&self, current: Current) {
        if let Ok(mut lock) = self.0.lock() {
            *lock = current;
        }
    }
}

/// The peak memory of this process, in KiB, where `/proc` shows it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(check: fn(&[u8]) -> Verdict) -> Target<'static, fn(&[u8]) -> Verdict> {
        Target { name: "planted", check, slow: SLOW, watch: Watch(Arc::default()) }
    }

    #[test]
    fn a_planted_fault_is_found_and_its_input_is_reduced() {
        let inputs = mutated(Arc::new(vec![br#"{"a": ["b", "c"], "d": 1}"#.to_vec()])).boxed();
        let fails = |input: &[u8]| match String::from_utf8_lossy(input) {
            text if text.contains("0.0.0.0/0") => Err("a route to everything".to_owned()),
            text if text.contains("[[[[[") => panic!("too deep"),
            _ => Ok(()),
        };
        let (_, failure) = target(fails).run(&inputs, Some(Budget::Count(10_000)));
        let (reason, input) = failure.unwrap_or_else(|| panic!("nothing found"));
        assert!(reason.contains("a route to everything") || reason.contains("too deep"), "{reason}");
        assert!(input.len() < 50, "{}", String::from_utf8_lossy(&input));
        assert_eq!(target(|_| Ok(())).run(&inputs, Some(Budget::Count(1_500))).0, 1_500);
    }

    #[test]
    fn a_slow_input_is_a_failure() {
        let mut slow = target(|_| {
            std::thread::sleep(Duration::from_millis(10));
            Ok(())
        });
        assert_eq!(slow.check(b"x"), Ok(()));
        slow.slow = Duration::from_millis(1);
        assert!(slow.check(b"x").is_err_and(|error| error.contains("1 bytes took")));
    }
}
