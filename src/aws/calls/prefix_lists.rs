//! The calls on managed prefix lists.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_sdk_ec2::types::{Filter, ManagedPrefixList, PrefixListState};
use smol_str::SmolStr;

use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::aws::inventory::filters::Filters;
use crate::aws::inventory::view::{Page, View};
use crate::peering::routes::{Entries, PrefixList, PrefixLists};

/// The filter for a prefix list by its ID.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeManagedPrefixLists.html>
pub const PREFIX_LIST_ID: &str = "prefix-list-id";

impl View for PrefixLists {
    type Item = PrefixList;

    const PAGE_SIZE: usize = 100;
    const NAME: &'static str = "prefix lists";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<PrefixList>, AwsError> {
        let call = ec2.read_client(region).describe_managed_prefix_lists().max_results(Self::PAGE_SIZE as i32);
        let answer = call.set_filters(filter.map(|filter| vec![filter])).set_next_token(token).send().await;
        let answer = answer.map_err(|error| ec2.error("DescribeManagedPrefixLists", &error))?;
        let items = answer.prefix_lists.unwrap_or_default().into_iter().filter_map(read).collect();
        Ok(Page { items, next: answer.next_token.filter(|token| !token.is_empty()) })
    }

    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<PrefixList>> {
        self.all()
    }

    fn share(&self, item: PrefixList, _: &SmolStr) -> Arc<PrefixList> {
        let known = self.get(&item.id).filter(|known| ***known == item);
        known.cloned().unwrap_or_else(|| Arc::new(item))
    }

    fn filter_value<'a>(item: &'a PrefixList, filter: &str) -> Option<&'a str> {
        (filter == PREFIX_LIST_ID).then_some(item.id.as_str())
    }

    fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        self.changes_since(earlier)
    }

    /// A list that EC2 is changing is seen at the next poll: few resources use it.
    fn transient(&self, _: &str) -> Filters {
        Filters::default()
    }
}

impl Ec2 {
    /// The entries of a version of a customer-managed prefix list. Fails if one is no CIDR block: nothing would check it.
    pub async fn prefix_list_entries(&self, region: &str, list: &PrefixList) -> Result<Entries, AwsError> {
        const ACTION: &str = "GetManagedPrefixListEntries";
        let call = self.read_client(region).get_managed_prefix_list_entries().prefix_list_id(&list.id);
        let all = call.set_target_version(list.version).into_paginator().items().send().try_collect().await;
        let all = all.map_err(|error| self.error(ACTION, &error))?;
        let read = |entry: aws_sdk_ec2::types::PrefixListEntry| {
            let block = entry.cidr.unwrap_or_default();
            let unreadable = || AwsError::incomplete(ACTION, &format!("EC2 returned the entry {block:?}"));
            Ok(block.parse::<ipnet::IpNet>().map_err(|_| unreadable())?.trunc())
        };
        all.into_iter().map(read).collect()
    }
}

/// Skips a list without an ID.
fn read(list: ManagedPrefixList) -> Option<PrefixList> {
    use PrefixListState::{CreateInProgress, ModifyInProgress, RestoreInProgress};
    Some(PrefixList {
        id: list.prefix_list_id?,
        owner_id: list.owner_id.unwrap_or_default(),
        is_ipv6: list.address_family.as_deref() == Some("IPv6"),
        max_entries: list.max_entries.and_then(|count| usize::try_from(count).ok()),
        version: list.version,
        is_changing: matches!(list.state, Some(CreateInProgress | ModifyInProgress | RestoreInProgress)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_aws_has_neither_version_nor_maximum() {
        let list = || ManagedPrefixList::builder().prefix_list_id("pl-1").address_family("IPv4");
        let aws = list().owner_id("AWS").state(PrefixListState::CreateComplete).build();
        let expected = PrefixList {
            id: "pl-1".into(),
            owner_id: PrefixList::AWS.into(),
            is_ipv6: false,
            max_entries: None,
            version: None,
            is_changing: false,
        };
        assert_eq!(read(aws), Some(expected));
        let ours = list().owner_id("111111111111").state(PrefixListState::ModifyInProgress).max_entries(3).version(2);
        let read = read(ours.address_family("IPv6").build());
        assert_eq!(
            read.map(|list| (list.is_ipv6, list.max_entries, list.version, list.is_changing)),
            Some((true, Some(3), Some(2), true))
        );
    }
}
