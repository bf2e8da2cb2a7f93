//! The parts of a VPC that decide whether a packet arrives: subnets, route tables, network ACLs, security groups,
//! network interfaces and prefix lists. A scene contains them.

use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{NetworkAcl, SecurityGroup};
use ec2_simulator::iam::{Attachment, Kind};
use ec2_simulator::{Client, Scene, Server};
use serde_json::{Value, json};

use crate::cloud::{Cloud, ELSEWHERE, HERE, at_once, filter, frozen, refused_with, simulator, tag};

const VPC: &str = "vpc-0000000000000000a";
const PEER: &str = "vpc-0000000000000000b";
const SUBNET: &str = "subnet-0000000000000000a";
const OTHER_SUBNET: &str = "subnet-0000000000000000b";
const CONNECTION: &str = "pcx-0000000000000000a";

/// Adds the account and the region of [`HERE`] to a resource.
fn here(mut resource: Value) -> Value {
    resource["account"] = json!("111111111111");
    resource["region"] = json!(HERE);
    resource
}

/// Two VPCs that are peered. The first has two subnets; the second of them has its own route table and ACL.
fn scene() -> Value {
    let end = |vpc: &str| here(json!({"vpc_id": vpc}));
    json!({
        "vpcs": [
            here(json!({"id": VPC, "cidr_blocks": ["10.0.0.0/16"], "shared_with": ["222222222222"]})),
            here(json!({"id": PEER, "cidr_blocks": ["10.1.0.0/16"]})),
        ],
        "subnets": [
            here(json!({"id": SUBNET, "vpc_id": VPC, "cidr_block": "10.0.1.0/24"})),
            here(json!({"id": OTHER_SUBNET, "vpc_id": VPC, "cidr_block": "10.0.2.0/28"})),
        ],
        "route_tables": [
            here(json!({"id": "rtb-0000000000000000a", "vpc_id": VPC, "main": true})),
            here(json!({"id": "rtb-0000000000000000b", "vpc_id": VPC, "subnet_ids": [OTHER_SUBNET], "routes": [
                {"destination": "10.1.0.0/16", "target": {"peering": CONNECTION}},
                {"destination": "10.0.0.0/8", "target": {"gateway": "tgw-0000000000000000a"}},
            ]})),
        ],
        "network_acls": [here(json!({
            "id": "acl-0000000000000000b", "vpc_id": VPC, "subnet_ids": [OTHER_SUBNET], "entries": [
                {"number": 200, "allow": true, "protocol": "6", "block": "10.1.0.0/16", "ports": [80, 443]},
                {"number": 100, "egress": true, "allow": false, "protocol": "1", "block": "0.0.0.0/0", "icmp": [8, -1]},
            ],
        }))],
        "security_groups": [
            here(json!({"id": "sg-0000000000000000c", "vpc_id": VPC, "name": "web", "rules": [
                {"protocol": "tcp", "ports": [443, 443], "peer": {"group": "sg-0000000000000000d"}},
                {"protocol": "tcp", "ports": [443, 443], "peer": {"ipv4": "10.1.0.0/16"}},
                {"protocol": "tcp", "ports": [22, 22], "peer": {"prefix-list": "pl-0000000000000000a"}},
                {"protocol": "-1", "egress": true, "peer": {"ipv6": "::/0"}},
            ]})),
            here(json!({"id": "sg-0000000000000000d", "vpc_id": PEER, "name": "clients"})),
        ],
        "network_interfaces": [here(json!({
            "id": "eni-0000000000000000a", "subnet_id": SUBNET, "ipv4_addresses": ["10.0.1.10", "10.0.1.11"],
            "ipv4_prefixes": ["10.0.1.16/28"], "group_ids": ["sg-0000000000000000c"],
            "instance_id": "i-0000000000000000a",
        }))],
        "prefix_lists": [here(json!({
            "id": "pl-0000000000000000a", "name": "offices", "max_entries": 4,
            "entries": ["192.0.2.0/24", "198.51.100.0/24"],
        }))],
        "peerings": [
            {"id": CONNECTION, "requester": end(VPC), "accepter": end(PEER), "phase": {"code": "active"}},
        ],
    })
}

