//! EC2's view of one end. Each part may be unreadable, because a permission is missing.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::line::{Line, Subject};
use crate::api::Side;
use crate::aws::{Account, AwsError, Class, Filters, all_pages, calls};
use crate::peering::dns::DnsAttributes;
use crate::peering::network::{
    Acl, Group, Interface, NetworkTable, PrefixLists, RulePeer, Subnet, subnet_with, table_of,
};
use crate::peering::preflight::Vpc;
use crate::peering::routes::Destination;
use crate::peering::{Connection, Snapshot};

/// A part of the view. `Err` names the permission that is missing, or the error of AWS.
pub(super) type Seen<T> = Result<T, AwsError>;

/// The VPC of one end, and its connection.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) side: Side,
    pub(super) vpc_id: String,
    pub(super) region: String,
    pub(super) vpc: Seen<Option<Vpc>>,
    /// `None` if there is no recorded ID, or EC2 does not show it.
    pub(super) connection: Seen<Option<Connection>>,
    /// Read only if the resource asks for DNS resolution, and the VPC exists.
    pub(super) dns: Option<Seen<DnsAttributes>>,
    pub(super) subnets: Seen<Vec<Subnet>>,
    pub(super) tables: Seen<Vec<NetworkTable>>,
}

/// The parts of one end that a packet passes.
#[derive(Clone, Debug)]
pub(super) struct PathView {
    pub(super) acls: Seen<Vec<Acl>>,
    pub(super) interface: Seen<Option<Interface>>,
    pub(super) groups: Seen<Vec<Group>>,
    pub(super) lists: PrefixLists,
    /// The prefix lists that could not be read.
    pub(super) unread: Vec<(String, AwsError)>,
}

/// Reads the VPC, its subnets and route tables, and the connection.
pub(super) async fn look(
    account: &Account,
    side: Side,
    (vpc_id, region): (&str, &str),
    connection: Option<&str>,
    needs_dns: bool,
) -> View {
    let ec2 = account.ec2();
    let of_connection = async {
        let Some(id) = connection else { return Ok(None) };
        let filter = Filters::default().and(calls::CONNECTION_ID, id).ec2_filters().next();
        Ok(all_pages::<Snapshot>(ec2, region, filter).await?.into_iter().next())
    };
    let dns = async { if needs_dns { Some(ec2.dns_attributes(region, vpc_id).await) } else { None } };
    let (vpcs, connection, dns, subnets, tables) = tokio::join!(
        ec2.describe_vpcs(region, [vpc_id.to_owned()]),
        of_connection,
        dns,
        ec2.subnets_of(region, vpc_id),
        ec2.network_tables_of(region, vpc_id),
    );
    let vpc = vpcs.map(|mut vpcs| vpcs.remove(vpc_id));
    let exists = !matches!(vpc, Ok(None));
    let (vpc_id, region) = (vpc_id.to_owned(), region.to_owned());
    View { side, vpc_id, region, vpc, connection, dns: dns.filter(|_| exists), subnets, tables }
}

impl View {
    /// Reads what a packet passes at the address of this end.
    pub(super) async fn follow(&self, account: &Account, address: IpAddr) -> PathView {
        let (ec2, region) = (account.ec2(), self.region.as_str());
        let subnet = self.subnet_with(address).map(|subnet| subnet.id.as_str());
        let interface = async {
            match (subnet, &self.subnets) {
                (None, Ok(_)) => Ok(None),
                (subnet, _) => ec2.interface_with(region, &self.vpc_id, subnet, address).await,
            }
        };
        let (acls, interface) = tokio::join!(ec2.network_acls_of(region, &self.vpc_id), interface);
        let groups = match &interface {
            Ok(Some(interface)) => ec2.security_groups(region, &interface.group_ids).await,
            Ok(None) => Ok(Vec::new()),
            // Shows whether this permission is missing, too.
            Err(_) => ec2.security_groups(region, &["sg-00000000".to_owned()]).await,
        };
        let (mut lists, mut unread) = (PrefixLists::new(), Vec::new());
        for id in self.prefix_lists(address, groups.as_deref().unwrap_or_default()) {
            match ec2.prefix_list(region, &id).await {
                Ok(blocks) => _ = lists.insert(id, blocks),
                Err(error) => unread.push((id, error)),
            }
        }
        PathView { acls, interface, groups, lists, unread }
    }

    /// The prefix lists in the route table of the address and in the rules of its groups.
    fn prefix_lists(&self, address: IpAddr, groups: &[Group]) -> BTreeSet<String> {
        let subnet = self.subnet_with(address);
        let table = subnet.zip(self.tables.as_ref().ok()).and_then(|(subnet, tables)| table_of(tables, &subnet.id));
        let routes = table.into_iter().flat_map(|table| &table.routes);
        let of_routes = routes.filter_map(|route| match &route.destination {
            Destination::PrefixList(id) => Some(id.clone()),
            Destination::Cidr(_) => None,
        });
        let rules = groups.iter().flat_map(|group| &group.rules);
        let of_rules = rules.filter_map(|rule| match &rule.peer {
            RulePeer::PrefixList(id) => Some(id.clone()),
            RulePeer::Block(_) | RulePeer::Group { .. } => None,
        });
        of_routes.chain(of_rules).collect()
    }

    fn subnet_with(&self, address: IpAddr) -> Option<&Subnet> {
        subnet_with(self.subnets.as_ref().ok()?, address)
    }

    pub(super) fn errors(&self) -> Vec<&AwsError> {
        let dns = self.dns.as_ref().and_then(|dns| dns.as_ref().err());
        [self.vpc.as_ref().err(), self.connection.as_ref().err(), dns]
            .into_iter()
            .chain([self.subnets.as_ref().err(), self.tables.as_ref().err()])
            .flatten()
            .collect()
    }
}

impl PathView {
    pub(super) fn errors(&self) -> Vec<&AwsError> {
        let parts = [self.acls.as_ref().err(), self.interface.as_ref().err(), self.groups.as_ref().err()];
        parts.into_iter().flatten().chain(self.unread.iter().map(|(_, error)| error)).collect()
    }
}

/// The line on the permissions of one end: passed if AWS refused no call.
pub(super) fn permissions(account: &Account, side: Side, errors: &[&AwsError]) -> Line {
    let subject = Subject::Permissions;
    let principal = account.principal.to_string();
    let is_denied = |error: &&&AwsError| error.class == Class::FixPermissions;
    let denied: BTreeSet<_> = errors.iter().filter(is_denied).map(|error| format!("ec2:{}", error.action)).collect();
    if let Some(other) = errors.iter().find(|error| !is_denied(error)) {
        let remedy = "try again; if it lasts, check the network path to AWS";
        return Line::fail(subject, other.to_string(), remedy).at(side);
    }
    if denied.is_empty() {
        return Line::pass(subject, format!("{principal} may read everything that was looked at")).at(side);
    }
    let missing = denied.into_iter().collect::<Vec<_>>().join(", ");
    let message = format!("{principal} may not call {missing}");
    Line::fail(subject, message, "attach deploy/iam/trace.json to these credentials").at(side)
}
