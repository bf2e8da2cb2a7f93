//! One run: phases of a storm and of quiet, until the time is over.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use environment::{Usage, eventually};

use crate::action::{Action, Group, Lie};
use crate::invariants::steadiness::Series;
use crate::invariants::{Call, Violation};
use crate::model::Model;
use crate::plan::Planner;
use crate::replicas::Sample;
use crate::resources::Resource;
use crate::scale::Scale;
use crate::world::World;

/// The tolerated growth of memory: 15 % of the median and 6 MiB. A leak of one object for each change exceeds it.
const MEMORY: (f64, f64) = (0.15, 6.0);
/// The tolerated growth of descriptors, of threads, and of the tasks of tokio.
const DESCRIPTORS: (f64, f64) = (0.2, 10.0);
const THREADS: (f64, f64) = (0.2, 4.0);
const TASKS: (f64, f64) = (0.2, 10.0);

/// The time in which the API server or etcd has to start again.
const START: Duration = Duration::from_secs(120);

/// The figures of a run.
#[derive(Debug, Default)]
pub struct Figures {
    /// The number of actions by kind, and of those without an effect.
    pub actions: BTreeMap<(Group, String), (usize, usize)>,
    pub phases: usize,
    /// The time of each convergence.
    pub convergences: Vec<Duration>,
    /// The number of requests to reconcile in quiet times.
    pub nudges: usize,
    /// The routes through connections that EC2 no longer shows, which the operator asks a person to delete.
    pub routes_by_hand: usize,
    pub races: usize,
    /// The connections of resources with `Retain` that the operator reported as left in AWS.
    pub left_in_aws: usize,
    /// The hours by which EC2's clock moved.
    pub hours: u64,
}

/// A run, between its start and its end.
pub struct Run {
    pub world: World,
    pub scale: Scale,
    pub seed: u64,
    pub model: Model,
    pub figures: Figures,
    /// The resources whose status had a false connection ID in this phase.
    pub lied: Vec<Resource>,
    /// The last changes of the operator, for the evidence of a violation.
    pub history: Vec<Call>,
    planner: Planner,
}

/// Why a run failed.
#[derive(Debug)]
pub struct Failure {
    pub phase: usize,
    pub violations: Vec<Violation>,
}

impl Run {
    pub async fn start(program: &Path, seconds: u64, seed: u64) -> Result<Self> {
        let scale = Scale::of(seconds);
        let world = World::start(program, &scale, seed).await?;
        tokio::spawn(std::sync::Arc::clone(&world.journal).follow());
        tokio::spawn(std::sync::Arc::clone(&world.replicas).supervise());
        let planner = Planner::new(seed, scale.resources, scale.calm_from);
        let (model, figures) = Default::default();
        Ok(Self { world, scale, seed, model, figures, lied: Vec::new(), history: Vec::new(), planner })
    }

    /// Runs phases until the time is over. Returns the first failure.
    pub async fn run(&mut self, until: Instant) -> Result<Option<Failure>> {
        loop {
            self.figures.phases += 1;
            let phase = self.figures.phases;
            let start = Instant::now();
            self.storm().await?;
            let stormy = start.elapsed();
            let violations = self.quiet().await?;
            self.world.replicas.ensure_no_panic().await?;
            if !violations.is_empty() {
                return Ok(Some(Failure { phase, violations }));
            }
            println!(
                "phase {phase}: {} resources, storm {:.0} s, converged in {:.0} s, {} s of EC2's clock at rest, {}",
                self.model.wishes.len(),
                stormy.as_secs_f64(),
                self.figures.convergences.last().map(Duration::as_secs_f64).unwrap_or_default(),
                self.scale.rest.as_secs(),
                self.usage().await,
            );
            if Instant::now() + self.scale.reserve >= until {
                let violations: Vec<_> = self.series().await.iter().filter_map(Series::check).collect();
                return Ok((!violations.is_empty()).then_some(Failure { phase, violations }));
            }
        }
    }

    async fn usage(&self) -> String {
        let latest = self.world.replicas.longest().await.last().map(|(_, sample)| *sample);
        latest.map_or_else(String::new, |Sample { usage, tasks, .. }| {
            let Usage { memory, descriptors, threads } = usage;
            format!("{memory:.0} MiB, {descriptors} descriptors, {threads} threads, {tasks} tasks")
        })
    }

