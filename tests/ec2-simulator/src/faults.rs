//! Faults on demand: which calls they hit, and what becomes of those.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::protocol::filter;
use crate::random::Random;
use crate::world::identity::Service;
use crate::world::peering::later;
use crate::world::{Caller, World};

/// A fault, as a test asks for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// Which calls it may hit.
    #[serde(default, rename = "match")]
    pub matching: Matching,
    /// How many calls it hits before it is spent; all of them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u32>,
    /// How likely it hits one.
    #[serde(default = "certain")]
    pub probability: f64,
    /// What becomes of a call that it hits.
    #[serde(flatten)]
    pub kind: Kind,
}

fn certain() -> f64 {
    1.0
}

/// Which calls: what is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Matching {
    /// The action, with `*` for any letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The caller's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The role that the caller acts as, by its name or ARN; a user, by their ARN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// It is refused, before it is looked at and whether or not it is a dry run, as IAM would.
    Error {
        /// Such as `UnauthorizedOperation`.
        code: String,
        /// The text; the code's own, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The HTTP status; the code's own, where it has one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// It is refused as one too many.
    Throttle,
    /// It takes this much longer, by the machine's clock.
    Latency {
        /// How much.
        seconds: f64,
    },
    /// It has no effect and no answer; the connection closes when the fault is removed.
    Hang,
    /// It waits for the fault to be removed, then goes its way.
    Gate,
    /// It has its effect, but the connection closes without a word.
    LostReply,
    /// It has its effect, but the connection closes in the middle of the answer.
    CrashMidAnswer,
    /// Describe actions answer with what was when the fault was made, as eventual consistency allows:
    /// <https://docs.aws.amazon.com/ec2/latest/devguide/eventual-consistency.html>.
    StaleDescribe {
        /// For how long, by the simulator's clock.
        seconds: f64,
    },
}

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Installed {
    /// What removes it.
    pub id: u64,
    /// How many calls it has hit.
    pub hits: u32,
    /// The fault.
    #[serde(flatten)]
    pub fault: Fault,
}

/// What the faults make of one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// How much longer it takes.
    pub latency: Duration,
    /// It waits for these faults to be removed.
    pub gates: Vec<u64>,
    /// It never comes to anything; this fault's removal ends it.
    pub hang: Option<u64>,
    /// It is refused.
    pub error: Option<Error>,
    /// It sees what was when this fault was made.
    pub stale: Option<u64>,
    /// How much of the answer arrives.
    pub delivery: Delivery,
    /// The kinds that hit it, for the journal.
    pub kinds: Vec<&'static str>,
}

/// How much of an answer arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delivery {
    /// All of it.
    #[default]
    Whole,
    /// The first half.
    Half,
    /// Nothing.
    Nothing,
}

/// A fault in force, with what it needs besides.
#[derive(Debug)]
struct Entry {
    installed: Installed,
    /// For stale answers: what was, when, and until when it is shown.
    past: Option<(World, Timestamp, Timestamp)>,
}

/// All faults in force.
#[derive(Debug)]
pub struct Faults {
    entries: Vec<Entry>,
    last_id: u64,
    random: Random,
}

impl Kind {
    /// Its name in JSON and in the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::Throttle => "throttle",
            Self::Latency { .. } => "latency",
            Self::Hang => "hang",
            Self::Gate => "gate",
            Self::LostReply => "lost-reply",
            Self::CrashMidAnswer => "crash-mid-answer",
            Self::StaleDescribe { .. } => "stale-describe",
        }
    }
}

impl Fault {
    /// A fault of this kind that hits every call.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self { matching: Matching::default(), count: None, probability: 1.0, kind }
    }

    /// Only calls of this action.
    #[must_use]
    pub fn on(mut self, action: &str) -> Self {
        self.matching.action = Some(action.to_owned());
        self
    }

    /// Only calls by sessions of this role.
    #[must_use]
    pub fn by(mut self, role: &str) -> Self {
        self.matching.role = Some(role.to_owned());
        self
    }

    /// Only so many calls.
    #[must_use]
    pub fn times(self, count: u32) -> Self {
        Self { count: Some(count), ..self }
    }
}

