//! The batched view of EC2: one listing of a region serves every resource in it, and tells which connections changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::calls::PAGE;
use super::{AwsError, Ec2};
use crate::peering::Snapshot;

/// A listing begins at least so long after the last one for each page that it had, however many resources ask: four
/// pages a second leave most of EC2's rate to others.
const GAP_PER_PAGE: Duration = Duration::from_millis(250);

/// The longest pause between listings while a connection of ours is on its way to another code.
const IN_MOTION: Duration = Duration::from_secs(5);

/// What one listing showed.
#[derive(Clone, Debug)]
pub struct Listing {
    /// When it began: what happened in EC2 later may be missing.
    pub began: Instant,
    /// Every connection, or why it failed.
    pub outcome: Result<Arc<Snapshot>, AwsError>,
    /// When the newest one began that did not fail, this one included.
    pub fresh: Option<Instant>,
    /// When the next one may begin.
    next: Instant,
}

/// One region as one account sees it.
#[derive(Debug)]
pub struct Inventory {
    listing: watch::Receiver<Option<Listing>>,
    wanted: watch::Sender<Instant>,
    task: AbortHandle,
}

impl Inventory {
    fn start(
        ec2: Arc<Ec2>,
        region: String,
        cluster: String,
        poll_interval: Duration,
        changed: mpsc::UnboundedSender<String>,
    ) -> Self {
        let (published, listing) = watch::channel(None);
        let (wanted, wants) = watch::channel(Instant::now());
        let task =
            tokio::spawn(keep_listing(ec2, region, cluster, poll_interval, published, wants, changed)).abort_handle();
        Self { listing, wanted, task }
    }

    /// A listing that began after `time`. After a failure the failure is the answer until the region may be asked again.
    pub async fn since(&self, time: Instant) -> Listing {
        let mut listing = self.listing.clone();
        self.wanted.send_if_modified(|wanted| {
            let later = *wanted < time;
            if later {
                *wanted = time;
            }
            later
        });
        let answers =
            |listing: &Listing| listing.began >= time || (listing.outcome.is_err() && Instant::now() < listing.next);
        loop {
            if let Some(listing) = listing.borrow_and_update().as_ref().filter(|listing| answers(listing)) {
                return listing.clone();
            }
            if listing.changed().await.is_err() {
                // The task lives as long as this inventory, so it ends only at shutdown: there is no answer any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The newest listing.
    #[must_use]
    pub fn latest(&self) -> Option<Listing> {
        self.listing.borrow().clone()
    }

    /// When the newest listing began.
    #[must_use]
    pub fn newest(&self) -> Option<Instant> {
        self.listing.borrow().as_ref().map(|listing| listing.began)
    }
}

impl Listing {
    /// When the region may be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

impl Drop for Inventory {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_listing(
    ec2: Arc<Ec2>,
    region: String,
    cluster: String,
    poll_interval: Duration,
    published: watch::Sender<Option<Listing>>,
    mut wants: watch::Receiver<Instant>,
    changed: mpsc::UnboundedSender<String>,
) {
    let mut known = Arc::new(Snapshot::default());
    let mut failures = backoff(poll_interval);
    let mut pause = GAP_PER_PAGE;
    loop {
        let began = Instant::now();
        let outcome = ec2.describe_vpc_peering_connections(&region).await.map(Arc::new);
        let (earliest, latest) = match &outcome {
            Ok(snapshot) => {
                failures = backoff(poll_interval);
                let gap = GAP_PER_PAGE
                    .saturating_mul(u32::try_from(snapshot.len().div_ceil(PAGE)).unwrap_or(u32::MAX).max(1));
                let changes: BTreeSet<String> = snapshot.changes_since(&known);
                let moving = snapshot.has_motion_of(&cluster);
                pause = match (moving, changes.is_empty()) {
                    (false, _) => poll_interval,
                    (true, false) => gap,
                    (true, true) => (pause * 2).min(IN_MOTION.max(gap)).min(poll_interval),
                };
                known = Arc::clone(snapshot);
                publish(&published, began, outcome, began + gap);
                for id in changes {
                    // Nobody listens any more only at shutdown.
                    _ = changed.send(id);
                }
                (began + gap, began + pause.max(gap))
            }
            Err(error) => {
                let delay = failures.next().unwrap_or(poll_interval);
                tracing::warn!(%region, %error, retry_in = ?delay, "cannot list the peering connections");
                let next = Instant::now() + delay;
                publish(&published, began, outcome, next);
                (next, next)
            }
        };
        tokio::time::sleep_until(earliest).await;
        tokio::select! {
            () = tokio::time::sleep_until(latest) => {}
            // A resource needs a newer listing than this one.
            wanted = wants.wait_for(|wanted| *wanted > began) => {
                if wanted.is_err() {
                    return;
                }
            }
        }
    }
}

fn publish(
    published: &watch::Sender<Option<Listing>>,
    began: Instant,
    outcome: Result<Arc<Snapshot>, AwsError>,
    next: Instant,
) {
    let before = published.borrow().as_ref().and_then(|listing| listing.fresh);
    let fresh = if outcome.is_ok() { Some(began) } else { before };
    published.send_replace(Some(Listing { began, outcome, fresh, next }));
}

fn backoff(poll_interval: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(poll_interval.max(Duration::from_secs(1)))
        .with_jitter()
        .without_max_times()
        .build()
}

/// The inventories, one for each region in use.
#[derive(Debug)]
pub struct Inventories {
    ec2: Arc<Ec2>,
    cluster: String,
    poll_interval: Duration,
    changed: mpsc::UnboundedSender<String>,
    regions: Mutex<HashMap<String, Arc<Inventory>>>,
}

impl Inventories {
    /// None yet; each starts when it is first asked for. The IDs of connections that come, go or change are sent to `changed`.
    #[must_use]
    pub fn new(
        ec2: Arc<Ec2>,
        cluster: String,
        poll_interval: Duration,
        changed: mpsc::UnboundedSender<String>,
    ) -> Self {
        Self { ec2, cluster, poll_interval, changed, regions: Mutex::default() }
    }

    /// The inventory of this region.
    #[must_use]
    pub fn of(&self, region: &str) -> Arc<Inventory> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let inventory = regions.entry(region.to_owned()).or_insert_with(|| {
            Arc::new(Inventory::start(
                Arc::clone(&self.ec2),
                region.to_owned(),
                self.cluster.clone(),
                self.poll_interval,
                self.changed.clone(),
            ))
        });
        Arc::clone(inventory)
    }

    /// Every region in use, with its inventory.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Inventory>)> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.iter().map(|(region, inventory)| (region.clone(), Arc::clone(inventory))).collect()
    }
}