async fn start() -> (Server, Ec2, Client) {
    let server = simulator(at_once(), frozen()).await;
    let (ec2, client) = (Cloud::at(server.url()).ec2(HERE), Client::new(&server.url()));
    client.add(&serde_json::from_value(scene()).unwrap()).await.unwrap();
    (server, ec2, client)
}

async fn add(client: &Client, resources: Value) -> Result<Scene, String> {
    let scene = serde_json::from_value(resources).unwrap();
    client.add(&scene).await.map_err(|error| format!("{error:#}"))
}

#[tokio::test]
async fn subnets_are_listed_by_id_filter_and_page() {
    let (server, ec2, client) = start().await;
    let ids = async |filters: Vec<aws_sdk_ec2::types::Filter>| -> Vec<String> {
        let shown = ec2.describe_subnets().set_filters(Some(filters)).send().await.unwrap();
        shown.subnets().iter().filter_map(|subnet| subnet.subnet_id.clone()).collect()
    };
    ec2.create_tags().resources(OTHER_SUBNET).tags(tag("tier", "data")).send().await.unwrap();
    for (filters, expected) in [
        (vec![], &[SUBNET, OTHER_SUBNET][..]),
        (vec![filter("vpc-id", &[VPC])], &[SUBNET, OTHER_SUBNET]),
        (vec![filter("vpc-id", &[PEER])], &[]),
        (vec![filter("tag:tier", &["data"])], &[OTHER_SUBNET]),
        (vec![filter("cidr-block", &["10.0.1.0/24"])], &[SUBNET]),
        (vec![filter("subnet-id", &["*b"])], &[OTHER_SUBNET]),
    ] {
        assert_eq!(ids(filters.clone()).await, expected, "{filters:?}");
    }
    let shown = ec2.describe_subnets().subnet_ids(OTHER_SUBNET).send().await.unwrap();
    let [subnet] = shown.subnets() else { panic!("{shown:?}") };
    assert_eq!((subnet.vpc_id(), subnet.cidr_block()), (Some(VPC), Some("10.0.2.0/28")));
    assert_eq!((subnet.available_ip_address_count(), subnet.availability_zone()), (Some(11), Some("us-east-1a")));
    assert_eq!(subnet.tags().len(), 1);
    let unknown = ec2.describe_subnets().subnet_ids("subnet-0123456789abcdef0").send().await;
    refused_with(unknown, "InvalidSubnetID.NotFound").unwrap();
    refused_with(ec2.describe_subnets().subnet_ids("vpc-1").send().await, "InvalidSubnetID.Malformed").unwrap();
    refused_with(ec2.describe_subnets().filters(filter("zone", &["a"])).send().await, "InvalidParameterValue").unwrap();
    refused_with(ec2.describe_subnets().max_results(4).send().await, "InvalidParameterValue").unwrap();

    let more: Vec<_> = (3..9)
        .map(|number| {
            let id = format!("subnet-0000000000000000{number}");
            here(json!({"id": id, "vpc_id": VPC, "cidr_block": format!("10.0.{number}.0/24")}))
        })
        .collect();
    add(&client, json!({"subnets": more})).await.unwrap();
    let mut pages = ec2.describe_subnets().max_results(5).into_paginator().send();
    let mut sizes = Vec::new();
    while let Some(page) = pages.next().await {
        sizes.push(page.unwrap().subnets().len());
    }
    assert_eq!(sizes, [5, 3]);

    // A participant of a shared VPC sees its subnets.
    let theirs = Cloud::at(server.url()).another().await.unwrap();
    assert_eq!(theirs.ec2(HERE).describe_subnets().send().await.unwrap().subnets().len(), 8);
    assert!(theirs.ec2(ELSEWHERE).describe_subnets().send().await.unwrap().subnets().is_empty());
}

