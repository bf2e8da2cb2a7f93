//! The scenes: what is broken in AWS, and the lines that must fail.

use serde_json::{Value, json};

use crate::world::{OTHER_ACCOUNT, REGION};

pub const CLIENT: &str = "10.1.0.5";
pub const SERVER: &str = "10.2.0.5:443";

const TRANSIT: &str = "tgw-0123456789abcdef0";

/// One planted fault. Without `from`, the route tables are checked as a whole.
pub struct Scene {
    pub name: &'static str,
    pub from: &'static str,
    pub to: &'static str,
    pub plant: fn(&mut Value, &Ids<'_>),
    /// The lines that fail, and a part of their messages.
    pub failed: &'static [(&'static str, &'static str)],
}

/// The IDs of the resources that the test creates.
pub struct Ids<'a> {
    pub requester: &'a str,
    pub accepter: &'a str,
    pub connection: &'a str,
}

fn located(account: &str, mut resource: Value) -> Value {
    resource["account"] = json!(account);
    resource["region"] = json!(REGION);
    resource
}

/// A subnet, a network interface and a security group in each VPC. The server allows a prefix list of the client.
pub fn parts(requester: &str, accepter: &str) -> Value {
    let own = |resource| located("111111111111", resource);
    let theirs = |resource| located(OTHER_ACCOUNT, resource);
    json!({
        "subnets": [
            own(json!({"id": "subnet-11111111", "vpc_id": requester, "cidr_block": "10.1.0.0/24"})),
            theirs(json!({"id": "subnet-22222222", "vpc_id": accepter, "cidr_block": "10.2.0.0/24"})),
        ],
        "route_tables": [own(json!({"id": "rtb-11111111", "vpc_id": requester}))],
        "security_groups": [
            own(json!({"id": "sg-11111111", "vpc_id": requester, "name": "client", "rules": [
                {"egress": true, "protocol": "-1", "peer": {"ipv4": "0.0.0.0/0"}},
            ]})),
            theirs(json!({"id": "sg-22222222", "vpc_id": accepter, "name": "server", "rules": [
                {"protocol": "tcp", "ports": [443, 443], "peer": {"prefix-list": "pl-22222222"}},
                {"protocol": "tcp", "ports": [8080, 8090], "peer": {"group": "sg-11111111"}},
            ]})),
        ],
        "network_interfaces": [
            own(json!({"id": "eni-11111111", "subnet_id": "subnet-11111111", "ipv4_addresses": ["10.1.0.5"],
                "group_ids": ["sg-11111111"]})),
            theirs(json!({"id": "eni-22222222", "subnet_id": "subnet-22222222", "ipv4_addresses": ["10.2.0.5"],
                "ipv4_prefixes": ["10.2.0.16/28"],
                "group_ids": ["sg-22222222"]})),
        ],
        "prefix_lists": [
            theirs(json!({"id": "pl-22222222", "name": "clients", "max_entries": 5, "entries": ["10.1.0.0/24"]})),
        ],
    })
}

/// The resource of a kind with this value of a field.
fn find<'a>(resources: &'a mut Value, kind: &str, field: &str, value: &str) -> &'a mut Value {
    let all = resources[kind].as_array_mut().into_iter().flatten();
    all.into_iter().find(|one| one[field] == value).unwrap_or_else(|| panic!("no {kind} with {field} {value}"))
}

/// The routes of the main table of a VPC.
fn routes<'a>(resources: &'a mut Value, vpc: &str) -> &'a mut Value {
    let all = resources["route_tables"].as_array_mut().into_iter().flatten();
    let main = all.into_iter().find(|table| table["vpc_id"] == vpc && table["main"] == true);
    &mut main.unwrap_or_else(|| panic!("{vpc} has no main table"))["routes"]
}

/// Adds entries to the default network ACL of a VPC.
fn add_entries(resources: &mut Value, vpc: &str, entries: Value) {
    let acl = &mut find(resources, "network_acls", "vpc_id", vpc)["entries"];
    acl.as_array_mut().into_iter().for_each(|acl| acl.extend(entries.as_array().cloned().unwrap_or_default()));
}

/// Replaces the entries for one direction of the default network ACL of a VPC.
fn set_entries(resources: &mut Value, vpc: &str, egress: bool, entries: Value) {
    let acl = &mut find(resources, "network_acls", "vpc_id", vpc)["entries"];
    acl.as_array_mut().into_iter().for_each(|acl| acl.retain(|entry| entry["egress"] != json!(egress)));
    add_entries(resources, vpc, entries);
}

fn group<'a>(resources: &'a mut Value, id: &str) -> &'a mut Value {
    &mut find(resources, "security_groups", "id", id)["rules"]
}

