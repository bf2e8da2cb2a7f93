//! The cgroups of the node, with cgroup v1 and v2.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The controllers that the kubelet requires.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// The mounted hierarchies: one of v2, or several of v1.
#[derive(Debug)]
pub struct Hierarchies {
    roots: Vec<PathBuf>,
    is_v2: bool,
}

/// The memory of a container, by its cgroup. In bytes.
#[derive(Debug)]
pub struct Memory {
    /// The limit.
    pub limit: u64,
    /// The usage now, with the page cache.
    pub usage: u64,
    /// The highest usage, if the kernel records it.
    pub peak: Option<u64>,
    /// The processes that were killed because the limit was reached.
    pub killed: u64,
}

impl Hierarchies {
    /// Finds the hierarchies in the list of mounts.
    /// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
    ///
    /// # Errors
    /// If the list cannot be read.
    pub fn find() -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the list of mounts")?;
        let (mut v1, mut v2) = (Vec::new(), Vec::new());
        for line in mounts.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let path = left.split(' ').nth(4).map(PathBuf::from);
            match (right.split(' ').next(), path) {
                (Some("cgroup"), Some(path)) => v1.push(path),
                (Some("cgroup2"), Some(path)) => v2.push(path),
                _ => {}
            }
        }
        // In hybrid mode, v2 has no controllers.
        let is_v2 = v1.is_empty();
        Ok(Self { roots: if is_v2 { v2.into_iter().take(1).collect() } else { [v1, v2].concat() }, is_v2 })
    }

    /// The requirements that are not met.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let has = |controller: &str| {
            if self.is_v2 {
                let root = self.roots.first();
                let all = root.and_then(|root| fs::read_to_string(root.join("cgroup.controllers")).ok());
                all.is_some_and(|all| all.split_whitespace().any(|one| one == controller))
            } else {
                self.of(controller).is_ok()
            }
        };
        CONTROLLERS.iter().filter(|one| !has(one)).map(|one| format!("the cgroup controller {one}")).collect()
    }

    /// Creates a cgroup at the root of every hierarchy.
    ///
    /// # Errors
    /// If the kernel refuses it.
    pub fn create(&self, name: &str) -> Result<()> {
        if let (true, Some(root)) = (self.is_v2, self.roots.first()) {
            let enabled = CONTROLLERS.map(|controller| format!("+{controller}")).join(" ");
            let path = root.join("cgroup.subtree_control");
            fs::write(&path, enabled).with_context(|| {
                format!("cannot enable controllers in {}; run the test outside of a container", path.display())
            })?;
        }
        for root in &self.roots {
            let group = root.join(name);
            fs::create_dir(&group).with_context(|| format!("cannot create the cgroup {}", group.display()))?;
            // A new cpuset of v1 is empty, and no process can be in it.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if let (false, Ok(value)) = (self.is_v2, fs::read(root.join(file))) {
                    fs::write(group.join(file), value)?;
                }
            }
        }
        Ok(())
    }

    /// Removes all cgroups whose name begins with a prefix, and the cgroups in them. Skips those with processes.
    ///
    /// # Errors
    /// If a cgroup of this name is left.
    pub fn remove(&self, prefix: &str) -> Result<()> {
        for root in &self.roots {
            for entry in fs::read_dir(root)?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(prefix) {
                    remove_tree(&entry.path());
                    ensure!(!entry.path().exists(), "the cgroup {} still has processes", entry.path().display());
                }
            }
        }
        Ok(())
    }

    /// The memory cgroup of a container.
    fn memory_group(&self, container: &str) -> Result<PathBuf> {
        let root = self.of("memory")?;
        descendants(&root)
            .into_iter()
            .find(|path| path.ends_with(container))
            .with_context(|| format!("no cgroup of the container {container} in {}", root.display()))
    }

    /// The IDs of the processes of a container.
    ///
    /// # Errors
    /// If it has no cgroup.
    pub fn processes(&self, container: &str) -> Result<Vec<i32>> {
        let list = fs::read_to_string(self.memory_group(container)?.join("cgroup.procs"))?;
        list.lines().map(|line| Ok(line.parse()?)).collect()
    }

    /// The memory of a container.
    /// <https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files>
    /// <https://docs.kernel.org/admin-guide/cgroup-v1/memory.html>
    ///
    /// # Errors
    /// If it has no cgroup, or no limit.
    pub fn memory(&self, container: &str) -> Result<Memory> {
        let group = self.memory_group(container)?;
        let [limit, usage, peak, events] = if self.is_v2 {
            ["memory.max", "memory.current", "memory.peak", "memory.events"]
        } else {
            ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.oom_control"]
        };
        let read = |name: &str| fs::read_to_string(group.join(name)).with_context(|| format!("cannot read {name}"));
        let number = |name: &str| -> Result<u64> { Ok(read(name)?.trim().parse()?) };
        let events = read(events)?;
        let killed = events.lines().find_map(|line| line.strip_prefix("oom_kill ")).context("no count of OOM kills")?;
        Ok(Memory { limit: number(limit)?, usage: number(usage)?, peak: number(peak).ok(), killed: killed.parse()? })
    }

    /// The hierarchy of a controller.
    fn of(&self, controller: &str) -> Result<PathBuf> {
        // A v1 hierarchy is mounted at the names of its controllers, such as `cpu,cpuacct`.
        let named = |root: &&PathBuf| {
            root.file_name().is_some_and(|name| name.to_string_lossy().split(',').any(|one| one == controller))
        };
        let root = if self.is_v2 { self.roots.first() } else { self.roots.iter().find(named) };
        root.cloned().with_context(|| format!("the cgroup controller {controller} is not mounted"))
    }
}

/// A cgroup and all cgroups in it, each after its parent.
fn descendants(group: &Path) -> Vec<PathBuf> {
    let mut all = vec![group.to_owned()];
    let mut next = 0;
    while let Some(group) = all.get(next) {
        let entries = fs::read_dir(group).into_iter().flatten().flatten();
        let children: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
        all.extend(children);
        next += 1;
    }
    all
}

fn remove_tree(group: &Path) {
    for group in descendants(group).iter().rev() {
        // The caller checks that nothing is left.
        _ = fs::remove_dir(group);
    }
}
