//! The batched view of EC2: one listing of a region serves every resource in it, and tells what changed.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::pace::{Next, Pace};
use super::{AwsError, Ec2};

/// What is listed: everything of one kind that one account sees in one region.
pub trait View: Default + Send + Sync + 'static {
    /// The most that EC2 returns on one page.
    const PAGE: usize;
    /// What is listed, for the log.
    const WHAT: &'static str;

    /// Asks EC2. What has not changed since `earlier` may be shared with it.
    fn list(ec2: &Ec2, region: &str, earlier: &Self) -> impl Future<Output = Result<Self, AwsError>> + Send;
    /// How many there are.
    fn count(&self) -> usize;
    /// The IDs by which resources wait for what came, went or changed since `earlier`.
    fn changes_since(&self, earlier: &Self) -> BTreeSet<String>;
    /// Whether anything that this cluster cares for is about to change by itself.
    fn is_in_motion(&self, cluster: &str) -> bool;
}

/// How EC2 is polled.
#[derive(Clone, Debug)]
pub struct Polling {
    /// The cluster whose connections matter.
    pub cluster: String,
    /// The pause between listings at rest.
    pub interval: Duration,
    /// Who is told of changes.
    pub changed: mpsc::UnboundedSender<String>,
}

/// What one listing showed.
#[derive(Debug)]
pub struct Listing<V> {
    /// When it began: what happened in EC2 later may be missing.
    pub began: Instant,
    /// What is there, or why it failed.
    pub outcome: Result<Arc<V>, AwsError>,
    /// When the newest one began that did not fail, this one included.
    pub fresh: Option<Instant>,
    /// When the next one may begin.
    next: Instant,
}

impl<V> Clone for Listing<V> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

/// One region as one account sees it. It is listed again and again for as long as somebody holds this.
#[derive(Debug)]
pub struct Inventory<V> {
    listing: watch::Receiver<Option<Listing<V>>>,
    wanted: watch::Sender<Instant>,
    task: AbortHandle,
}

impl<V: View> Inventory<V> {
    fn start(ec2: Arc<Ec2>, region: String, polling: Polling) -> Self {
        let (published, listing) = watch::channel(None);
        let (wanted, wants) = watch::channel(Instant::now());
        let task = tokio::spawn(keep_listing(ec2, region, polling, published, wants)).abort_handle();
        Self { listing, wanted, task }
    }

    /// A listing that began after `time`. After a failure the failure is the answer until the region may be asked again.
    pub async fn since(&self, time: Instant) -> Listing<V> {
        let mut listing = self.listing.clone();
        self.want(time);
        let answers =
            |listing: &Listing<V>| listing.began >= time || (listing.outcome.is_err() && Instant::now() < listing.next);
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

    /// Lists as soon as that may be: something has happened.
    pub fn wake(&self) {
        self.want(Instant::now());
    }

    fn want(&self, time: Instant) {
        self.wanted.send_if_modified(|wanted| {
            let later = *wanted < time;
            if later {
                *wanted = time;
            }
            later
        });
    }

    /// The newest listing.
    #[must_use]
    pub fn latest(&self) -> Option<Listing<V>> {
        self.listing.borrow().clone()
    }

    /// When the newest listing began.
    #[must_use]
    pub fn newest(&self) -> Option<Instant> {
        self.listing.borrow().as_ref().map(|listing| listing.began)
    }
}

impl<V> Listing<V> {
    /// When the region may be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

impl<V> Drop for Inventory<V> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn keep_listing<V: View>(
    ec2: Arc<Ec2>,
    region: String,
    polling: Polling,
    published: watch::Sender<Option<Listing<V>>>,
    mut wants: watch::Receiver<Instant>,
) {
    let Polling { cluster, interval, changed } = polling;
    let mut known = Arc::new(V::default());
    let mut failures = backoff(interval);
    let mut pace = Pace::new(interval, Instant::now());
    loop {
        let began = Instant::now();
        pace.begins(began);
        let outcome = V::list(&ec2, &region, &known).await.map(Arc::new);
        let next = match &outcome {
            Ok(snapshot) => {
                failures = backoff(interval);
                let pages = u32::try_from(snapshot.count().div_ceil(V::PAGE)).unwrap_or(u32::MAX);
                let changes: BTreeSet<String> = snapshot.changes_since(&known);
                let next = pace.listed(began, pages, !changes.is_empty(), snapshot.is_in_motion(&cluster));
                known = Arc::clone(snapshot);
                publish(&published, began, outcome, next.earliest);
                for id in changes {
                    // Nobody listens any more only at shutdown.
                    _ = changed.send(id);
                }
                next
            }
            Err(error) => {
                let delay = failures.next().unwrap_or(interval);
                tracing::warn!(%region, %error, retry_in = ?delay, "cannot list the {}", V::WHAT);
                let later = Instant::now() + delay;
                publish(&published, began, outcome, later);
                Next { earliest: later, latest: later }
            }
        };
        tokio::time::sleep_until(next.earliest).await;
        tokio::select! {
            () = tokio::time::sleep_until(next.latest) => {}
            // A resource needs a newer listing than this one.
            wanted = wants.wait_for(|wanted| *wanted > began) => {
                if wanted.is_err() {
                    return;
                }
            }
        }
    }
}

fn publish<V>(
    published: &watch::Sender<Option<Listing<V>>>,
    began: Instant,
    outcome: Result<Arc<V>, AwsError>,
    next: Instant,
) {
    let before = published.borrow().as_ref().and_then(|listing| listing.fresh);
    let fresh = if outcome.is_ok() { Some(began) } else { before };
    published.send_replace(Some(Listing { began, outcome, fresh, next }));
}

fn backoff(interval: Duration) -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(interval.max(Duration::from_secs(1)))
        .with_jitter()
        .without_max_times()
        .build()
}

/// The inventories of one account, one for each region in use.
#[derive(Debug)]
pub struct Inventories<V> {
    ec2: Arc<Ec2>,
    polling: Polling,
    regions: Mutex<HashMap<String, Weak<Inventory<V>>>>,
}

impl<V: View> Inventories<V> {
    /// None yet; each starts when it is first asked for, and ends when nobody holds it any more.
    #[must_use]
    pub fn new(ec2: Arc<Ec2>, polling: Polling) -> Self {
        Self { ec2, polling, regions: Mutex::default() }
    }

    /// The inventory of this region.
    #[must_use]
    pub fn of(&self, region: &str) -> Arc<Inventory<V>> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inventory) = regions.get(region).and_then(Weak::upgrade) {
            return inventory;
        }
        let inventory = Arc::new(Inventory::start(Arc::clone(&self.ec2), region.to_owned(), self.polling.clone()));
        regions.insert(region.to_owned(), Arc::downgrade(&inventory));
        inventory
    }

    /// Every region in use, with its inventory.
    #[must_use]
    pub fn all(&self) -> Vec<(String, Arc<Inventory<V>>)> {
        let regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.iter().filter_map(|(region, inventory)| Some((region.clone(), inventory.upgrade()?))).collect()
    }
}
