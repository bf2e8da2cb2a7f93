//! The batched view of EC2: what is known of a region serves every resource in it, and tells what changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use smol_str::SmolStr;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::poller::{Ask, Poller};
use super::{AwsError, Ec2, Questions};

/// What is listed: everything of one kind that one account sees in one region.
pub trait View: Default + FromIterator<Arc<Self::Item>> + Send + Sync + 'static {
    /// One of them.
    type Item: Send + Sync + 'static;
    /// The most that EC2 returns on one page.
    const PAGE: usize;
    /// What is listed, for the log.
    const WHAT: &'static str;

    /// Asks EC2 for a page of what the filter lets through; the token is that of the page before.
    fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> impl Future<Output = Result<Page<Self::Item>, AwsError>> + Send;
    /// All of them.
    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<Self::Item>>;
    /// The item as it is known here, where it is the same.
    fn share(&self, item: Self::Item, cluster: &SmolStr) -> Arc<Self::Item>;
    /// What an item has of what this filter finds it by.
    fn value<'a>(item: &'a Self::Item, filter: &str) -> Option<&'a str>;
    /// The IDs by which resources wait for what came, went or changed since `earlier`.
    fn changes_since(&self, earlier: &Self) -> BTreeSet<String>;
    /// What finds those that this cluster cares for and that are about to change by themselves.
    fn in_motion(&self, cluster: &str) -> Questions;
}

/// A page of a listing.
#[derive(Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What leads to the next page.
    pub next: Option<String>,
}

/// Everything that the filter lets through, one page after the other.
pub(super) async fn all_pages<V: View>(
    ec2: &Ec2,
    region: &str,
    filter: Option<Filter>,
) -> Result<Vec<V::Item>, AwsError> {
    let (mut items, mut token, mut tokens) = (Vec::new(), None, Tokens::default());
    loop {
        let page = V::page(ec2, region, filter.clone(), token).await?;
        items.extend(page.items);
        token = tokens.next::<V>(page.next)?;
        if token.is_none() {
            return Ok(items);
        }
    }
}

/// The most pages of a listing: half a million peering connections, and fifty thousand route tables.
const PAGES: usize = 500;

/// The tokens of a listing so far. One that comes again, or pages without end, would fill the memory.
#[derive(Debug, Default)]
pub(super) struct Tokens(HashSet<String>);

impl Tokens {
    /// What leads to the next page, where there is one.
    pub fn next<V: View>(&mut self, token: Option<String>) -> Result<Option<String>, AwsError> {
        let Some(token) = token else { return Ok(None) };
        let endless = |why: String| Err(AwsError::incomplete("Describe", &format!("the list of {} {why}", V::WHAT)));
        if self.0.len() + 1 >= PAGES {
            endless(format!("has more than {PAGES} pages"))
        } else if self.0.insert(token.clone()) {
            Ok(Some(token))
        } else {
            endless("does not end: EC2 gives the token of a page again".into())
        }
    }
}

/// How EC2 is polled.
#[derive(Clone, Debug)]
pub struct Polling {
    /// The cluster whose connections matter.
    pub cluster: SmolStr,
    /// The pause between listings at rest.
    pub interval: Duration,
    /// Who is told of changes.
    pub changed: mpsc::UnboundedSender<String>,
}

/// What is known of a region.
#[derive(Debug)]
pub struct Listing<V> {
    /// When the look began that answers: what happened in EC2 later may be missing.
    pub began: Instant,
    /// When the newest look began of all that are in it.
    pub looked: Instant,
    /// What is there, or why it cannot be told.
    pub outcome: Result<Arc<V>, AwsError>,
    /// When the newest complete listing began that did not fail.
    pub fresh: Option<Instant>,
    /// When EC2 may be asked next.
    pub(super) next: Instant,
}

impl<V> Clone for Listing<V> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<V> Listing<V> {
    /// When the region may be asked again.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }
}

/// One region as one account sees it. It is polled for as long as somebody holds this.
#[derive(Debug)]
pub struct Inventory<V: View> {
    listing: watch::Receiver<Option<Listing<V>>>,
    asks: mpsc::UnboundedSender<Ask<V>>,
    task: AbortHandle,
}

impl<V: View> Inventory<V> {
    fn start(ec2: Arc<Ec2>, region: String, polling: Polling) -> Self {
        let (published, listing) = watch::channel(None);
        let (asks, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(Poller::new(ec2, region, polling, published).run(asked)).abort_handle();
        Self { listing, asks, task }
    }

    /// What is known, where what answers these questions is from after `since`. After a failure the failure is the
    /// answer until the region may be asked again.
    pub async fn about(&self, questions: Questions, since: Instant) -> Listing<V> {
        let (sender, answer) = oneshot::channel();
        // The task lives as long as this inventory, so it ends only at shutdown: there is no answer any more.
        _ = self.asks.send(Ask { questions: Some(questions), since, answer: Some(sender) });
        match answer.await {
            Ok(listing) => listing,
            Err(_) => std::future::pending().await,
        }
    }

    /// Asks as soon as that may be: something has happened to what these questions find, or, without any, somewhere.
    pub fn wake(&self, questions: Option<Questions>) {
        // The task ends only at shutdown.
        _ = self.asks.send(Ask { questions, since: Instant::now(), answer: None });
    }

    /// What is known by now.
    #[must_use]
    pub fn latest(&self) -> Option<Listing<V>> {
        self.listing.borrow().clone()
    }

    /// The same, where it is newer than this; it answers whatever this answers.
    #[must_use]
    pub fn newer_than(&self, listing: &Listing<V>) -> Option<Listing<V>> {
        let newer = self.latest().filter(|latest| latest.looked > listing.looked)?;
        Some(Listing { began: newer.began.max(listing.began), ..newer })
    }
}

impl<V: View> Drop for Inventory<V> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The inventories of one account, one for each region in use.
#[derive(Debug)]
pub struct Inventories<V: View> {
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
        // What nobody holds any more leaves no trace.
        regions.retain(|_, inventory| inventory.strong_count() > 0);
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
