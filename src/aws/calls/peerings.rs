//! The calls on peering connections and their tags and options.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::SdkError;
use aws_sdk_ec2::operation::accept_vpc_peering_connection::builders::AcceptVpcPeeringConnectionFluentBuilder;
use aws_sdk_ec2::operation::create_tags::builders::CreateTagsFluentBuilder;
use aws_sdk_ec2::operation::create_vpc_peering_connection::{
    CreateVpcPeeringConnectionError, CreateVpcPeeringConnectionOutput,
};
use aws_sdk_ec2::operation::delete_tags::builders::DeleteTagsFluentBuilder;
use aws_sdk_ec2::operation::delete_vpc_peering_connection::builders::DeleteVpcPeeringConnectionFluentBuilder;
use aws_sdk_ec2::operation::modify_vpc_peering_connection_options::builders::ModifyVpcPeeringConnectionOptionsFluentBuilder;
use aws_sdk_ec2::operation::reject_vpc_peering_connection::builders::RejectVpcPeeringConnectionFluentBuilder;
use aws_sdk_ec2::types::{
    Filter, PeeringConnectionOptionsRequest, ResourceType, Tag, TagSpecification, VpcPeeringConnection,
    VpcPeeringConnectionOptionsDescription, VpcPeeringConnectionVpcInfo,
};
use k8s_openapi::jiff::Timestamp;
use smol_str::SmolStr;

use crate::api::{CidrBlock, Ipv6CidrBlock, PeeringOptions, Side, VpcInfo};
use crate::aws::ec2::Ec2;
use crate::aws::error::AwsError;
use crate::aws::inventory::filters::Filters;
use crate::aws::inventory::view::{Page, View};
use crate::peering::{Connection, CreateRequest, Snapshot, StatusCode};

// Filters of `DescribeVpcPeeringConnections`.
// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html>
pub const CONNECTION_ID: &str = "vpc-peering-connection-id";
pub const REQUESTER_VPC_ID: &str = "requester-vpc-info.vpc-id";
pub const ACCEPTER_VPC_ID: &str = "accepter-vpc-info.vpc-id";

impl View for Snapshot {
    type Item = Connection;

    const PAGE_SIZE: usize = 1000;
    const NAME: &'static str = "peering connections";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<Connection>, AwsError> {
        const ACTION: &str = "DescribeVpcPeeringConnections";
        let call = ec2.read_client(region).describe_vpc_peering_connections().max_results(Self::PAGE_SIZE as i32);
        let answer = call.set_filters(filter.map(|filter| vec![filter])).set_next_token(token).send().await;
        let answer = answer.map_err(|error| ec2.error(ACTION, &error))?;
        let connections = answer.vpc_peering_connections.unwrap_or_default().into_iter();
        let items = connections.map(|connection| read(connection, ACTION)).collect::<Result<_, _>>()?;
        Ok(Page { items, next: answer.next_token.filter(|token| !token.is_empty()) })
    }

    fn items(&self) -> impl ExactSizeIterator<Item = &Arc<Connection>> {
        self.connections()
    }

    fn share(&self, connection: Connection, cluster: &SmolStr) -> Arc<Connection> {
        self.share(connection, cluster)
    }

    fn filter_value<'a>(connection: &'a Connection, filter: &str) -> Option<&'a str> {
        match filter {
            CONNECTION_ID => Some(&connection.id),
            REQUESTER_VPC_ID => connection.requester.vpc_id.as_deref(),
            ACCEPTER_VPC_ID => connection.accepter.vpc_id.as_deref(),
            _ => None,
        }
    }

    fn changes_since(&self, earlier: &Self) -> BTreeSet<String> {
        self.changes_since(earlier)
    }

    fn transient(&self, cluster: &str) -> Filters {
        self.transient(cluster).map(|connection| (CONNECTION_ID, &connection.id)).collect()
    }
}

impl Ec2 {
    /// Requests a peering connection. EC2 takes no client token, so repeating the call can create a second connection:
    /// only the caller knows whether a repetition is safe. After an [`AwsError::ambiguous`] error, EC2 may have created
    /// the connection nevertheless.
    pub async fn create_vpc_peering_connection(&self, request: &CreateRequest) -> Result<Connection, AwsError> {
        const ACTION: &str = "CreateVpcPeeringConnection";
        let answer = self.create(request, false).await.map_err(|error| self.error(ACTION, &error))?;
        read(answer.vpc_peering_connection.unwrap_or_else(|| VpcPeeringConnection::builder().build()), ACTION)
    }

