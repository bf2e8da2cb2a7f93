//! The VPC that a `vpcSelector` matches.

use std::collections::BTreeMap;

use super::blocked::Blocked;
use crate::api::Reason;
use crate::aws::Account;
use crate::peering::{Blocker, Limits};

/// The one VPC with these tags.
///
/// # Errors
/// If no VPC or several VPCs match. `field` is the field of the spec that holds the tags.
pub(super) async fn find(
    (account, limits): (&Account, &Limits),
    region: &str,
    tags: Option<&BTreeMap<String, String>>,
    field: &str,
) -> Result<String, Blocked> {
    let found = match tags {
        Some(tags) => account.vpcs.tagged(region, tags).await?,
        None => Vec::new(),
    };
    let (reason, message) = match found.as_slice() {
        [id] => return Ok(id.clone()),
        [] => (Reason::VpcNotFound, format!("{field} matches no VPC in {region} that {} can see", account.principal)),
        several => {
            // The ID of a VPC that the identity may not be used for is confidential.
            let named: Vec<_> = several.iter().map(String::as_str).filter(|id| limits.allows_vpc(id)).collect();
            let named = if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) };
            let number = several.len();
            (Reason::AmbiguousVpc, format!("{field} matches {number} VPCs in {region}{named}; it must match one"))
        }
    };
    Err(Blocker::rechecked(reason, message).into())
}