impl Matching {
    fn fits(&self, action: &str, caller: &Caller, region: &str) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        self.action.as_deref().is_none_or(|pattern| filter::matches(pattern, action))
            && is(&self.account, &caller.account)
            && is(&self.region, region)
            && self.role.as_deref().is_none_or(|role| caller.is(role))
    }
}

impl Faults {
    /// None yet. The seed decides what probabilities come to.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { entries: Vec::new(), last_id: 0, random: Random::new(seed) }
    }

    /// Puts a fault in force.
    ///
    /// # Errors
    /// When a number makes no sense.
    pub fn add(&mut self, fault: Fault, world: &World, now: Timestamp) -> Result<u64, Error> {
        let senseless = |what: &str| Error::new("InvalidFault", format!("the {what} makes no sense"));
        if !(0.0..=1.0).contains(&fault.probability) {
            return Err(senseless("probability"));
        }
        let past = match fault.kind {
            Kind::StaleDescribe { seconds } => {
                let period = Duration::try_from_secs_f64(seconds).map_err(|_| senseless("number of seconds"))?;
                Some((world.clone(), now, later(now, period)))
            }
            Kind::Latency { seconds } => {
                Duration::try_from_secs_f64(seconds).map_err(|_| senseless("number of seconds"))?;
                None
            }
            Kind::Error { status: Some(status), .. } if !(400..600).contains(&status) => {
                return Err(senseless("status"));
            }
            _ => None,
        };
        self.last_id += 1;
        self.entries.push(Entry { installed: Installed { id: self.last_id, hits: 0, fault }, past });
        Ok(self.last_id)
    }

    /// All of them, the spent ones too.
    pub fn list(&self) -> impl Iterator<Item = &Installed> {
        self.entries.iter().map(|entry| &entry.installed)
    }

    /// Whether this one is still in force.
    #[must_use]
    pub fn has(&self, id: u64) -> bool {
        self.list().any(|installed| installed.id == id)
    }

    /// Removes one, or all. Tells whether there was any.
    pub fn remove(&mut self, id: Option<u64>) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| id.is_some_and(|id| entry.installed.id != id));
        self.entries.len() < before
    }

    /// What was when a stale fault was made, and when that was.
    pub fn past(&mut self, id: u64) -> Option<(&mut World, Timestamp)> {
        let entry = self.entries.iter_mut().find(|entry| entry.installed.id == id)?;
        entry.past.as_mut().map(|(world, then, _)| (world, *then))
    }

    /// What becomes of a call. Delays add up; of what ends a call, the first fault decides.
    pub fn judge(&mut self, service: Service, action: &str, caller: &Caller, region: &str, now: Timestamp) -> Verdict {
        let mut verdict = Verdict::default();
        for Entry { installed: Installed { id, hits, fault }, past } in &mut self.entries {
            let is_over = past.as_ref().is_some_and(|(_, _, until)| *until <= now)
                || matches!(fault.kind, Kind::StaleDescribe { .. }) && !action.starts_with("Describe");
            let is_spent = fault.count.is_some_and(|count| *hits >= count);
            if is_over
                || is_spent
                || !fault.matching.fits(action, caller, region)
                || !self.random.chance(fault.probability)
            {
                continue;
            }
            *hits += 1;
            verdict.kinds.push(fault.kind.name());
            match &fault.kind {
                Kind::Latency { seconds } => verdict.latency += Duration::from_secs_f64(*seconds),
                Kind::Gate => verdict.gates.push(*id),
                Kind::StaleDescribe { .. } => verdict.stale = Some(*id),
                Kind::Error { code, message, status } => {
                    verdict.error = Some(refusal(code, message.as_deref(), *status));
                    break;
                }
                Kind::Throttle => {
                    verdict.error = Some(Error::throttled(service));
                    break;
                }
                Kind::Hang => {
                    verdict.hang = Some(*id);
                    break;
                }
                Kind::LostReply => {
                    verdict.delivery = Delivery::Nothing;
                    break;
                }
                Kind::CrashMidAnswer => {
                    verdict.delivery = Delivery::Half;
                    break;
                }
            }
        }
        verdict
    }
}

