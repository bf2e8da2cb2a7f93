//! Who acts, where several operators run: the holder of a Lease, and only for as long as it is sure to hold it.

use std::time::Duration;

use anyhow::{Result, anyhow};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::{Api, Client};
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder, LeaseParams};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// How often the Lease is read. A Lease that is released is taken no later than that.
const LOOK: Duration = Duration::from_secs(1);

/// The pause after the API server refused something.
const RETRY: Duration = Duration::from_secs(1);

/// How long the API server may take to let the Lease go when we end.
const RESIGN: Duration = Duration::from_millis(800);

/// Which Lease to compete for.
#[derive(Clone, Debug)]
pub struct Election {
    /// Its name.
    pub name: String,
    /// Its namespace; the operator's own where there is none.
    pub namespace: Option<String>,
    /// How long nobody else acts after the holder was last heard of. At least [`SHORTEST`].
    pub duration: Duration,
}

/// Renewals and the end of our own acting need whole seconds apart.
pub const SHORTEST: Duration = Duration::from_secs(3);

/// Until when this process may act.
#[derive(Clone, Debug)]
pub struct Hold {
    name: String,
    /// Nothing where that is not known yet.
    until: watch::Receiver<Option<Timestamp>>,
}

impl Hold {
    /// Of a process that acts alone.
    #[must_use]
    pub fn always(name: &str) -> Self {
        Self { name: name.to_owned(), until: watch::channel(Some(Timestamp::MAX)).1 }
    }

    /// The Lease's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is known who holds the Lease.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.until.borrow().is_some()
    }

    /// Whether this process may act now.
    #[must_use]
    pub fn is_held(&self) -> bool {
        !self.left().is_zero()
    }

    fn left(&self) -> Duration {
        let until = self.until.borrow().unwrap_or(Timestamp::MIN);
        until.duration_since(Timestamp::now()).try_into().unwrap_or_default()
    }

    /// Resolves when this process may act.
    pub async fn gained(&self) {
        self.change(|hold| hold.is_held()).await;
    }

    /// Resolves when this process may not act any more, whether or not anybody could tell us so.
    pub async fn lost(&self) {
        self.change(|hold| !hold.is_held()).await;
    }

    async fn change(&self, is_so: impl Fn(&Self) -> bool) {
        let mut until = self.until.clone();
        while !is_so(self) {
            until.mark_unchanged();
            // A time that passes is a change, too; jumps of the clock are noticed soon.
            let wait = self.left().clamp(Duration::from_millis(10), LOOK);
            tokio::select! {
                () = sleep(wait) => {}
                Ok(()) = until.changed() => {}
            }
        }
    }
}