    /// Succeeds if [`Self::create_vpc_peering_connection`] would succeed.
    pub async fn dry_run_create_vpc_peering_connection(&self, request: &CreateRequest) -> Result<(), AwsError> {
        match self.create(request, true).await.map_err(|error| self.error("CreateVpcPeeringConnection", &error)) {
            Ok(_) => Ok(()),
            Err(error) if error.is_dry_run_success() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn create(
        &self,
        request: &CreateRequest,
        dry_run: bool,
    ) -> Result<CreateVpcPeeringConnectionOutput, SdkError<CreateVpcPeeringConnectionError, HttpResponse>> {
        self.write_client(&request.region)
            .create_vpc_peering_connection()
            .vpc_id(&request.vpc_id)
            .peer_vpc_id(&request.peer_vpc_id)
            .set_peer_owner_id(request.peer_owner_id.clone())
            .set_peer_region(request.peer_region.clone())
            .tag_specifications(
                TagSpecification::builder()
                    .resource_type(ResourceType::VpcPeeringConnection)
                    .set_tags(Some(sdk_tags(&request.tags)))
                    .build(),
            )
            .set_dry_run(dry_run.then_some(true))
            .send()
            .await
    }

    /// `region` is the accepter's.
    pub async fn accept_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        self.check("AcceptVpcPeeringConnection", self.accept_call(region, id).send().await)
    }

    pub(super) fn accept_call(&self, region: &str, id: &str) -> AcceptVpcPeeringConnectionFluentBuilder {
        self.write_client(region).accept_vpc_peering_connection().vpc_peering_connection_id(id)
    }

    /// `region` is the accepter's.
    pub async fn reject_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        self.check("RejectVpcPeeringConnection", self.reject_call(region, id).send().await)
    }

    pub(super) fn reject_call(&self, region: &str, id: &str) -> RejectVpcPeeringConnectionFluentBuilder {
        self.write_client(region).reject_vpc_peering_connection().vpc_peering_connection_id(id)
    }

    /// Sets tags on a resource. Existing tags with the same keys are replaced.
    pub async fn create_tags(&self, region: &str, id: &str, tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
        self.check("CreateTags", self.create_tags_call(region, id, tags).send().await)
    }

    pub(super) fn create_tags_call(
        &self,
        region: &str,
        id: &str,
        tags: &BTreeMap<String, String>,
    ) -> CreateTagsFluentBuilder {
        self.write_client(region).create_tags().resources(id).set_tags(Some(sdk_tags(tags)))
    }

    pub async fn delete_tags(&self, region: &str, id: &str, keys: &BTreeSet<String>) -> Result<(), AwsError> {
        self.check("DeleteTags", self.delete_tags_call(region, id, keys).send().await)
    }

    pub(super) fn delete_tags_call(&self, region: &str, id: &str, keys: &BTreeSet<String>) -> DeleteTagsFluentBuilder {
        let tags = keys.iter().map(|key| Tag::builder().key(key).build()).collect();
        self.write_client(region).delete_tags().resources(id).set_tags(Some(tags))
    }

    pub async fn delete_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        self.check("DeleteVpcPeeringConnection", self.delete_call(region, id).send().await)
    }

    pub(super) fn delete_call(&self, region: &str, id: &str) -> DeleteVpcPeeringConnectionFluentBuilder {
        self.write_client(region).delete_vpc_peering_connection().vpc_peering_connection_id(id)
    }

    /// Sets whether queries from the peer VPC resolve public DNS names of this side's VPC to private addresses.
    /// `region` is this side's. The ClassicLink options are not sent: ClassicLink is retired, and EC2 refuses them
    /// across regions.
    pub async fn modify_vpc_peering_connection_options(
        &self,
        region: &str,
        id: &str,
        side: Side,
        allow_dns: bool,
    ) -> Result<(), AwsError> {
        let call = self.modify_options_call(region, id, side, allow_dns);
        self.check("ModifyVpcPeeringConnectionOptions", call.send().await)
    }

    pub(super) fn modify_options_call(
        &self,
        region: &str,
        id: &str,
        side: Side,
        allow_dns: bool,
    ) -> ModifyVpcPeeringConnectionOptionsFluentBuilder {
        let options =
            PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(allow_dns).build();
        let call = self.write_client(region).modify_vpc_peering_connection_options().vpc_peering_connection_id(id);
        match side {
            Side::Requester => call.requester_peering_connection_options(options),
            Side::Accepter => call.accepter_peering_connection_options(options),
        }
    }
}

