//! Leader election: of several replicas, only the holder of a Lease reconciles, and only while it is sure to hold the
//! Lease.
//!
//! `kube-lease-manager` acquires and renews the Lease. It does not report that the API server is unreachable, so this
//! module reads the Lease itself and keeps its own deadline.

use std::time::Duration;

use anyhow::{Result, anyhow};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// Interval between two reads of the Lease. A released Lease is acquired within this time.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// Delay after a failed request to the API server.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// Maximum time for releasing the Lease when the process ends.
const RELEASE_TIMEOUT: Duration = Duration::from_millis(800);

/// The Lease of the leader election.
#[derive(Clone, Debug)]
pub(crate) struct Election {
    pub(crate) name: String,
    /// Defaults to the operator's own namespace.
    pub(crate) namespace: Option<String>,
    /// The time after the last renewal at which another replica may acquire the Lease. At least [`MIN_LEASE_DURATION`].
    pub(crate) duration: Duration,
}

/// Minimum duration of the Lease: the renewal at 2/3 and the own deadline at 4/5 of it must be distinct.
pub(crate) const MIN_LEASE_DURATION: Duration = Duration::from_secs(3);

/// Tells until when this process is the leader.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    lease: String,
    /// The end of the leadership; `None` until the Lease was read for the first time.
    until: watch::Receiver<Option<Timestamp>>,
}

impl Leadership {
    /// The leadership of a process without leader election.
    pub(crate) fn always(lease: &str) -> Self {
        Self { lease: lease.to_owned(), until: watch::channel(Some(Timestamp::MAX)).1 }
    }

    pub(crate) fn lease(&self) -> &str {
        &self.lease
    }

    /// Whether the Lease was read.
    pub(crate) fn is_known(&self) -> bool {
        self.until.borrow().is_some()
    }

    pub(crate) fn is_held(&self) -> bool {
        !self.remaining().is_zero()
    }

    fn remaining(&self) -> Duration {
        let until = self.until.borrow().unwrap_or(Timestamp::MIN);
        until.duration_since(Timestamp::now()).try_into().unwrap_or_default()
    }

    /// Resolves when this process is the leader.
    pub(crate) async fn gained(&self) {
        self.wait_until(|leadership| leadership.is_held()).await;
    }

    /// Resolves when this process is no longer the leader, even if the API server is unreachable.
    pub(crate) async fn lost(&self) {
        self.wait_until(|leadership| !leadership.is_held()).await;
    }

    async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut until = self.until.clone();
        while !condition(self) {
            until.mark_unchanged();
            // The deadline passes without a change of the channel. The upper limit bounds the effect of a clock jump.
            let wait = self.remaining().clamp(Duration::from_millis(10), READ_INTERVAL);
            tokio::select! {
                () = sleep(wait) => {}
                Ok(()) = until.changed() => {}
            }
        }
    }
}

/// A process that takes part in the leader election.
#[derive(Debug)]
pub(crate) struct Candidate {
    resign: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidate {
    /// Starts to compete for the Lease.
    pub(crate) fn start(client: Client, election: Election) -> (Leadership, Self) {
        let (sender, until) = watch::channel(None);
        let (resign, resigned) = oneshot::channel();
        let leadership = Leadership { lease: election.name.clone(), until };
        let task = tokio::spawn(async move {
            Elector::new(client, election, sender).run(resigned).await;
        });
        (leadership, Self { resign, task })
    }

    /// Releases the Lease, if this process holds it, so that another replica can acquire it immediately. The caller
    /// must have stopped all work that needs the Lease.
    pub(crate) async fn resign(self) {
        _ = self.resign.send(());
        if timeout(RELEASE_TIMEOUT, self.task).await.is_err() {
            tracing::warn!("cannot release the Lease in time; another replica acquires it when it expires");
        }
    }
}

struct Elector {
    client: Client,
    election: Election,
    namespace: String,
    identity: String,
    until: watch::Sender<Option<Timestamp>>,
    /// Triggers a read of the Lease before the next [`READ_INTERVAL`].
    read_now: Notify,
}

impl Elector {
    fn new(client: Client, election: Election, until: watch::Sender<Option<Timestamp>>) -> Self {
        let namespace = election.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        // A restarted process has another identity, so that it does not continue the leadership of its predecessor.
        let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "vpc-peering-operator".into());
        let identity = format!("{pod}_{:x}-{:x}", std::process::id(), Timestamp::now().as_microsecond());
        Self { client, election, namespace, identity, until, read_now: Notify::new() }
    }

