//! The only module that uses the AWS SDK: accounts and their clients, EC2 calls, error classes, the polled inventory of
//! each region, and the event queue.

mod accounts;
pub(crate) mod calls;
pub(crate) mod configuration;
mod dns_lookup;
mod ec2;
pub(crate) mod error;
pub(crate) mod event_queue;
mod interceptor;
pub(crate) mod inventory;
mod prefix_list_lookup;
mod principal;
mod quota_lookup;
mod rate_limit;
pub(crate) mod regions;
mod security_group_lookup;
mod sessions;
#[cfg(test)]
pub(crate) mod testing;
mod vpc_answers;
mod vpc_lookup;

pub(crate) use aws_config::SdkConfig;

pub(crate) use accounts::{Account, Accounts, CallerIdentity};
pub(crate) use calls::dry_run::Permission;
pub(crate) use dns_lookup::DnsLookup;
pub(crate) use ec2::Ec2;
pub(crate) use error::{AwsError, Class};
pub(crate) use interceptor::{CompletedRequest, Interceptor, Unobserved};
pub(crate) use inventory::Inventory;
pub(crate) use inventory::filters::{Filters, MAX_FILTER_VALUES};
pub(crate) use inventory::view::{Listing, View, all_pages};
pub(crate) use principal::{Principal, Role, SessionTags};
pub(crate) use rate_limit::RateLimit;