#[tokio::test]
async fn a_subnet_without_a_table_of_its_own_uses_the_main_table() {
    let (_server, ec2, _) = start().await;
    let tables = async |name: &str, value: &str| -> Vec<String> {
        let shown = ec2.describe_route_tables().filters(filter(name, &[value])).send().await.unwrap();
        shown.route_tables().iter().filter_map(|table| table.route_table_id.clone()).collect()
    };
    assert_eq!(tables("association.subnet-id", OTHER_SUBNET).await, ["rtb-0000000000000000b"]);
    assert!(tables("association.subnet-id", SUBNET).await.is_empty());
    assert_eq!(tables("association.main", "false").await, ["rtb-0000000000000000b"]);
    assert!(tables("association.main", "true").await.contains(&"rtb-0000000000000000a".to_owned()));
    let shown = ec2.describe_route_tables().route_table_ids("rtb-0000000000000000b").send().await.unwrap();
    let [association] = shown.route_tables()[0].associations() else { panic!("{shown:?}") };
    assert_eq!((association.main(), association.subnet_id()), (Some(false), Some(OTHER_SUBNET)));
    assert!(association.route_table_association_id().is_some_and(|id| id.starts_with("rtbassoc-")));
    let transit: Vec<_> = shown.route_tables()[0].routes().iter().filter_map(|one| one.transit_gateway_id()).collect();
    assert_eq!(transit, ["tgw-0000000000000000a"]);
    let delete = ec2.delete_route_table().route_table_id("rtb-0000000000000000b").send().await;
    refused_with(delete, "DependencyViolation").unwrap();
    refused_with(ec2.delete_vpc().vpc_id(VPC).send().await, "DependencyViolation").unwrap();
}