/// An error of this code, in AWS's words where they are known.
fn refusal(code: &str, message: Option<&str>, status: Option<u16>) -> Error {
    let known = [Error::unauthorized(), Error::throttled(Service::Ec2)].into_iter().find(|error| error.code == code);
    let usual = match code {
        "InternalError" | "InternalFailure" => 500,
        "Unavailable" | "ServiceUnavailable" => 503,
        _ => 400,
    };
    let known = known.unwrap_or_else(|| Error::new(code, "The simulator was told to say so.").with_status(usual));
    Error {
        message: message.map_or(known.message, str::to_owned),
        status: status.unwrap_or(known.status),
        code: known.code,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::world::{AccessKey, Settings};

    fn judge(faults: &mut Faults, action: &str) -> Verdict {
        faults.judge(Service::Ec2, action, &AccessKey::default_user().caller, "eu-west-1", Timestamp::UNIX_EPOCH)
    }

    fn with(faults: impl IntoIterator<Item = Fault>) -> Faults {
        let mut all = Faults::new(1);
        for fault in faults {
            all.add(fault, &World::new(Settings::default(), 1), Timestamp::UNIX_EPOCH).unwrap();
        }
        all
    }

    #[test]
    fn a_fault_hits_what_it_matches_and_as_often_as_it_says() {
        let mut faults = with([Fault::new(Kind::Throttle).on("Describe*").times(2)]);
        let hits = |faults: &mut Faults, action| judge(faults, action).error.is_some();
        assert!(!hits(&mut faults, "CreateVpc"));
        assert!(hits(&mut faults, "DescribeVpcs"));
        assert!(hits(&mut faults, "DescribeTags"));
        assert!(!hits(&mut faults, "DescribeVpcs"));
        let elsewhere = Matching { region: Some("eu-west-2".into()), ..Matching::default() };
        assert!(!hits(&mut with([Fault { matching: elsewhere, ..Fault::new(Kind::Throttle) }]), "DescribeVpcs"));
        let another = Matching { account: Some("222222222222".into()), ..Matching::default() };
        assert!(!hits(&mut with([Fault { matching: another, ..Fault::new(Kind::Throttle) }]), "DescribeVpcs"));
    }

    #[test]
    fn probabilities_are_the_same_in_every_run() {
        let run = || {
            let mut faults = with([Fault { probability: 0.5, ..Fault::new(Kind::Throttle) }]);
            (0..100).map(|_| judge(&mut faults, "DescribeVpcs").error.is_some()).collect::<Vec<_>>()
        };
        assert_eq!(run(), run());
        let hits = run().into_iter().filter(|hit| *hit).count();
        assert!((30..70).contains(&hits), "{hits} of 100");
    }

    #[test]
    fn delays_add_up_and_the_first_end_decides() {
        let mut faults = with([
            Fault::new(Kind::Latency { seconds: 0.5 }),
            Fault::new(Kind::Latency { seconds: 1.0 }),
            Fault::new(Kind::LostReply),
            Fault::new(Kind::Throttle),
        ]);
        let verdict = judge(&mut faults, "CreateVpc");
        assert_eq!(verdict.latency, Duration::from_millis(1500));
        assert_eq!((verdict.delivery, verdict.error), (Delivery::Nothing, None));
        assert_eq!(verdict.kinds, ["latency", "latency", "lost-reply"]);
    }

    #[test]
    fn known_codes_have_their_own_words() {
        let error = |code, status| refusal(code, None, status);
        assert_eq!(error("UnauthorizedOperation", None), Error::unauthorized());
        assert_eq!(error("InternalError", None).status, 500);
        assert_eq!(error("InternalError", Some(502)).status, 502);
        assert_eq!(error("VpcLimitExceeded", None).status, 400);
    }

    #[test]
    fn the_json_is_flat_and_strict_in_what_it_matches() {
        let json = r#"{"match": {"action": "CreateVpc"}, "count": 1, "kind": "latency", "seconds": 2}"#;
        let fault: Fault = serde_json::from_str(json).unwrap();
        assert_eq!(fault, Fault::new(Kind::Latency { seconds: 2.0 }).on("CreateVpc").times(1));
        assert!(serde_json::from_str::<Fault>(r#"{"kind": "latency"}"#).is_err());
        assert!(serde_json::from_str::<Fault>(r#"{"match": {"acton": "x"}, "kind": "hang"}"#).is_err());
    }
}
