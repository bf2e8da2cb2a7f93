//! The quiet time after a storm: the faults end, the resources converge, nothing changes, and the invariants hold.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use crate::invariants::convergence::{self, Circumstances, condition};
use crate::invariants::{Violation, foreign, orphans, permission, rest, two_peerings};
use crate::kubernetes::is_held;
use crate::resources::{Resource, STRANGER, TEAM_C};
use crate::run::Run;

/// The interval in which the resources are compared with what they are to become.
const INTERVAL: Duration = Duration::from_secs(1);
/// The time for the last write of each resource, after all of them converged.
const SETTLING: Duration = Duration::from_secs(6);
/// The changes of the operator that are kept as evidence.
const HISTORY: usize = 20_000;

/// A resource that is not yet as expected.
struct Different {
    resource: Resource,
    now: Circumstances,
    difference: String,
}

/// Prints the first resources that are not yet as expected.
fn progress(elapsed: Duration, different: &[Different]) {
    println!("    after {:.0} s, {} are not yet as expected:", elapsed.as_secs_f64(), different.len());
    for Different { resource, now, difference } in different.iter().take(3) {
        let difference: String = difference.chars().take(200).collect();
        println!("      {} {:?} {now:?}: {difference}", resource.name(), resource.scenario());
    }
}

impl Run {
    /// Waits until all resources are as expected, and checks the invariants.
    pub async fn quiet(&mut self) -> Result<Vec<Violation>> {
        self.world.replicas.resume().await;
        self.world.calm().await?;
        self.ask_again().await;
        // Each listing sees the last changes of the storm.
        tokio::time::sleep(self.scale.poll * 3).await;
        let start = Instant::now();
        let mut nudged = start;
        let (different, identities) = loop {
            let (different, identities) = (self.differences().await?, self.world.unverified_identities().await?);
            if different.is_empty() && identities.is_empty() || start.elapsed() > self.scale.bound {
                break (different, identities);
            }
            if nudged.elapsed() > self.scale.nudge {
                nudged = Instant::now();
                progress(start.elapsed(), &different);
                self.nudge(&different).await;
            }
            tokio::time::sleep(INTERVAL).await;
        };
        self.figures.convergences.push(start.elapsed());
        let bound = self.scale.bound.as_secs_f64();
        let mut violations: Vec<_> = different
            .iter()
            .map(|Different { resource, now, difference }| convergence::violation(*resource, *now, difference, bound))
            .collect();
        violations.extend(identities.iter().map(|(name, ready)| convergence::of_identity(name, ready, bound)));
        tokio::time::sleep(SETTLING).await;
        let calls = self.world.journal.take().await?;
        violations.extend(permission::check(&calls, &[STRANGER], &self.known()));
        self.remember(calls);
        if violations.is_empty() {
            violations.extend(self.rest().await?);
        }
        violations.extend(self.check_state().await?);
        Ok(violations)
    }

    fn known(&self) -> Vec<Resource> {
        self.model.known.iter().copied().collect()
    }

