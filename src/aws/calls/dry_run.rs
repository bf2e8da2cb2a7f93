//! Calls with `DryRun`: EC2 checks the permission and does nothing.
//! <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>

use std::collections::BTreeMap;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};

use super::peerings::sdk_tags;
use super::routes::Destination;
use crate::api::{ManagedRoute, Side};
use crate::aws::ec2::Ec2;
use crate::aws::error::{AwsError, Class};

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

    pub async fn dry_run_create_tags(
        &self,
        region: &str,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> (&'static str, Permission) {
        let call = self.write_client(region).create_tags().resources(id).set_tags(Some(sdk_tags(tags))).dry_run(true);
        self.permission("CreateTags", call.send().await)
    }

    pub async fn dry_run_delete_vpc_peering_connection(&self, region: &str, id: &str) -> (&'static str, Permission) {
        let call = self.write_client(region).delete_vpc_peering_connection().vpc_peering_connection_id(id);
        self.permission("DeleteVpcPeeringConnection", call.dry_run(true).send().await)
    }

    pub async fn dry_run_accept_vpc_peering_connection(&self, region: &str, id: &str) -> (&'static str, Permission) {
        let call = self.write_client(region).accept_vpc_peering_connection().vpc_peering_connection_id(id);
        self.permission("AcceptVpcPeeringConnection", call.dry_run(true).send().await)
    }

    pub async fn dry_run_modify_vpc_peering_connection_options(
        &self,
        region: &str,
        id: &str,
        side: Side,
        allow_dns: bool,
    ) -> (&'static str, Permission) {
        let call = self.modify_options_call(region, id, side, allow_dns);
        self.permission("ModifyVpcPeeringConnectionOptions", call.dry_run(true).send().await)
    }

    /// Sends a `ReplaceRoute` that changes nothing.
    pub async fn dry_run_replace_route(&self, region: &str, route: &ManagedRoute) -> (&'static str, Permission) {
        let Destination { ipv4, ipv6 } = Destination::of(route);
        let call = self.write_client(region).replace_route().route_table_id(&route.route_table_id).dry_run(true);
        let call = call.vpc_peering_connection_id(&route.vpc_peering_connection_id);
        let call = call.set_destination_cidr_block(ipv4).set_destination_ipv6_cidr_block(ipv6);
        self.permission("ReplaceRoute", call.send().await)
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
    use super::*;

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
