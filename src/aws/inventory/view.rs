//! The resources of one kind in one region: how EC2 lists them page by page, and the listing that the inventory
//! publishes.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_ec2::types::Filter;
use smol_str::SmolStr;
use tokio::time::Instant;

use super::filters::Filters;
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;

/// All resources of one kind that one account sees in one region.
pub trait View: Default + FromIterator<Arc<Self::Item>> + Send + Sync + 'static {
    type Item: Send + Sync + 'static;
    /// The `MaxResults` of each call: the largest that EC2 allows.
    const PAGE_SIZE: usize;
    /// The plural name of the items, for messages.
    const NAME: &'static str;

    /// Fetches one page of the items that match the filter. `token` is that of the previous page.
    fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> impl Future<Output = Result<Page<Self::Item>, AwsError>> + Send;
    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<Self::Item>>;
    /// Returns the item of this view if it is equal, so that unchanged items are stored once.
    fn share(&self, item: Self::Item, cluster: &SmolStr) -> Arc<Self::Item>;
    /// The attribute of the item that the EC2 filter of this name compares.
    fn filter_value<'a>(item: &'a Self::Item, filter: &str) -> Option<&'a str>;
    /// The index keys of the items that were added, removed or changed since `earlier`. Controllers index their
    /// resources by these keys.
    fn changes_since(&self, earlier: &Self) -> BTreeSet<String>;
    /// Filters for the items of this cluster that are in a transient state, which EC2 will change by itself.
    fn transient(&self, cluster: &str) -> Filters;
}

#[derive(Debug)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The token of the next page.
    pub next: Option<String>,
}

/// The latest known state of one region.
#[derive(Debug)]
pub struct Listing<V> {
    /// Start of the poll that answered the query. Later changes in EC2 may be missing.
    pub as_of: Instant,
    /// Start of the newest poll in this listing.
    pub last_polled: Instant,
    pub outcome: Result<Arc<V>, AwsError>,
    /// Start of the last successful complete listing.
    pub last_complete: Option<Instant>,
    /// The earliest time of the next complete listing.
    pub(super) next_poll: Instant,
}

impl<V> Clone for Listing<V> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), ..*self }
    }
}

impl<V> Listing<V> {
    /// The time until the region may be polled again.
    pub fn retry_after(&self) -> Duration {
        self.next_poll.saturating_duration_since(Instant::now())
    }
}

/// All items that match the filter, from as many pages as there are.
pub async fn all_pages<V: View>(ec2: &Ec2, region: &str, filter: Option<Filter>) -> Result<Vec<V::Item>, AwsError> {
    let (mut items, mut token, mut tokens) = (Vec::new(), None, PageTokens::default());
    loop {
        let page = V::page(ec2, region, filter.clone(), token).await?;
        items.extend(page.items);
        token = tokens.check::<V>(page.next)?;
        if token.is_none() {
            return Ok(items);
        }
    }
}

/// Maximum pages of one listing: half a million peering connections, or 50,000 route tables.
const MAX_PAGES: usize = 500;

/// The page tokens of one listing. A repeated token, or pages without end, would exhaust the memory.
#[derive(Debug, Default)]
pub struct PageTokens(HashSet<String>);

impl PageTokens {
    /// Returns the token of the next page, or an error if the listing would not end.
    pub fn check<V: View>(&mut self, token: Option<String>) -> Result<Option<String>, AwsError> {
        let Some(token) = token else { return Ok(None) };
        let endless =
            |what: String| Err(AwsError::incomplete("Describe", &format!("EC2 returned {what} of {}", V::NAME)));
        if self.0.len() + 1 >= MAX_PAGES {
            endless(format!("more than {MAX_PAGES} pages"))
        } else if self.0.insert(token.clone()) {
            Ok(Some(token))
        } else {
            endless("a page token twice for one list".into())
        }
    }
}