    fn remember(&mut self, calls: Vec<crate::invariants::Call>) {
        self.history.extend(calls.into_iter().filter(crate::invariants::Call::is_change));
        let superfluous = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..superfluous);
    }

    /// Applies every manifest once more, because a restored etcd has older ones.
    async fn ask_again(&self) {
        for (resource, wish) in &self.model.wishes {
            if let Err(error) = self.world.apply(*resource, *wish).await {
                eprintln!("cannot apply {}: {error:#}", resource.name());
            }
        }
    }

    /// The resources that are not yet as expected. Removes the finalizers of the test, and creates and deletes what a
    /// storm has prevented.
    async fn differences(&self) -> Result<Vec<Different>> {
        let objects = match self.world.objects().await {
            Ok(objects) => objects,
            Err(error) => {
                eprintln!("cannot list the resources: {error:#}");
                BTreeMap::new()
            }
        };
        let mut different = Vec::new();
        for resource in self.known() {
            let object = objects.get(&resource.name());
            let now = self.circumstances(resource);
            let is_helped = self.help(resource, now, object).await;
            let difference = convergence::difference(resource, now, object);
            if let Some(difference) = difference.or_else(|| is_helped.then(|| "it was just changed".to_owned())) {
                different.push(Different { resource, now, difference });
            }
        }
        Ok(different)
    }

    fn circumstances(&self, resource: Resource) -> Circumstances {
        let now = self.model.circumstances(resource);
        let key = (resource.home().table, resource.accepter().block);
        Circumstances { has_conflict: now.has_conflict && self.world.ledger().routes.contains_key(&key), ..now }
    }

    /// Returns whether it changed something.
    async fn help(&self, resource: Resource, now: Circumstances, object: Option<&Value>) -> bool {
        let world = &self.world;
        match object {
            None if now.exists => {
                let wish = self.model.wishes.get(&resource).copied().unwrap_or_default();
                _ = world.delete_retained(resource).await;
                _ = world.apply(resource, wish).await;
                true
            }
            Some(object) if is_held(object) => {
                _ = world.hold(resource, false).await;
                true
            }
            Some(object) if !now.exists && !object["metadata"]["deletionTimestamp"].is_string() => {
                _ = world.delete(resource).await;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Does what the conditions ask a person to do.
    async fn nudge(&mut self, different: &[Different]) {
        for Different { resource, now, difference } in different {
            if !now.exists && now.is_withdrawn {
                continue;
            }
            if self.lied.contains(resource) && difference.contains("ConnectionMismatch") {
                _ = self.world.repair_connection_id(*resource).await;
            }
            if difference.contains("RouteConflict") && !now.has_conflict {
                self.figures.routes_by_hand += self.world.delete_routes_by_hand(*resource).await.unwrap_or_default();
            }
            if self.world.nudge(*resource).await.is_ok() {
                self.figures.nudges += 1;
            }
        }
    }

    /// Nothing changes for some time.
    async fn rest(&mut self) -> Result<Vec<Violation>> {
        let before = self.world.versions().await?;
        self.remember(Vec::new());
        let early = self.world.journal.take().await?;
        tokio::time::sleep(self.scale.rest).await;
        let calls = self.world.journal.take().await?;
        let after = self.world.versions().await?;
        let mut forbidden = vec![STRANGER];
        forbidden.extend(self.model.is_withdrawn.then_some(TEAM_C));
        let mut violations = rest::check(&calls, &before, &after);
        violations.extend(permission::check(&calls, &forbidden, &self.known()));
        self.remember(early);
        self.remember(calls);
        Ok(violations)
    }

    async fn check_state(&mut self) -> Result<Vec<Violation>> {
        let (snapshot, objects) = (self.world.snapshot().await?, self.world.objects().await?);
        let ledger = self.world.ledger().clone();
        let mut violations = two_peerings::check(&snapshot, &ledger, &self.known());
        let outcome = foreign::check(&snapshot, &ledger, &self.history);
        for key in outcome.races {
            self.figures.races += 1;
            self.world.ledger().routes.remove(&key);
        }
        violations.extend(outcome.violations);
        let reported = self.world.replicas.left_in_aws().await;
        self.figures.left_in_aws = reported.len();
        let gone: Vec<_> =
            self.known().into_iter().filter(|resource| !objects.contains_key(&resource.name())).collect();
        violations.extend(orphans::check(&snapshot, &ledger, &reported, &gone));
        Ok(violations)
    }

    /// The lines of the journal, and the conditions, that a violation is about.
    pub async fn evidence(&self, violation: &Violation) -> Vec<String> {
        let about = |text: &str| violation.about.iter().any(|word| text.contains(word.as_str()));
        let mut lines: Vec<_> =
            self.history.iter().map(crate::invariants::Call::line).filter(|line| about(line)).collect();
        lines.drain(..lines.len().saturating_sub(40));
        for (name, object) in self.world.objects().await.unwrap_or_default() {
            if violation.about.contains(&name) {
                let ready = condition(&object, "Ready").cloned().unwrap_or_default();
                let status: String = object["status"].to_string().chars().take(1_000).collect();
                lines.push(format!("{name}: Ready: {ready}; status: {status}"));
            }
        }
        lines
    }
}
