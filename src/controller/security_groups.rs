//! The references between the security groups of both VPCs of a `VpcPeering`, which its deletion makes stale. The
//! operator looks at them only under `--security-group-warnings`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::time::Instant;

use super::context::Context;
use super::kind::{Look, is_deleted, is_reconcile_requested};
use crate::api::{Side, VpcPeering};
use crate::aws::Account;
use crate::peering::Endpoint;
use crate::peering::security_groups::SecurityGroupReferences;
use crate::peering::settings::{STALLED_REQUEUE, VPC_RECHECK};

/// The references of each end that an identity acts for. `None` if its credentials may not look. An end whose groups
/// cannot be read for another reason is left out: a warning delays nothing.
pub(super) async fn references<'a>(
    object: &VpcPeering,
    context: &Context,
    ends: impl Iterator<Item = (Side, &'a Arc<Account>, &'a Endpoint)>,
    look: Look,
) -> BTreeMap<Side, Option<Arc<SecurityGroupReferences>>> {
    let since = since(object, context, look);
    let mut references = BTreeMap::new();
    for (side, account, end) in ends {
        match account.security_groups.get(&end.region, &end.vpc_id, since).await {
            Ok(found) => _ = references.insert(side, found),
            Err(error) => tracing::debug!(vpc = end.vpc_id, %error, "cannot read the security groups"),
        }
    }
    references
}

/// The oldest look that still counts. The last look before a deletion is recent.
fn since(object: &VpcPeering, context: &Context, look: Look) -> Instant {
    if is_reconcile_requested(object) {
        return look.absent_since;
    }
    let age = if is_deleted(object) { STALLED_REQUEUE } else { VPC_RECHECK };
    Instant::now().checked_sub(age).map_or(context.started, |since| since.max(context.started))
}