fn end_with(resources: &mut Value, id: &str, phase: Value) {
    find(resources, "peerings", "id", id)["phase"] = phase;
}

const SINCE: &str = "2100-01-01T00:00:00Z";

pub const SCENES: &[Scene] = &[
    Scene { name: "nothing is broken", from: CLIENT, to: SERVER, plant: |_, _| {}, failed: &[] },
    Scene { name: "nothing is broken, without addresses", from: "", to: "", plant: |_, _| {}, failed: &[] },
    Scene {
        name: "a port that a referenced group allows",
        from: CLIENT,
        to: "10.2.0.5:8080",
        plant: |_, _| {},
        failed: &[],
    },
    Scene { name: "any port", from: CLIENT, to: "10.2.0.5", plant: |_, _| {}, failed: &[] },
    Scene { name: "a pod in a prefix", from: CLIENT, to: "10.2.0.20:443", plant: |_, _| {}, failed: &[] },
    Scene {
        name: "no route to the server",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| *routes(aws, ids.requester) = json!([]),
        failed: &[("route requester", "has no route to 10.2.0.5")],
    },
    Scene {
        name: "no return route",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| *routes(aws, ids.accepter) = json!([]),
        failed: &[("route accepter", "has no route to 10.1.0.5")],
    },
    Scene {
        name: "no return route, without addresses",
        from: "",
        to: "",
        plant: |aws, ids| *routes(aws, ids.accepter) = json!([]),
        failed: &[("route accepter", "no route table of vpc-")],
    },
    Scene {
        name: "only a default route",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            *routes(aws, ids.requester) = json!([{"destination": "0.0.0.0/0", "target": {"gateway": "nat-11111111"}}]);
        },
        failed: &[("route requester", "leads 10.2.0.5 to nat-11111111 by 0.0.0.0/0, not to pcx-")],
    },
    Scene {
        name: "a more specific route elsewhere",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            let more = json!({"destination": "10.2.0.0/24", "target": {"gateway": TRANSIT}});
            routes(aws, ids.requester).as_array_mut().into_iter().for_each(|routes| routes.push(more.clone()));
        },
        failed: &[("route requester", "by 10.2.0.0/24, which wins over 10.2.0.0/16 to pcx-")],
    },
    Scene {
        name: "a more specific route of a prefix list for the reply",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            let more = json!({"destination": "pl-22222222", "target": {"gateway": TRANSIT}});
            routes(aws, ids.accepter).as_array_mut().into_iter().for_each(|routes| routes.push(more.clone()));
        },
        failed: &[("route accepter", "by 10.1.0.0/24 of pl-22222222, which wins over 10.1.0.0/16")],
    },
    Scene {
        name: "a subnet with a table of its own",
        from: CLIENT,
        to: SERVER,
        plant: |aws, _| {
            find(aws, "route_tables", "id", "rtb-11111111")["subnet_ids"] = json!(["subnet-11111111"]);
        },
        failed: &[("route requester", "rtb-11111111 of subnet-11111111 has no route")],
    },
    Scene {
        name: "a blackhole",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            routes(aws, ids.requester)[0]["target"] = json!({"peering": "pcx-0123456789abcdef0"});
        },
        failed: &[("route requester", "has a blackhole for 10.2.0.5: 10.2.0.0/16 to pcx-0123456789abcdef0")],
    },
    Scene {
        name: "the client's ACL denies what leaves",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            add_entries(
                aws,
                ids.requester,
                json!([
                    {"number": 90, "egress": true, "allow": false, "protocol": "6", "block": "10.2.0.0/16", "ports": [443, 443]},
                ]),
            )
        },
        failed: &[("network-acl requester", "stops tcp port 443 to 10.2.0.5: entry 90 denies it")],
    },
    Scene {
        name: "the server's ACL denies what enters",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            set_entries(
                aws,
                ids.accepter,
                false,
                json!([
                    {"number": 100, "allow": true, "protocol": "6", "block": "10.1.0.0/16", "ports": [80, 80]},
                ]),
            )
        },
        failed: &[("network-acl accepter", "stops tcp port 443 from 10.1.0.5: no entry allows it")],
    },
    Scene {
        name: "the server's ACL denies the replies",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            set_entries(
                aws,
                ids.accepter,
                true,
                json!([
                    {"number": 100, "egress": true, "allow": true, "protocol": "6", "block": "0.0.0.0/0", "ports": [443, 443]},
                ]),
            )
        },
        failed: &[("network-acl accepter", "stops tcp replies to 10.1.0.5")],
    },
    Scene {
        name: "the client's ACL denies the replies",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            set_entries(
                aws,
                ids.requester,
                false,
                json!([
                    {"number": 100, "allow": true, "protocol": "6", "block": "0.0.0.0/0", "ports": [22, 443]},
                ]),
            )
        },
        failed: &[("network-acl requester", "stops tcp replies from 10.2.0.5")],
    },
    Scene {
        name: "the ACL lets the ephemeral ports of Linux pass",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            set_entries(
                aws,
                ids.requester,
                false,
                json!([
                    {"number": 100, "allow": true, "protocol": "6", "block": "0.0.0.0/0", "ports": [32768, 60999]},
                ]),
            )
        },
        failed: &[],
    },
    Scene {
        name: "the client's security group lets nothing leave",
        from: CLIENT,
        to: SERVER,
        plant: |aws, _| *group(aws, "sg-11111111") = json!([]),
        failed: &[("security-group requester", "no rule of sg-11111111 of eni-11111111 lets tcp port 443 to 10.2.0.5")],
    },
    Scene {
        name: "the server's security group allows other clients",
        from: CLIENT,
        to: SERVER,
        plant: |aws, _| find(aws, "prefix_lists", "id", "pl-22222222")["entries"] = json!(["10.1.7.0/24"]),
        failed: &[(
            "security-group accepter",
            "no rule of sg-22222222 of eni-22222222 lets tcp port 443 from 10.1.0.5",
        )],
    },
    Scene {
        name: "another port",
        from: CLIENT,
        to: "10.2.0.5:22",
        plant: |_, _| {},
        failed: &[("security-group accepter", "lets tcp port 22 from 10.1.0.5")],
    },
    Scene {
        name: "from the accepter's end",
        from: "10.2.0.5",
        to: "10.1.0.5:443",
        plant: |_, _| {},
        // Neither group has a rule for this direction.
        failed: &[("security-group accepter", "to 10.1.0.5"), ("security-group requester", "from 10.2.0.5")],
    },
    Scene {
        name: "no subnet has the address",
        from: "10.1.200.5",
        to: SERVER,
        plant: |_, _| {},
        failed: &[
            ("subnet requester", "contains 10.1.200.5"),
            // The prefix list of the server's group has the subnet of the client only.
            ("security-group accepter", "from 10.1.200.5"),
        ],
    },
    Scene {
        name: "nothing has the address",
        from: CLIENT,
        to: "10.2.0.77:443",
        plant: |_, _| {},
        failed: &[("security-group accepter", "no network interface of vpc-")],
    },
    Scene {
        name: "a DNS attribute is off",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| find(aws, "vpcs", "id", ids.accepter)["dns_hostnames"] = json!(false),
        failed: &[("dns accepter", "enableDnsHostnames of vpc-")],
    },
    Scene {
        name: "the DNS option is off",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            find(aws, "peerings", "id", ids.connection)["requester"]["options"]["dns_resolution"] = json!(false);
        },
        failed: &[("dns requester", "allowDnsResolutionFromRemoteVpc of pcx-")],
    },
    Scene {
        name: "pending",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| end_with(aws, ids.connection, json!({"code": "pending-acceptance"})),
        failed: &[("acceptance", "waits for account 222222222222 to accept it")],
    },
    Scene {
        name: "expired",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| end_with(aws, ids.connection, json!({"code": "expired", "since": SINCE})),
        failed: &[("acceptance", "is expired")],
    },
    Scene {
        name: "rejected",
        from: "",
        to: "",
        plant: |aws, ids| end_with(aws, ids.connection, json!({"code": "rejected", "since": SINCE})),
        failed: &[("acceptance", "is rejected")],
    },
    Scene {
        name: "deleted",
        from: "",
        to: "",
        plant: |aws, ids| {
            end_with(aws, ids.connection, json!({"code": "deleted", "since": SINCE, "by": "accepter"}));
        },
        failed: &[("status", "is deleted")],
    },
    Scene {
        name: "overlapping CIDR blocks",
        from: CLIENT,
        to: SERVER,
        plant: |aws, ids| {
            find(aws, "vpcs", "id", ids.accepter)["cidr_blocks"] = json!(["10.2.0.0/16", "10.1.128.0/17"]);
        },
        failed: &[("cidr-blocks", "10.1.0.0/16 of the requester and 10.1.128.0/17 of the accepter overlap")],
    },
    Scene {
        name: "the connection joins another VPC",
        from: "",
        to: "",
        plant: |aws, ids| {
            find(aws, "peerings", "id", ids.connection)["accepter"]["vpc_id"] = json!("vpc-0123456789abcdef0");
        },
        failed: &[("request", "not the VPCs of the spec")],
    },
];