    async fn run(self, mut resigned: oneshot::Receiver<()>) {
        loop {
            let manager = tokio::select! {
                _ = &mut resigned => return,
                manager = self.manager() => manager,
            };
            let compete = async {
                match &manager {
                    Ok(manager) => self.compete(manager).await,
                    Err(error) => anyhow!("{error:#}"),
                }
            };
            tokio::select! {
                biased;
                _ = &mut resigned => {
                    self.until.send_replace(Some(Timestamp::MIN));
                    if let Ok(manager) = manager && let Err(error) = manager.release().await {
                        tracing::warn!(
                            lease = %self.election.name,
                            %error,
                            "cannot release the Lease; another replica acquires it when it expires"
                        );
                    }
                    return;
                }
                // A new manager acquires a released Lease at once. The old one waits until the Lease that it last read
                // expires.
                () = self.read_until_released() => {
                    tracing::debug!(lease = %self.election.name, "another replica released the Lease");
                }
                error = compete => {
                    tracing::warn!(lease = %self.election.name, %error, "cannot acquire or renew the Lease; retrying");
                    sleep(RETRY_DELAY).await;
                }
            }
        }
    }

    async fn manager(&self) -> Result<LeaseManager> {
        let duration = self.election.duration.max(MIN_LEASE_DURATION).as_secs();
        let digits = self.identity.rsplit('_').next().unwrap_or_default();
        // The field manager must differ between candidates: a conflict of server-side apply excludes the second
        // candidate.
        let parameters = LeaseParams::new(&self.identity, duration, duration * 2 / 3)
            .with_field_manager(format!("vpc-peering-operator-{digits}"));
        Ok(LeaseManagerBuilder::new(self.client.clone(), &self.election.name)
            .with_namespace(&self.namespace)
            .with_parameters(parameters)
            .build()
            .await?)
    }

    /// Acquires and renews the Lease until an error occurs.
    async fn compete(&self, manager: &LeaseManager) -> anyhow::Error {
        loop {
            match manager.changed().await {
                Ok(_) => self.read_now.notify_one(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Reads the Lease and publishes until when this process holds it. Returns when another replica has released it.
    async fn read_until_released(&self) {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let mut times = interval(READ_INTERVAL);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_held_by_another = false;
        loop {
            tokio::select! {
                _ = times.tick() => {}
                () = self.read_now.notified() => {}
            }
            let Ok(Ok(lease)) = timeout(self.election.duration, leases.get_opt(&self.election.name)).await else {
                continue;
            };
            let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
            let is_own = spec.holder_identity.as_deref() == Some(&self.identity);
            let until = spec.renew_time.filter(|_| is_own).map(|renewed| self.deadline(renewed.0));
            self.publish(until.unwrap_or(Timestamp::MIN));
            match spec.holder_identity {
                Some(_) => was_held_by_another = !is_own,
                None if was_held_by_another => return,
                None => {}
            }
        }
    }

    /// The end of the leadership. Another replica may acquire the Lease when its duration has passed since the last
    /// renewal. This process stops after 4/5 of the duration, so that requests in flight have arrived by then and
    /// clocks may differ.
    fn deadline(&self, renewed: Timestamp) -> Timestamp {
        let duration = SignedDuration::try_from(self.election.duration * 4 / 5).unwrap_or_default();
        renewed.checked_add(duration).unwrap_or(Timestamp::MIN)
    }

    fn publish(&self, until: Timestamp) {
        let changed = self.until.send_if_modified(|published| {
            let is_new = *published != Some(until);
            *published = Some(until);
            is_new
        });
        if changed {
            let (lease, identity) = (&self.election.name, &self.identity);
            tracing::debug!(%lease, %identity, %until, "the leadership has changed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leadership(until: Option<Timestamp>) -> (watch::Sender<Option<Timestamp>>, Leadership) {
        let (sender, until) = watch::channel(until);
        (sender, Leadership { lease: "test".into(), until })
    }

    fn in_ms(milliseconds: i64) -> Option<Timestamp> {
        Timestamp::now().checked_add(SignedDuration::from_millis(milliseconds)).ok()
    }

    #[test]
    fn a_process_does_not_lead_before_the_lease_is_read() {
        let (_sender, leadership) = leadership(None);
        assert!(!leadership.is_known() && !leadership.is_held());
    }

    #[tokio::test]
    async fn leadership_ends_at_its_deadline_without_an_update() {
        let (sender, leadership) = leadership(in_ms(100));
        assert!(leadership.is_held());
        drop(sender);
        assert!(timeout(Duration::from_secs(5), leadership.lost()).await.is_ok());
        assert!(!leadership.is_held());
    }

    #[tokio::test]
    async fn renewed_leadership_continues() {
        let (sender, leadership) = leadership(in_ms(100));
        sender.send_replace(in_ms(60_000));
        assert!(timeout(Duration::from_millis(300), leadership.lost()).await.is_err());
        sender.send_replace(Some(Timestamp::MIN));
        assert!(timeout(Duration::from_secs(5), leadership.lost()).await.is_ok());
        assert!(timeout(Duration::from_millis(100), leadership.gained()).await.is_err());
        sender.send_replace(in_ms(60_000));
        assert!(timeout(Duration::from_secs(5), leadership.gained()).await.is_ok());
    }

    #[tokio::test]
    async fn a_process_without_leader_election_always_leads() {
        let leadership = Leadership::always("test");
        assert!(leadership.is_known() && leadership.is_held());
        assert!(timeout(Duration::from_millis(100), leadership.lost()).await.is_err());
    }
}
