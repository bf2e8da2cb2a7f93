//! Calls with `DryRun`: EC2 checks the permission and does nothing.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use crate::aws::ec2::Ec2;
use crate::aws::error::{AwsError, Class};
use crate::peering::Ec2Call;
use crate::peering::routes::RouteChange;

/// The answer to a dry run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    Granted,
    Denied(AwsError),
    /// EC2 did not come to a decision, for example because the resource no longer exists.
    Unknown(AwsError),
}

impl Ec2 {
    /// The permissions of the read calls in a region.
    pub async fn dry_run_reads(&self, region: &str) -> [(&'static str, Permission); 4] {
        let ec2 = self.write_client(region);
        let (connections, vpcs, tables, subnets) = tokio::join!(
            ec2.describe_vpc_peering_connections().dry_run(true).send(),
            ec2.describe_vpcs().dry_run(true).send(),
            ec2.describe_route_tables().dry_run(true).send(),
            ec2.describe_subnets().dry_run(true).send(),
        );
        [
            self.permission("DescribeVpcPeeringConnections", connections),
            self.permission("DescribeVpcs", vpcs),
            self.permission("DescribeRouteTables", tables),
            self.permission("DescribeSubnets", subnets),
        ]
    }

    /// The permissions of the read calls for a prefix list.
    pub async fn dry_run_prefix_list_reads(&self, region: &str, id: &str) -> [(&'static str, Permission); 2] {
        let ec2 = self.write_client(region);
        let (lists, entries) = tokio::join!(
            ec2.describe_managed_prefix_lists().dry_run(true).send(),
            ec2.get_managed_prefix_list_entries().prefix_list_id(id).dry_run(true).send(),
        );
        [self.permission("DescribeManagedPrefixLists", lists), self.permission("GetManagedPrefixListEntries", entries)]
    }

    /// The permission of a call. `None` if the action has no dry run.
    pub async fn dry_run(&self, region: &str, call: &Ec2Call) -> Option<Permission> {
        let outcome = match call {
            Ec2Call::Create(request) | Ec2Call::DryRunCreate(request) => {
                self.dry_run_create_vpc_peering_connection(request).await
            }
            Ec2Call::Accept { id } => self.checked(call, self.accept_call(region, id).dry_run(true).send().await),
            Ec2Call::Reject { id } => self.checked(call, self.reject_call(region, id).dry_run(true).send().await),
            Ec2Call::Delete { id } => self.checked(call, self.delete_call(region, id).dry_run(true).send().await),
            Ec2Call::Tag { id, tags } => {
                self.checked(call, self.create_tags_call(region, id, tags).dry_run(true).send().await)
            }
            Ec2Call::Untag { id, keys } => {
                self.checked(call, self.delete_tags_call(region, id, keys).dry_run(true).send().await)
            }
            Ec2Call::SetOptions { id, side, allow_dns_resolution_from_remote_vpc: allow } => {
                self.checked(call, self.modify_options_call(region, id, *side, *allow).dry_run(true).send().await)
            }
            Ec2Call::ChangeRoute(RouteChange::Create(route)) => {
                self.checked(call, self.create_route_call(region, route).dry_run(true).send().await)
            }
            Ec2Call::ChangeRoute(RouteChange::Replace(route)) => {
                self.checked(call, self.replace_route_call(region, route).dry_run(true).send().await)
            }
            Ec2Call::ChangeRoute(RouteChange::Delete(route)) => {
                self.checked(call, self.delete_route_call(region, route).dry_run(true).send().await)
            }
            // <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifyVpcAttribute.html>
            Ec2Call::TurnOnDnsAttribute { .. } => return None,
        };
        Some(Permission::of(outcome))
    }

    fn checked<T, E>(&self, call: &Ec2Call, outcome: Result<T, SdkError<E, HttpResponse>>) -> Result<(), AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        self.check(call.action(), outcome)
    }

    fn permission<T, E>(
        &self,
        action: &'static str,
        outcome: Result<T, SdkError<E, HttpResponse>>,
    ) -> (&'static str, Permission)
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        (action, Permission::of(self.check(action, outcome)))
    }
}

impl Permission {
    /// The permission that the outcome of a dry run proves.
    pub fn of(outcome: Result<(), AwsError>) -> Self {
        match outcome {
            Ok(()) => Self::Granted,
            Err(error) if error.is_dry_run_success() => Self::Granted,
            // `OperationNotPermitted` is about the state of the connection.
            Err(error)
                if error.class == Class::FixPermissions && error.code.as_deref() != Some("OperationNotPermitted") =>
            {
                Self::Denied(error)
            }
            Err(error) => Self::Unknown(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use ec2_simulator::Client;
    use ec2_simulator::journal::Query;

    use super::*;
    use crate::api::{ManagedRoute, Side};
    use crate::aws::testing;
    use crate::peering::CreateRequest;
    use crate::peering::dns::DnsAttribute;

    fn calls() -> Vec<Ec2Call> {
        let id = || "pcx-11111111111111111".to_owned();
        let tags = || [("a".to_owned(), "b".to_owned())].into();
        let request = || CreateRequest {
            region: "eu-central-1".into(),
            vpc_id: "vpc-11111111".into(),
            peer_vpc_id: "vpc-22222222".into(),
            peer_owner_id: Some("222222222222".into()),
            peer_region: Some("us-west-2".into()),
            tags: tags(),
        };
        let route = |block: &str| ManagedRoute {
            side: Side::Requester,
            route_table_id: "rtb-11111111".into(),
            destination_cidr_block: Some(block.into()),
            destination_prefix_list_id: None,
            vpc_peering_connection_id: id(),
        };
        let options = |side| Ec2Call::SetOptions { id: id(), side, allow_dns_resolution_from_remote_vpc: true };
        vec![
            Ec2Call::Create(request()),
            Ec2Call::DryRunCreate(request()),
            Ec2Call::Accept { id: id() },
            Ec2Call::Reject { id: id() },
            Ec2Call::Delete { id: id() },
            Ec2Call::Tag { id: id(), tags: tags() },
            Ec2Call::Untag { id: id(), keys: ["a".to_owned()].into() },
            options(Side::Requester),
            options(Side::Accepter),
            Ec2Call::ChangeRoute(RouteChange::Create(route("10.2.0.0/16"))),
            Ec2Call::ChangeRoute(RouteChange::Replace(route("2001:db8::/56"))),
            Ec2Call::ChangeRoute(RouteChange::Delete(route("10.2.0.0/16"))),
        ]
    }

    #[tokio::test]
    async fn every_call_is_sent_as_a_dry_run_with_its_parameters() -> Result<(), Box<dyn Error>> {
        let (server, ec2) = testing::instant_simulator().await?;
        let calls = calls();
        for call in &calls {
            assert!(ec2.dry_run("eu-central-1", call).await.is_some(), "{call:?}");
        }
        let dns = Ec2Call::TurnOnDnsAttribute { vpc_id: "vpc-11111111".into(), attribute: DnsAttribute::Support };
        assert_eq!(ec2.dry_run("eu-central-1", &dns).await, None);
        let journal = Client::new(&server.url()).journal(&Query::default()).await?;
        assert_eq!(journal.entries.len(), calls.len());
        for (entry, call) in journal.entries.iter().zip(&calls) {
            let mut sent = entry.parameters.clone();
            assert_eq!(sent.remove("DryRun").as_deref(), Some("true"), "{entry:?}");
            sent.retain(|name, _| !name.contains("Tag"));
            let mut shown = call.parameters();
            shown.remove("DryRun");
            let shown: Vec<_> = shown.into_iter().collect();
            let sent: Vec<_> = sent.iter().map(|(name, value)| (name.trim_end_matches(".1"), value.clone())).collect();
            assert_eq!((entry.action.as_str(), sent), (call.action(), shown));
        }
        Ok(())
    }

    #[test]
    fn only_a_denial_disproves_a_permission() {
        let error = |class, code: &str| {
            let error = AwsError::incomplete("CreateTags", "refused");
            AwsError { class, code: Some(code.to_owned()), ..error }
        };
        assert_eq!(Permission::of(Ok(())), Permission::Granted);
        assert_eq!(Permission::of(Err(error(Class::Broken, "DryRunOperation"))), Permission::Granted);
        let denied = error(Class::FixPermissions, "UnauthorizedOperation");
        assert_eq!(Permission::of(Err(denied.clone())), Permission::Denied(denied));
        for unclear in [error(Class::FixPermissions, "OperationNotPermitted"), error(Class::Gone, "X.NotFound")] {
            assert_eq!(Permission::of(Err(unclear.clone())), Permission::Unknown(unclear));
        }
    }
}
