//! The calls to EC2, in the domain's terms: one function, one request.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::types::{
    Filter, ResourceType, Tag, TagSpecification, VpcPeeringConnection, VpcPeeringConnectionOptionsDescription,
    VpcPeeringConnectionVpcInfo,
};
use k8s_openapi::jiff::Timestamp;
use smol_str::SmolStr;

use super::inventory::{Page, View};
use super::{AwsError, Ec2, Questions};
use crate::api::{CidrBlock, Ipv6CidrBlock, PeeringOptions, VpcInfo};
use crate::peering::preflight::Vpc;
use crate::peering::{Connection, Snapshot, StatusCode};

/// What `CreateVpcPeeringConnection` is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRequest {
    /// The requester's region, in which the call is made.
    pub region: String,
    /// The requester's VPC: `VpcId`.
    pub vpc_id: String,
    /// The accepter's VPC: `PeerVpcId`.
    pub peer_vpc_id: String,
    /// The accepter's account: `PeerOwnerId`.
    pub peer_owner_id: Option<String>,
    /// The accepter's region: `PeerRegion`.
    pub peer_region: Option<String>,
    /// The tags to create the connection with.
    pub tags: BTreeMap<String, String>,
}

/// What finds connections.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeVpcPeeringConnections.html>
pub const CONNECTION_ID: &str = "vpc-peering-connection-id";
/// The same, by the VPC that asked.
pub const REQUESTER_VPC_ID: &str = "requester-vpc-info.vpc-id";
/// The same, by the VPC that was asked.
pub const ACCEPTER_VPC_ID: &str = "accepter-vpc-info.vpc-id";

impl View for Snapshot {
    type Item = Connection;

    const PAGE: usize = 1000;
    const WHAT: &'static str = "peering connections";

    async fn page(
        ec2: &Ec2,
        region: &str,
        filter: Option<Filter>,
        token: Option<String>,
    ) -> Result<Page<Connection>, AwsError> {
        const ACTION: &str = "DescribeVpcPeeringConnections";
        let call = ec2.client(region).describe_vpc_peering_connections().max_results(Self::PAGE as i32);
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

    fn value<'a>(connection: &'a Connection, filter: &str) -> Option<&'a str> {
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

    fn in_motion(&self, cluster: &str) -> Questions {
        self.in_motion(cluster).map(|connection| (CONNECTION_ID, &connection.id)).collect()
    }
}

impl Ec2 {
    /// Asks for a peering connection, once: EC2 takes no client token, so only the caller can tell whether
    /// asking again is safe.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses; [`AwsError::ambiguous`] tells whether EC2 may have created it nevertheless.
    pub async fn create_vpc_peering_connection(&self, request: &CreateRequest) -> Result<Connection, AwsError> {
        const ACTION: &str = "CreateVpcPeeringConnection";
        let answer = self.create(request, false).await.map_err(|error| self.error(ACTION, &error))?;
        read(answer.vpc_peering_connection.unwrap_or_else(|| VpcPeeringConnection::builder().build()), ACTION)
    }

