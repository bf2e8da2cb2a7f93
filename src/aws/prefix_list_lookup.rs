//! Cached entries of managed prefix lists. The inventory shows their versions, so that entries are read again only when
//! they have changed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use crate::peering::routes::{Entries, PrefixList};
use crate::peering::settings::VPC_RECHECK;

/// How long a failed look is the answer for all callers.
const ERROR_TTL: Duration = Duration::from_secs(10);

/// An answer about a list: the version that it is about, and the time before the look.
#[derive(Debug)]
struct Answer {
    version: Option<i64>,
    at: Instant,
    entries: Result<Arc<Entries>, AwsError>,
}

/// The lock is held during a look, so that concurrent callers share it.
type Known = Arc<tokio::sync::Mutex<Option<Answer>>>;

/// By region and ID of the list: the entries, and the time of the last question.
type All = HashMap<(String, String), (Known, Instant)>;

/// The entries of prefix lists in all regions of one account.
#[derive(Debug)]
pub struct PrefixListLookup {
    ec2: Arc<Ec2>,
    known: Mutex<All>,
}

impl Answer {
    fn holds_for(&self, version: Option<i64>) -> bool {
        match self.entries {
            Ok(_) => version.is_some() && self.version == version,
            Err(_) => self.at.elapsed() < ERROR_TTL,
        }
    }
}

impl PrefixListLookup {
    pub(super) fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, known: Mutex::default() }
    }

    /// The entries of the version of a list that the inventory shows. While EC2 changes the list, they are not kept.
    pub async fn entries(&self, region: &str, list: &PrefixList) -> Result<Arc<Entries>, AwsError> {
        let known = {
            let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (region.to_owned(), list.id.clone());
            let (known, used) = all.entry(key).or_insert_with(|| (Known::default(), Instant::now()));
            *used = Instant::now();
            Arc::clone(known)
        };
        let mut known = known.lock().await;
        let version = list.version.filter(|_| !list.is_changing);
        if let Some(answer) = known.as_ref().filter(|answer| answer.holds_for(version)) {
            return answer.entries.clone();
        }
        let at = Instant::now();
        let entries = self.ec2.prefix_list_entries(region, list).await.map(Arc::new);
        *known = Some(Answer { version, at, entries: entries.clone() });
        entries
    }

    /// Forgets the lists that nobody asks about any more.
    pub(super) fn forget_idle(&self) {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, used)| used.elapsed() < VPC_RECHECK * 2);
    }
}