#[tokio::test]
async fn each_vpc_has_a_default_acl_for_the_subnets_without_another_one() {
    let (_server, ec2, _) = start().await;
    let acls = async |name: &str, value: &str| -> Vec<NetworkAcl> {
        ec2.describe_network_acls().filters(filter(name, &[value])).send().await.unwrap().network_acls.unwrap()
    };
    let subnets = |acl: &NetworkAcl| -> Vec<String> {
        acl.associations().iter().filter_map(|one| one.subnet_id.clone()).collect()
    };
    let entries = |acl: &NetworkAcl| -> Vec<String> {
        let show = |entry: &aws_sdk_ec2::types::NetworkAclEntry| {
            let block = entry.cidr_block().or(entry.ipv6_cidr_block()).unwrap();
            let ports = entry.port_range().map(|ports| (ports.from().unwrap(), ports.to().unwrap()));
            format!(
                "{} {} {} {} {block} {ports:?} {:?}",
                if entry.egress() == Some(true) { "out" } else { "in" },
                entry.rule_number().unwrap(),
                entry.rule_action().unwrap(),
                entry.protocol().unwrap(),
                entry.icmp_type_code().and_then(|icmp| icmp.r#type()),
            )
        };
        acl.entries().iter().map(show).collect()
    };
    let of_vpc = acls("vpc-id", VPC).await;
    let [default] = &*acls("association.subnet-id", SUBNET).await else { panic!("{of_vpc:?}") };
    assert_eq!((default.is_default(), subnets(default)), (Some(true), vec![SUBNET.to_owned()]));
    assert_eq!(
        entries(default),
        [
            "out 100 allow -1 0.0.0.0/0 None None",
            "out 32767 deny -1 0.0.0.0/0 None None",
            "in 100 allow -1 0.0.0.0/0 None None",
            "in 32767 deny -1 0.0.0.0/0 None None",
        ]
    );
    let [own] = &*acls("association.subnet-id", OTHER_SUBNET).await else { panic!("{of_vpc:?}") };
    assert_eq!((own.is_default(), of_vpc.len()), (Some(false), 2));
    assert_eq!(
        entries(own),
        [
            "out 100 deny 1 0.0.0.0/0 None Some(8)",
            "out 32767 deny -1 0.0.0.0/0 None None",
            "in 200 allow 6 10.1.0.0/16 Some((80, 443)) None",
            "in 32767 deny -1 0.0.0.0/0 None None",
        ]
    );
    // EC2 adds the entries for IPv6 along with the first IPv6 block.
    ec2.associate_vpc_cidr_block().vpc_id(VPC).amazon_provided_ipv6_cidr_block(true).send().await.unwrap();
    let [default] = &*acls("association.subnet-id", SUBNET).await else { panic!() };
    assert!(entries(default).contains(&"in 101 allow -1 ::/0 None None".to_owned()), "{default:?}");
    assert!(entries(default).contains(&"in 32768 deny -1 ::/0 None None".to_owned()), "{default:?}");
    let made = ec2.create_vpc().cidr_block("10.9.0.0/16").send().await.unwrap().vpc.unwrap();
    let vpc = made.vpc_id().unwrap();
    assert_eq!(acls("vpc-id", vpc).await.len(), 1);
    ec2.delete_vpc().vpc_id(vpc).send().await.unwrap();
    assert_eq!(acls("vpc-id", vpc).await.len(), 0);
    let unknown = ec2.describe_network_acls().network_acl_ids("acl-0123456789abcdef0").send().await;
    refused_with(unknown, "InvalidNetworkAclID.NotFound").unwrap();
}

#[tokio::test]
async fn a_rule_may_refer_to_a_group_of_a_peer_vpc_until_it_is_stale() {
    let (_server, ec2, client) = start().await;
    let group = async |id: &str| -> SecurityGroup {
        let shown = ec2.describe_security_groups().group_ids(id).send().await.unwrap();
        shown.security_groups.unwrap().remove(0)
    };
    let web = group("sg-0000000000000000c").await;
    let [ssh, https] = web.ip_permissions() else { panic!("{web:?}") };
    assert_eq!(ssh.prefix_list_ids()[0].prefix_list_id(), Some("pl-0000000000000000a"));
    assert_eq!((https.from_port(), https.to_port(), https.ip_protocol()), (Some(443), Some(443), Some("tcp")));
    assert_eq!(https.ip_ranges()[0].cidr_ip(), Some("10.1.0.0/16"));
    let [pair] = https.user_id_group_pairs() else { panic!("{web:?}") };
    assert_eq!((pair.group_id(), pair.vpc_id()), (Some("sg-0000000000000000d"), Some(PEER)));
    assert_eq!((pair.vpc_peering_connection_id(), pair.peering_status()), (Some(CONNECTION), Some("active")));
    let [egress] = web.ip_permissions_egress() else { panic!("{web:?}") };
    assert_eq!((egress.ip_protocol(), egress.from_port()), (Some("-1"), None));
    let default = group("sg-0000000000000000a").await;
    assert_eq!((default.group_name(), default.ip_permissions().len()), (Some("default"), 1));
    for (name, value, count) in [
        ("vpc-id", VPC, 2),
        ("group-name", "web", 1),
        ("ip-permission.group-id", "sg-0000000000000000d", 1),
        ("ip-permission.cidr", "10.1.0.0/16", 1),
        ("egress.ip-permission.cidr", "0.0.0.0/0", 2),
    ] {
        let shown = ec2.describe_security_groups().filters(filter(name, &[value])).send().await.unwrap();
        assert_eq!(shown.security_groups().len(), count, "{name}");
    }
    let unknown = ec2.describe_security_groups().group_ids("sg-0123456789abcdef0").send().await;
    refused_with(unknown, "InvalidGroup.NotFound").unwrap();
    refused_with(ec2.describe_security_groups().group_ids("web").send().await, "InvalidGroupId.Malformed").unwrap();

    let of_group = filter("group-id", &["sg-0000000000000000c"]);
    let rules = ec2.describe_security_group_rules().filters(of_group).send().await.unwrap();
    assert_eq!(rules.security_group_rules().len(), 4);
    let any = rules.security_group_rules().iter().find(|rule| rule.is_egress() == Some(true)).unwrap();
    assert_eq!((any.cidr_ipv6(), any.from_port(), any.to_port()), (Some("::/0"), Some(-1), Some(-1)));
    let referring = rules.security_group_rules().iter().find_map(|rule| rule.referenced_group_info()).unwrap();
    assert_eq!(referring.peering_status(), Some("active"));
    let by_id = any.security_group_rule_id().unwrap();
    let one = ec2.describe_security_group_rules().security_group_rule_ids(by_id).send().await.unwrap();
    assert_eq!(one.security_group_rules(), std::slice::from_ref(any));

    let referring = async |id: &str| ec2.describe_security_group_references().group_id(id).send().await;
    let shown = referring("sg-0000000000000000d").await.unwrap();
    let [reference] = shown.security_group_reference_set() else { panic!("{shown:?}") };
    assert_eq!(reference.referencing_vpc_id(), Some(VPC));
    assert_eq!(reference.vpc_peering_connection_id(), Some(CONNECTION));
    let nobody = referring("sg-0000000000000000c").await.unwrap();
    assert!(nobody.security_group_reference_set().is_empty());
    refused_with(referring("sg-0123456789abcdef0").await, "InvalidGroup.NotFound").unwrap();

    let stale = async || ec2.describe_stale_security_groups().vpc_id(VPC).send().await.unwrap();
    assert!(stale().await.stale_security_group_set().is_empty());
    ec2.delete_vpc_peering_connection().vpc_peering_connection_id(CONNECTION).send().await.unwrap();
    client.advance(std::time::Duration::from_secs(1)).await.unwrap();
    let shown = stale().await;
    let [group] = shown.stale_security_group_set() else { panic!("{shown:?}") };
    assert_eq!(group.group_id(), Some("sg-0000000000000000c"));
    let [permission] = group.stale_ip_permissions() else { panic!("{shown:?}") };
    assert_eq!(permission.user_id_group_pairs()[0].peering_status(), Some("deleted"));
    assert!(group.stale_ip_permissions_egress().is_empty() && permission.ip_ranges().is_empty());
    let unknown = ec2.describe_stale_security_groups().vpc_id("vpc-0123456789abcdef0").send().await;
    refused_with(unknown, "InvalidVpcID.NotFound").unwrap();
}

#[tokio::test]
async fn a_network_interface_is_found_by_its_address() {
    let (_server, ec2, _) = start().await;
    for (name, value, count) in [
        ("addresses.private-ip-address", "10.0.1.11", 1),
        ("private-ip-address", "10.0.1.11", 0),
        ("private-ip-address", "10.0.1.10", 1),
        ("vpc-id", VPC, 1),
        ("vpc-id", PEER, 0),
        ("subnet-id", SUBNET, 1),
        ("group-id", "sg-0000000000000000c", 1),
        ("attachment.instance-id", "i-0000000000000000a", 1),
    ] {
        let shown = ec2.describe_network_interfaces().filters(filter(name, &[value])).send().await.unwrap();
        assert_eq!(shown.network_interfaces().len(), count, "{name} {value}");
    }
    let shown = ec2.describe_network_interfaces().send().await.unwrap();
    let interface = &shown.network_interfaces()[0];
    assert_eq!((interface.vpc_id(), interface.subnet_id()), (Some(VPC), Some(SUBNET)));
    assert_eq!(interface.groups()[0].group_name(), Some("web"));
    assert_eq!(interface.private_ip_addresses().len(), 2);
    assert_eq!(interface.ipv4_prefixes()[0].ipv4_prefix(), Some("10.0.1.16/28"));
    let ask = ec2.describe_network_interfaces().network_interface_ids("eni-0123456789abcdef0").send().await;
    refused_with(ask, "InvalidNetworkInterfaceID.NotFound").unwrap();
}

#[tokio::test]
async fn a_route_to_a_prefix_list_counts_its_maximum_number_of_entries() {
    let (server, ec2, client) = start().await;
    let (list, table) = ("pl-0000000000000000a", "rtb-0000000000000000a");
    let shown = ec2.describe_managed_prefix_lists().prefix_list_ids(list).send().await.unwrap();
    let [shown] = shown.prefix_lists() else { panic!("{shown:?}") };
    assert_eq!((shown.prefix_list_name(), shown.max_entries(), shown.version()), (Some("offices"), Some(4), Some(1)));
    assert_eq!((shown.address_family(), shown.owner_id()), (Some("IPv4"), Some("111111111111")));
    let entries = async |token: Option<String>| {
        let ask = ec2.get_managed_prefix_list_entries().prefix_list_id(list).max_results(1);
        ask.set_next_token(token).send().await.unwrap()
    };
    let first = entries(None).await;
    assert_eq!(first.entries()[0].cidr(), Some("192.0.2.0/24"));
    let second = entries(first.next_token).await;
    assert_eq!((second.entries()[0].cidr(), second.next_token()), (Some("198.51.100.0/24"), None));
    let unknown = ec2.get_managed_prefix_list_entries().prefix_list_id("pl-0123456789abcdef0").send().await;
    refused_with(unknown, "InvalidPrefixListID.NotFound").unwrap();

    client.set(&json!({"quotas": {"routes_per_table": 5}})).await.unwrap();
    let create = || ec2.create_route().route_table_id(table).vpc_peering_connection_id(CONNECTION);
    create().destination_prefix_list_id(list).send().await.unwrap();
    refused_with(create().destination_prefix_list_id(list).send().await, "RouteAlreadyExists").unwrap();
    create().destination_cidr_block("10.1.0.0/24").send().await.unwrap();
    refused_with(create().destination_cidr_block("10.1.1.0/24").send().await, "RouteLimitExceeded").unwrap();
    let by_list = filter("route.destination-prefix-list-id", &[list]);
    let tables = ec2.describe_route_tables().filters(by_list).send().await.unwrap();
    let mut routes = tables.route_tables().iter().flat_map(|table| table.routes());
    let route = routes.find(|route| route.destination_prefix_list_id() == Some(list)).unwrap();
    assert_eq!((route.vpc_peering_connection_id(), route.destination_cidr_block()), (Some(CONNECTION), None));
    let replace = ec2.replace_route().route_table_id(table).destination_prefix_list_id(list);
    replace.transit_gateway_id("tgw-0000000000000000b").send().await.unwrap();
    let delete = || ec2.delete_route().route_table_id(table).destination_prefix_list_id(list).send();
    delete().await.unwrap();
    refused_with(delete().await, "InvalidRoute.NotFound").unwrap();
    create().destination_cidr_block("10.1.1.0/24").send().await.unwrap();

    // An account that the list is shared with reads it; others do not see it.
    let theirs = Cloud::at(server.url()).another().await.unwrap().ec2(HERE);
    let ask = || theirs.get_managed_prefix_list_entries().prefix_list_id(list).send();
    refused_with(ask().await, "InvalidPrefixListID.NotFound").unwrap();
    let mut shared = scene()["prefix_lists"][0].clone();
    shared["shared_with"] = json!(["222222222222"]);
    add(&client, json!({"prefix_lists": [shared.clone()]})).await.unwrap();
    assert_eq!(ask().await.unwrap().entries().len(), 2);

    // Other entries make a new version.
    shared["entries"] = json!(["192.0.2.0/24"]);
    add(&client, json!({"prefix_lists": [shared]})).await.unwrap();
    let shown = ec2.describe_managed_prefix_lists().prefix_list_ids(list).send().await.unwrap();
    assert_eq!(shown.prefix_lists()[0].version(), Some(2));
    let of_version = async |version| {
        let ask = ec2.get_managed_prefix_list_entries().prefix_list_id(list).target_version(version);
        ask.send().await.map(|answer| answer.entries().len())
    };
    assert_eq!(of_version(2).await.unwrap(), 1);
    refused_with(of_version(3).await, "InvalidParameterValue").unwrap();
}

#[tokio::test]
async fn resources_can_be_added_to_the_world() {
    let (_server, ec2, client) = start().await;
    let saved = client.save().await.unwrap();
    let another = simulator(at_once(), frozen()).await;
    let loaded = Client::new(&another.url()).load(&saved).await.unwrap();
    assert_eq!(loaded, saved, "a scene is complete");
    add(&client, json!({"subnets": [scene()["subnets"][0]]})).await.unwrap();
    assert_eq!(ec2.describe_subnets().send().await.unwrap().subnets().len(), 2, "it replaces the one with its ID");
    let outside = here(json!({"id": "subnet-00000000000000001", "vpc_id": VPC, "cidr_block": "10.7.0.0/24"}));
    let mut stranger = scene()["route_tables"][0].clone();
    stranger["subnet_ids"] = json!(["subnet-00000000000000001"]);
    let mut second = scene()["route_tables"][0].clone();
    second["subnet_ids"] = json!([OTHER_SUBNET]);
    let mut nowhere = scene()["network_interfaces"][0].clone();
    nowhere["ipv4_addresses"] = json!(["10.0.2.1"]);
    for (wrong, message) in [
        (json!({"subnets": [outside]}), "is not inside"),
        (json!({"route_tables": [stranger]}), "has no subnet"),
        (json!({"route_tables": [second]}), "a subnet is in"),
        (json!({"network_interfaces": [nowhere]}), "is not in"),
        (json!({"now": "2030-01-01T00:00:00Z"}), "resources only"),
        (json!({"subnets": [scene()["subnets"][0], scene()["subnets"][0]]}), "duplicate ID"),
    ] {
        let refused = add(&client, wrong.clone()).await.unwrap_err();
        assert!(refused.contains(message), "{wrong}: {refused}");
    }
}

#[tokio::test]
async fn reading_needs_the_permission_for_each_action() {
    let (_server, ec2, client) = start().await;
    let allow = |actions: Value, resource: &str| Attachment {
        principal: "test".into(),
        name: "reader".into(),
        kind: Kind::Identity,
        document: json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "Read", "Effect": "Allow", "Action": actions, "Resource": resource},
        ]}),
    };
    client.attach_policy(&allow(json!("ec2:DescribeSubnets"), "*")).await.unwrap();
    ec2.describe_subnets().send().await.unwrap();
    refused_with(ec2.describe_network_acls().send().await, "UnauthorizedOperation").unwrap();
    refused_with(ec2.describe_security_groups().send().await, "UnauthorizedOperation").unwrap();
    // A Describe action has no resources, so it is allowed on `*` only.
    client.attach_policy(&allow(json!("ec2:DescribeSubnets"), "arn:aws:ec2:*:*:subnet/*")).await.unwrap();
    refused_with(ec2.describe_subnets().send().await, "UnauthorizedOperation").unwrap();
    let entries = || ec2.get_managed_prefix_list_entries().prefix_list_id("pl-0000000000000000a").send();
    let of_lists = |resource: &str| allow(json!("ec2:GetManagedPrefixListEntries"), resource);
    client.attach_policy(&of_lists("arn:aws:ec2:*:111111111111:prefix-list/*")).await.unwrap();
    entries().await.unwrap();
    client.attach_policy(&of_lists("arn:aws:ec2:*:222222222222:prefix-list/*")).await.unwrap();
    refused_with(entries().await, "UnauthorizedOperation").unwrap();
}