/// A process that competes for a Lease.
#[derive(Debug)]
pub struct Candidate {
    resign: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Candidate {
    /// Competes from now on.
    #[must_use]
    pub fn start(client: Client, election: Election) -> (Hold, Self) {
        let (held, until) = watch::channel(None);
        let (resign, resigned) = oneshot::channel();
        let hold = Hold { name: election.name.clone(), until };
        let task = tokio::spawn(async move {
            Contest::new(client, election, held).run(resigned).await;
        });
        (hold, Self { resign, task })
    }

    /// Lets the Lease go, if it is ours, so that another takes it at once. Nothing may be done under it any more.
    pub async fn resign(self) {
        _ = self.resign.send(());
        if timeout(RESIGN, self.task).await.is_err() {
            tracing::warn!("the Lease could not be released; another takes over when it has run out");
        }
    }
}

struct Contest {
    client: Client,
    election: Election,
    namespace: String,
    identity: String,
    held: watch::Sender<Option<Timestamp>>,
    /// Asks for a look before it is due.
    news: Notify,
}

impl Contest {
    fn new(client: Client, election: Election, held: watch::Sender<Option<Timestamp>>) -> Self {
        let namespace = election.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        // A process that starts anew is another one: it must not act on what the one before it held.
        let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "vpc-peering-operator".into());
        let identity = format!("{pod}_{:x}-{:x}", std::process::id(), Timestamp::now().as_microsecond());
        Self { client, election, namespace, identity, held, news: Notify::new() }
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
                    self.held.send_replace(Some(Timestamp::MIN));
                    if let Ok(manager) = manager && let Err(error) = manager.release().await {
                        tracing::warn!(%error, "the Lease is not released");
                    }
                    return;
                }
                // The library does not look again before the time that it last read has run out.
                () = self.look() => tracing::debug!("the Lease has been released"),
                error = compete => {
                    tracing::warn!(lease = %self.election.name, %error, "the API server refuses the Lease");
                    sleep(RETRY).await;
                }
            }
        }
    }

    async fn manager(&self) -> Result<LeaseManager> {
        let duration = self.election.duration.max(SHORTEST).as_secs();
        let digits = self.identity.rsplit('_').next().unwrap_or_default();
        // The field manager must differ between candidates: its conflicts are what excludes the second one.
        let parameters = LeaseParams::new(&self.identity, duration, duration * 2 / 3)
            .with_field_manager(format!("vpc-peering-operator-{digits}"));
        Ok(LeaseManagerBuilder::new(self.client.clone(), &self.election.name)
            .with_namespace(&self.namespace)
            .with_parameters(parameters)
            .build()
            .await?)
    }

    /// Takes the Lease when it may, and renews it; ends with an error.
    async fn compete(&self, manager: &LeaseManager) -> anyhow::Error {
        loop {
            match manager.changed().await {
                Ok(_) => self.news.notify_one(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Reads who holds the Lease, and until when: the library does not tell when the API server could not be asked.
    /// Ends when somebody else lets it go.
    async fn look(&self) {
        let leases = Api::<Lease>::namespaced(self.client.clone(), &self.namespace);
        let mut times = interval(LOOK);
        times.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_anothers = false;
        loop {
            tokio::select! {
                _ = times.tick() => {}
                () = self.news.notified() => {}
            }
            let Ok(Ok(lease)) = timeout(self.election.duration, leases.get_opt(&self.election.name)).await else {
                continue;
            };
            let spec = lease.and_then(|lease| lease.spec).unwrap_or_default();
            let is_ours = spec.holder_identity.as_deref() == Some(&self.identity);
            let until = spec.renew_time.filter(|_| is_ours).map(|renewed| self.may_act_until(renewed.0));
            self.tell(until.unwrap_or(Timestamp::MIN));
            match spec.holder_identity {
                Some(_) => was_anothers = !is_ours,
                None if was_anothers => return,
                None => {}
            }
        }
    }

    /// Others may take the Lease when its duration has passed since it was renewed. We stop a fifth of it before,
    /// so that a request has arrived by then, and clocks may differ a little.
    fn may_act_until(&self, renewed: Timestamp) -> Timestamp {
        let duration = SignedDuration::try_from(self.election.duration * 4 / 5).unwrap_or_default();
        renewed.checked_add(duration).unwrap_or(Timestamp::MIN)
    }

    fn tell(&self, until: Timestamp) {
        let changed = self.held.send_if_modified(|held| {
            let is_new = *held != Some(until);
            *held = Some(until);
            is_new
        });
        if changed {
            tracing::debug!(lease = %self.election.name, identity = %self.identity, %until, "may act");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(until: Option<Timestamp>) -> (watch::Sender<Option<Timestamp>>, Hold) {
        let (held, until) = watch::channel(until);
        (held, Hold { name: "test".into(), until })
    }

    fn in_ms(milliseconds: i64) -> Option<Timestamp> {
        Timestamp::now().checked_add(SignedDuration::from_millis(milliseconds)).ok()
    }

    #[test]
    fn nobody_acts_before_it_is_known_who_leads() {
        let (_held, hold) = hold(None);
        assert!(!hold.is_known() && !hold.is_held());
    }

    #[tokio::test]
    async fn a_hold_ends_though_nobody_tells() {
        let (held, hold) = hold(in_ms(100));
        assert!(hold.is_held());
        drop(held);
        assert!(timeout(Duration::from_secs(5), hold.lost()).await.is_ok());
        assert!(!hold.is_held());
    }

    #[tokio::test]
    async fn a_renewed_hold_goes_on() {
        let (held, hold) = hold(in_ms(100));
        held.send_replace(in_ms(60_000));
        assert!(timeout(Duration::from_millis(300), hold.lost()).await.is_err());
        held.send_replace(Some(Timestamp::MIN));
        assert!(timeout(Duration::from_secs(5), hold.lost()).await.is_ok());
        assert!(timeout(Duration::from_millis(100), hold.gained()).await.is_err());
        held.send_replace(in_ms(60_000));
        assert!(timeout(Duration::from_secs(5), hold.gained()).await.is_ok());
    }

    #[tokio::test]
    async fn who_acts_alone_always_may() {
        let hold = Hold::always("test");
        assert!(hold.is_known() && hold.is_held());
        assert!(timeout(Duration::from_millis(100), hold.lost()).await.is_err());
    }
}
