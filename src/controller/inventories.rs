//! Reads of one item from the inventories, with errors as blockers.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::blocked::blocker_of;
use super::kind::Look;
use crate::aws::calls::{CONNECTION_ID, PREFIX_LIST_ID, VPC_ID};
use crate::aws::{Account, Filters, Inventory, View};
use crate::peering::routes::{NamedPrefixLists, PrefixList, PrefixLists};
use crate::peering::settings::STALLED_REQUEUE;
use crate::peering::{Blocker, Connection, Snapshot};

/// The route tables or subnets of a VPC.
pub(super) async fn of_vpc<V: View>(inventory: &Inventory<V>, vpc_id: &str, since: Instant) -> Result<Arc<V>, Blocker> {
    let listing = inventory.query(Filters::default().and(VPC_ID, vpc_id), since).await;
    let retry_after = listing.retry_after();
    listing.outcome.map_err(|error| Blocker { requeue_after: Some(retry_after), ..blocker_of(&error) })
}

/// The prefix lists with these IDs in a region, with their entries.
pub(super) async fn prefix_lists(
    inventory: &Inventory<PrefixLists>,
    (account, region): (&Account, &str),
    ids: &[String],
    since: Instant,
) -> NamedPrefixLists {
    let filters = ids.iter().map(|id| (PREFIX_LIST_ID, id.as_str())).collect();
    let listing = inventory.query(filters, since).await;
    let retry_after = listing.retry_after();
    let shown = listing.outcome.map_err(|error| Blocker { requeue_after: Some(retry_after), ..blocker_of(&error) });
    let mut entries = BTreeMap::new();
    for list in ids.iter().filter_map(|id| shown.as_ref().ok()?.get(id)).filter(|list| list.owner_id != PrefixList::AWS)
    {
        let read = account.prefix_list_entries.entries(region, list).await;
        let read = read.map_err(|error| Blocker { requeue_after: Some(STALLED_REQUEUE), ..blocker_of(&error) });
        entries.insert(list.id.clone(), read);
    }
    NamedPrefixLists { shown, entries }
}

/// A connection by its ID. Its absence counts only if the poll began after `look.absent_since`.
pub(super) async fn connection(
    inventory: &Inventory<Snapshot>,
    id: &str,
    look: Look,
) -> Result<Option<Arc<Connection>>, Blocker> {
    let mut since = look.since;
    loop {
        let listing = inventory.query(Filters::default().and(CONNECTION_ID, id), since).await;
        let retry_after = listing.retry_after();
        let snapshot =
            listing.outcome.map_err(|error| Blocker { requeue_after: Some(retry_after), ..blocker_of(&error) })?;
        match snapshot.get(id) {
            None if listing.as_of < look.absent_since => since = look.absent_since,
            shown => return Ok(shown.cloned()),
        }
    }
}