    /// The figures over time of the process that was the leader for the longest time.
    pub async fn series(&self) -> Vec<Series> {
        let samples = self.world.replicas.longest().await;
        let series = |name, unit, tolerance, value: fn(Sample) -> f64| Series {
            name,
            unit,
            samples: samples.iter().map(|(time, sample)| (*time, value(*sample))).collect(),
            tolerance,
        };
        vec![
            series("memory", "MiB", MEMORY, |sample| sample.usage.memory),
            series("descriptors", "descriptors", DESCRIPTORS, |sample| sample.usage.descriptors),
            series("threads", "threads", THREADS, |sample| sample.usage.threads),
            series("tasks", "tasks", TASKS, |sample| sample.tasks),
        ]
    }

    /// Makes the actions of a phase, spread over the time of a storm.
    async fn storm(&mut self) -> Result<()> {
        let actions = self.planner.phase();
        self.lied.clear();
        let pause = self.scale.storm / actions.len().max(1) as u32;
        for action in actions {
            let start = Instant::now();
            self.model.follow(&action);
            let outcome = self.act(&action).await;
            let count = self.figures.actions.entry(action.kind()).or_default();
            count.0 += 1;
            match outcome {
                Ok(true) => {}
                Ok(false) => count.1 += 1,
                Err(error) if is_fatal(&action) => return Err(error.context(format!("{action:?}"))),
                // Such as a resource that does not exist yet. The sequence of actions stays the same.
                Err(_) => count.1 += 1,
            }
            tokio::time::sleep(pause.saturating_sub(start.elapsed())).await;
        }
        Ok(())
    }

    /// Makes one action. Returns whether it changed something.
    async fn act(&mut self, action: &Action) -> Result<bool> {
        let world = &self.world;
        match action {
            Action::Create(resource) => {
                world.delete_retained(*resource).await?;
                world.apply(*resource, self.model.wishes.get(resource).copied().unwrap_or_default()).await?;
            }
            Action::Delete(resource) => world.delete(*resource).await?,
            Action::Edit(resource, wish) => world.apply(*resource, *wish).await?,
            Action::Lie(resource, lie) => {
                if matches!(lie, Lie::Connection(_)) {
                    self.lied.push(*resource);
                }
                world.lie(*resource, *lie).await?;
            }
            Action::RemoveFinalizer(resource) => world.remove_finalizer(*resource).await?,
            Action::Hold(resource) => return world.hold(*resource, true).await,
            Action::Mark(resource, value) => world.mark(*resource, *value).await?,
            Action::DeleteNamespace => world.delete_doomed_namespace().await?,
            Action::RecreateNamespace => world.create_namespace(crate::resources::DOOMED).await?,
            Action::Withdraw => world.apply_identities(false, 0).await?,
            Action::Grant => world.apply_identities(true, 0).await?,
            Action::EditIdentities(tag) => world.apply_identities(!self.model.is_withdrawn, *tag).await?,
            Action::Foreign(resource, foreign) => return world.change_aws(*resource, *foreign).await,
            Action::Ec2Fault(number) => world.add_ec2_fault(*number).await?,
            Action::ApiFault(number) => world.disturbances.set(crate::faults::of_api(*number).1),
            Action::Calm => world.calm().await?,
            Action::Clock(hours) => {
                self.figures.hours += hours;
                world.simulator.advance(Duration::from_secs(hours * 3600)).await?;
            }
            Action::Replica(replica, blow) => return Ok(world.replicas.strike(*replica, *blow).await),
            Action::RestartApiServer => {
                world.control_plane.stop_kube_apiserver().await?;
                // Another program may have the port for a moment.
                eventually("kube-apiserver", START, async || world.control_plane.start_kube_apiserver().await).await?;
            }
            Action::CompactEtcd => world.control_plane.compact_etcd().await?,
            Action::RestartEtcd => {
                eventually("etcd", START, async || world.control_plane.restart_etcd().await).await?;
            }
            Action::SaveEtcd => world.control_plane.save().await?,
            Action::RestoreEtcd => world.control_plane.restore().await?,
        }
        Ok(true)
    }
}

/// Whether a failure of the action is a failure of the test.
fn is_fatal(action: &Action) -> bool {
    matches!(
        action,
        Action::RestartApiServer
            | Action::CompactEtcd
            | Action::RestartEtcd
            | Action::SaveEtcd
            | Action::RestoreEtcd
            | Action::RecreateNamespace
            | Action::Withdraw
            | Action::Grant
    )
}
