//! Reads of one item from the inventories, with errors as blockers.

use std::sync::Arc;

use tokio::time::Instant;

use super::blocked::blocker_of;
use super::kind::Look;
use crate::aws::calls::CONNECTION_ID;
use crate::aws::calls::VPC_ID;
use crate::aws::{Filters, Inventory, View};
use crate::peering::{Blocker, Connection, Snapshot};

/// The route tables or subnets of a VPC.
pub(super) async fn of_vpc<V: View>(inventory: &Inventory<V>, vpc_id: &str, since: Instant) -> Result<Arc<V>, Blocker> {
    let listing = inventory.query(Filters::default().and(VPC_ID, vpc_id), since).await;
    let retry_after = listing.retry_after();
    listing.outcome.map_err(|error| Blocker { requeue_after: Some(retry_after), ..blocker_of(&error) })
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