    /// Asks whether [`Self::create_vpc_peering_connection`] would succeed.
    ///
    /// # Errors
    /// Where it would not, or AWS cannot tell.
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
    ) -> Result<
        aws_sdk_ec2::operation::create_vpc_peering_connection::CreateVpcPeeringConnectionOutput,
        SdkError<aws_sdk_ec2::operation::create_vpc_peering_connection::CreateVpcPeeringConnectionError, HttpResponse>,
    > {
        let tags = request.tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        self.changing(&request.region)
            .create_vpc_peering_connection()
            .vpc_id(&request.vpc_id)
            .peer_vpc_id(&request.peer_vpc_id)
            .set_peer_owner_id(request.peer_owner_id.clone())
            .set_peer_region(request.peer_region.clone())
            .tag_specifications(
                TagSpecification::builder()
                    .resource_type(ResourceType::VpcPeeringConnection)
                    .set_tags(Some(tags))
                    .build(),
            )
            .set_dry_run(dry_run.then_some(true))
            .send()
            .await
    }

    /// Accepts a request. Belongs in the accepter's region.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn accept_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        let call = self.changing(region).accept_vpc_peering_connection().vpc_peering_connection_id(id).send();
        self.done("AcceptVpcPeeringConnection", call.await)
    }

    /// Rejects a request. Belongs in the accepter's region.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn reject_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        let call = self.changing(region).reject_vpc_peering_connection().vpc_peering_connection_id(id).send();
        self.done("RejectVpcPeeringConnection", call.await)
    }

    /// Sets tags on a resource; those that it has with the same keys are replaced.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn create_tags(&self, region: &str, id: &str, tags: &BTreeMap<String, String>) -> Result<(), AwsError> {
        let tags = tags.iter().map(|(key, value)| Tag::builder().key(key).value(value).build()).collect();
        self.done("CreateTags", self.changing(region).create_tags().resources(id).set_tags(Some(tags)).send().await)
    }

    /// Removes tags from a resource.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn delete_tags(&self, region: &str, id: &str, keys: &BTreeSet<String>) -> Result<(), AwsError> {
        let tags = keys.iter().map(|key| Tag::builder().key(key).build()).collect();
        self.done("DeleteTags", self.changing(region).delete_tags().resources(id).set_tags(Some(tags)).send().await)
    }

    /// The IDs of the VPCs that our account has in the region and that carry all of these tags; two are enough to know
    /// that there are several.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn vpcs_tagged(&self, region: &str, tags: &BTreeMap<String, String>) -> Result<Vec<String>, AwsError> {
        let filter = |(key, value): (&String, &String)| {
            Filter::builder().name(format!("tag:{key}")).values(literally(value)).build()
        };
        let filters = tags.iter().map(filter).collect();
        let answer = self.client(region).describe_vpcs().set_filters(Some(filters)).send().await;
        let vpcs = answer.map_err(|error| self.error("DescribeVpcs", &error))?.vpcs.unwrap_or_default();
        Ok(vpcs.into_iter().filter_map(|vpc| vpc.vpc_id).collect())
    }

    /// Those of these VPCs that our account has in the region, by their IDs.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn describe_vpcs(
        &self,
        region: &str,
        ids: impl IntoIterator<Item = String>,
    ) -> Result<HashMap<String, Vpc>, AwsError> {
        // A filter, since one ID that is not there would fail the call for all.
        let ids = Filter::builder().name("vpc-id").set_values(Some(ids.into_iter().collect())).build();
        let answer = self.client(region).describe_vpcs().filters(ids).send().await;
        let vpcs = answer.map_err(|error| self.error("DescribeVpcs", &error))?.vpcs.unwrap_or_default();
        Ok(vpcs.into_iter().map(read_vpc).map(|vpc| (vpc.id.clone(), vpc)).collect())
    }

    /// Deletes a connection.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn delete_vpc_peering_connection(&self, region: &str, id: &str) -> Result<(), AwsError> {
        let call = self.changing(region).delete_vpc_peering_connection().vpc_peering_connection_id(id).send();
        self.done("DeleteVpcPeeringConnection", call.await)
    }

    pub(super) fn done<T, E>(
        &self,
        action: &'static str,
        outcome: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<(), AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        outcome.map(|_| ()).map_err(|error| self.error(action, &error))
    }
}

/// A filter's value without its wildcards.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>
fn literally(value: &str) -> String {
    value.replace('\\', r"\\").replace('*', r"\*").replace('?', r"\?")
}

fn read_vpc(vpc: aws_sdk_ec2::types::Vpc) -> Vpc {
    let primary = vpc.cidr_block.into_iter();
    let ipv4 = vpc.cidr_block_association_set.unwrap_or_default().into_iter().filter_map(|block| block.cidr_block);
    let ipv6 =
        vpc.ipv6_cidr_block_association_set.unwrap_or_default().into_iter().filter_map(|block| block.ipv6_cidr_block);
    Vpc {
        id: vpc.vpc_id.unwrap_or_default(),
        owner_id: vpc.owner_id,
        cidr_blocks: primary.chain(ipv4).chain(ipv6).collect::<BTreeSet<_>>().into_iter().collect(),
    }
}

/// Takes over what EC2 shows. A connection without an ID or a code is no answer at all.
fn read(connection: VpcPeeringConnection, action: &'static str) -> Result<Connection, AwsError> {
    let incomplete = |what: &str| {
        AwsError::incomplete(action, &format!("EC2 answered with a peering connection that has no {what}"))
    };
    let status =
        connection.status.unwrap_or_else(|| aws_sdk_ec2::types::VpcPeeringConnectionStateReason::builder().build());
    Ok(Connection {
        id: connection.vpc_peering_connection_id.ok_or_else(|| incomplete("ID"))?,
        code: status.code.map(|code| StatusCode::from(code.as_str())).ok_or_else(|| incomplete("status code"))?,
        message: status.message.filter(|message| !message.is_empty()).map(Into::into),
        expiration_time: connection
            .expiration_time
            .and_then(|time| Timestamp::from_second(time.secs()).ok())
            .map(Box::new),
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
    // ClassicLink is retired: that it is off is no news.
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
