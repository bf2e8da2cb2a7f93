use super::*;
use crate::api::ManagedRoute;

const ID: &str = "pcx-1";

fn request(peer_owner_id: Option<&str>, peer_region: Option<&str>) -> CreateRequest {
    CreateRequest {
        region: "eu-central-1".into(),
        vpc_id: "vpc-11111111".into(),
        peer_vpc_id: "vpc-22222222".into(),
        peer_owner_id: peer_owner_id.map(str::to_owned),
        peer_region: peer_region.map(str::to_owned),
        tags: [("Name".to_owned(), "x".to_owned())].into(),
    }
}

fn to(destination: &str) -> ManagedRoute {
    let is_list = destination.starts_with("pl-");
    ManagedRoute {
        side: Side::Requester,
        route_table_id: "rtb-1".into(),
        destination_cidr_block: (!is_list).then(|| destination.to_owned()),
        destination_prefix_list_id: is_list.then(|| destination.to_owned()),
        vpc_peering_connection_id: ID.into(),
    }
}

/// The action and the parameters of a call, as `plan` shows them.
fn shown(call: &Ec2Call) -> String {
    let parameters: Vec<_> = call.parameters().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {}", call.action(), parameters.join(" "))
}

#[test]
fn every_call_has_the_action_and_parameters_of_the_ec2_api_reference() {
    let id = || ID.to_owned();
    let options = |side, allow| Ec2Call::SetOptions { id: id(), side, allow_dns_resolution_from_remote_vpc: allow };
    let turn_on = |attribute| Ec2Call::TurnOnDnsAttribute { vpc_id: "vpc-1".into(), attribute };
    let rows = [
        (Ec2Call::Create(request(None, None)), "CreateVpcPeeringConnection PeerVpcId=vpc-22222222 VpcId=vpc-11111111"),
        (
            Ec2Call::DryRunCreate(request(Some("222222222222"), Some("eu-west-1"))),
            "CreateVpcPeeringConnection DryRun=true PeerOwnerId=222222222222 PeerRegion=eu-west-1 \
             PeerVpcId=vpc-22222222 VpcId=vpc-11111111",
        ),
        (Ec2Call::Accept { id: id() }, "AcceptVpcPeeringConnection VpcPeeringConnectionId=pcx-1"),
        (Ec2Call::Reject { id: id() }, "RejectVpcPeeringConnection VpcPeeringConnectionId=pcx-1"),
        (Ec2Call::Delete { id: id() }, "DeleteVpcPeeringConnection VpcPeeringConnectionId=pcx-1"),
        (Ec2Call::Tag { id: id(), tags: BTreeMap::new() }, "CreateTags ResourceId=pcx-1"),
        (Ec2Call::Untag { id: id(), keys: BTreeSet::new() }, "DeleteTags ResourceId=pcx-1"),
        (
            options(Side::Requester, true),
            "ModifyVpcPeeringConnectionOptions \
             RequesterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc=true VpcPeeringConnectionId=pcx-1",
        ),
        (
            options(Side::Accepter, false),
            "ModifyVpcPeeringConnectionOptions \
             AccepterPeeringConnectionOptions.AllowDnsResolutionFromRemoteVpc=false VpcPeeringConnectionId=pcx-1",
        ),
        (turn_on(DnsAttribute::Support), "ModifyVpcAttribute EnableDnsSupport.Value=true VpcId=vpc-1"),
        (turn_on(DnsAttribute::Hostnames), "ModifyVpcAttribute EnableDnsHostnames.Value=true VpcId=vpc-1"),
        (
            Ec2Call::ChangeRoute(RouteChange::Create(to("10.2.0.0/16"))),
            "CreateRoute DestinationCidrBlock=10.2.0.0/16 RouteTableId=rtb-1 VpcPeeringConnectionId=pcx-1",
        ),
        (
            Ec2Call::ChangeRoute(RouteChange::Replace(to("2001:db8::/56"))),
            "ReplaceRoute DestinationIpv6CidrBlock=2001:db8::/56 RouteTableId=rtb-1 VpcPeeringConnectionId=pcx-1",
        ),
        (
            Ec2Call::ChangeRoute(RouteChange::Delete(to("pl-1"))),
            "DeleteRoute DestinationPrefixListId=pl-1 RouteTableId=rtb-1",
        ),
    ];
    for (call, expected) in rows {
        assert_eq!(shown(&call), expected);
    }
}

#[test]
fn the_tags_of_a_call_are_those_that_it_sets_or_removes() {
    let set = BTreeMap::from([("Name".to_owned(), Some("x".to_owned()))]);
    let rows = [
        (Ec2Call::Create(request(None, None)), set.clone()),
        (Ec2Call::DryRunCreate(request(None, None)), set.clone()),
        (Ec2Call::Tag { id: ID.into(), tags: [("Name".to_owned(), "x".to_owned())].into() }, set),
        (Ec2Call::Untag { id: ID.into(), keys: ["Name".to_owned()].into() }, [("Name".to_owned(), None)].into()),
        (Ec2Call::Delete { id: ID.into() }, BTreeMap::new()),
        (Ec2Call::ChangeRoute(RouteChange::Create(to("pl-1"))), BTreeMap::new()),
    ];
    for (call, expected) in rows {
        assert_eq!(call.tags(), expected, "{call:?}");
    }
}