/// Tags as the SDK has them.
pub(super) fn sdk_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect()
}

/// Fails if the connection has no ID or no status code.
fn read(connection: VpcPeeringConnection, action: &'static str) -> Result<Connection, AwsError> {
    let incomplete =
        |what: &str| AwsError::incomplete(action, &format!("EC2 returned a peering connection without {what}"));
    let status =
        connection.status.unwrap_or_else(|| aws_sdk_ec2::types::VpcPeeringConnectionStateReason::builder().build());
    Ok(Connection {
        id: connection.vpc_peering_connection_id.ok_or_else(|| incomplete("an ID"))?,
        code: status.code.map(|code| StatusCode::from(code.as_str())).ok_or_else(|| incomplete("a status code"))?,
        message: status.message.filter(|message| !message.is_empty()),
        expiration_time: connection.expiration_time.and_then(|time| Timestamp::from_second(time.secs()).ok()),
        requester: connection.requester_vpc_info.map(read_end).unwrap_or_default(),
        accepter: connection.accepter_vpc_info.map(read_end).unwrap_or_default(),
        tags: connection
            .tags
            .unwrap_or_default()
            .into_iter()
            .filter_map(|tag| Some((tag.key?.into(), tag.value.unwrap_or_default().into())))
            .collect(),
    })
}

fn read_end(end: VpcPeeringConnectionVpcInfo) -> VpcInfo {
    VpcInfo {
        cidr_block: end.cidr_block.map(Into::into),
        cidr_block_set: end
            .cidr_block_set
            .unwrap_or_default()
            .into_iter()
            .filter_map(|block| Some(CidrBlock { cidr_block: block.cidr_block?.into() }))
            .collect(),
        ipv6_cidr_block_set: end
            .ipv6_cidr_block_set
            .unwrap_or_default()
            .into_iter()
            .filter_map(|block| Some(Ipv6CidrBlock { ipv6_cidr_block: block.ipv6_cidr_block?.into() }))
            .collect(),
        owner_id: end.owner_id.map(Into::into),
        vpc_id: end.vpc_id.map(Into::into),
        region: end.region.map(Into::into),
        peering_options: end.peering_options.map(read_options),
    }
}

fn read_options(options: VpcPeeringConnectionOptionsDescription) -> PeeringOptions {
    // ClassicLink is retired, so its options are kept only if they are on.
    let retired = |option: Option<bool>| option.filter(|is_on| *is_on);
    PeeringOptions {
        allow_dns_resolution_from_remote_vpc: options.allow_dns_resolution_from_remote_vpc,
        allow_egress_from_local_classic_link_to_remote_vpc: retired(
            options.allow_egress_from_local_classic_link_to_remote_vpc,
        ),
        allow_egress_from_local_vpc_to_remote_classic_link: retired(
            options.allow_egress_from_local_vpc_to_remote_classic_link,
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use aws_sdk_ec2::types::AttributeBooleanValue;
    use ec2_simulator::Client;
    use ec2_simulator::journal::Query;

    use super::*;
    use crate::aws::testing;

    const REGION: &str = "eu-central-1";

    #[tokio::test]
    async fn the_dns_option_of_one_side_is_the_only_one_sent() -> Result<(), Box<dyn Error>> {
        let (server, ec2) = testing::instant_simulator().await?;
        let (one, two) =
            (testing::vpc(&ec2, REGION, "10.0.0.0/16").await?, testing::vpc(&ec2, REGION, "10.1.0.0/16").await?);
        for vpc in [&one, &two] {
            let yes = AttributeBooleanValue::builder().value(true).build();
            ec2.read_client(REGION).modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(yes).send().await?;
        }
        let id = testing::peering(&ec2, REGION, &one, &two).await?;
        let control = Client::new(&server.url());
        for (side, name) in [(Side::Requester, "Requester"), (Side::Accepter, "Accepter")] {
            control.clear_journal().await?;
            ec2.modify_vpc_peering_connection_options(REGION, &id, side, true).await?;
            let journal = control.journal(&Query::default()).await?;
            let sent = &journal.entries[0].parameters;
            let option = format!("{name}PeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc");
            let expected = BTreeMap::from([(option, "true".into()), ("VpcPeeringConnectionId".into(), id.clone())]);
            assert_eq!(*sent, expected);
        }
        Ok(())
    }
}
