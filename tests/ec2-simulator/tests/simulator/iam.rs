//! IAM policies, mainly those in `deploy/iam`, as an SDK sees them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use aws_credential_types::Credentials;
use aws_sdk_ec2::types::PeeringConnectionOptionsRequest;
use ec2_simulator::iam::{Attachment, Kind, reference};
use ec2_simulator::journal::Query;
use ec2_simulator::world::Role;
use ec2_simulator::{Client, Server};
use serde_json::{Value, json};

use crate::cloud::{ANOTHER_ACCOUNT, Cloud, HERE, at_once, frozen, id_of, refused_with, simulator, tag};
use crate::moto::venv;

/// The role of the operator in the other account.
const ROLE: &str = "arn:aws:iam::222222222222:role/vpc-peering/operator";
/// The cluster ID in the files of `deploy/iam`.
const CLUSTER: &str = "11111111-2222-3333-4444-555555555555";
const DENIED: &str = "UnauthorizedOperation";

fn file(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/iam/{name}.json"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn attachment(principal: &str, name: &str, kind: Kind, document: Value) -> Attachment {
    Attachment { principal: principal.into(), name: name.into(), kind, document }
}

async fn start() -> (Server, Cloud, Client) {
    let server = simulator(at_once(), frozen()).await;
    let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
    client.set(&json!({"tags_of_vpcs": {"vpc-peering": "allowed"}})).await.unwrap();
    (server, cloud, client)
}

/// Assumes the operator's role for a resource in this namespace.
async fn session(cloud: &Cloud, role: &str, namespace: &str) -> Result<Cloud> {
    let owner = [("cluster", CLUSTER), ("namespace", namespace), ("name", "peering"), ("uid", "1")];
    let tags = owner.map(|(key, value)| {
        aws_sdk_sts::types::Tag::builder().key(format!("vpcpeering.dev/{key}")).value(value).build()
    });
    let tags = tags.into_iter().collect::<Result<Vec<_>, _>>()?;
    let ask = cloud.sts().assume_role().role_arn(role).role_session_name(namespace).set_tags(Some(tags));
    let keys = ask.send().await?.credentials.context("no credentials")?;
    let token = Some(keys.session_token);
    let credentials = Credentials::from_keys(keys.access_key_id, keys.secret_access_key, token);
    Ok(Cloud { credentials, ..cloud.clone() })
}

/// The tags with which a resource owns a connection or has accepted it.
fn owner(prefix: &str, namespace: &str) -> Vec<aws_sdk_ec2::types::Tag> {
    let owner = [("cluster", CLUSTER), ("namespace", namespace), ("name", "peering"), ("uid", "1")];
    owner.into_iter().map(|(key, value)| tag(&format!("vpcpeering.dev/{prefix}{key}"), value)).collect()
}

/// Requests a connection to a VPC of the other account, and attaches `accepter.json` to the operator's role there.
async fn request(cloud: &Cloud, client: &Client) -> (Cloud, String) {
    let another = cloud.another().await.unwrap();
    let (vpc, peer) = (cloud.vpc(HERE, "10.0.0.0/16").await.unwrap(), another.vpc(HERE, "10.1.0.0/16").await.unwrap());
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(peer);
    let made = ask.peer_owner_id(ANOTHER_ACCOUNT).send().await.unwrap().vpc_peering_connection.unwrap();
    client.attach_policy(&attachment(ROLE, "accepter", Kind::Identity, file("accepter"))).await.unwrap();
    (another, id_of(&made).unwrap())
}

#[tokio::test]
async fn a_denial_has_the_message_of_the_service() {
    let (_server, cloud, client) = start().await;
    let describe = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "Look", "Effect": "Allow", "Action": "ec2:Describe*", "Resource": "*"},
    ]});
    client.attach_policy(&attachment("test", "reader", Kind::Identity, describe.clone())).await.unwrap();
    client.clear_journal().await.unwrap();
    cloud.ec2(HERE).describe_vpcs().send().await.unwrap();
    let create = |dry_run| cloud.ec2(HERE).create_vpc().cidr_block("10.0.0.0/16").dry_run(dry_run).send();
    let (one, two) =
        (refused_with(create(false).await, DENIED).unwrap(), refused_with(create(true).await, DENIED).unwrap());
    assert_eq!(one.status, 403);
    let why = "You are not authorized to perform this operation. User: arn:aws:iam::111111111111:user/simulated is not \
               authorized to perform: ec2:CreateVpc on resource: * because no identity-based policy allows the \
               ec2:CreateVpc action. Encoded authorization failure message: ";
    assert!(one.message.starts_with(why) && two.message.starts_with(why), "{one:?} {two:?}");
    assert_ne!(one.message, two.message, "the encoded part differs in each message");
    let assume = cloud.sts().assume_role().role_arn(ROLE).role_session_name("test").send().await;
    let refused = refused_with(assume, "AccessDenied").unwrap();
    assert_eq!(refused.status, 403);
    assert!(
        refused.message.ends_with("because no identity-based policy allows the sts:AssumeRole action"),
        "{refused:?}"
    );
    cloud.account().await.expect("GetCallerIdentity needs no permission");

    let entries = client.journal(&Query::default()).await.unwrap().entries;
    assert_eq!(entries[0].allowed_by, ["reader/Look"]);
    assert!(entries[0].denied.is_none());
    assert!(entries[1].denied.as_ref().is_some_and(|why| why.contains("ec2:CreateVpc")), "{entries:?}");

    client.detach_policy("test", "reader").await.unwrap();
    assert!(client.detach_policy("test", "reader").await.is_err(), "the policy does not exist any more");
    create(false).await.unwrap();
    let invalid = json!({"Version": "2012-10-17", "Statement": [{"Sid": "A", "Effect": "Allow", "Action": "*"}]});
    assert!(client.attach_policy(&attachment("test", "invalid", Kind::Identity, invalid)).await.is_err());
}

#[tokio::test]
async fn a_missing_resource_returns_not_found() {
    let (_server, cloud, client) = start().await;
    client.attach_policy(&attachment("test", "own", Kind::Identity, file("own-credentials"))).await.unwrap();
    let delete = cloud.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id("pcx-0123456789abcdef0");
    refused_with(delete.send().await, "InvalidVpcPeeringConnectionID.NotFound").unwrap();
}

#[tokio::test]
async fn a_connection_belongs_to_the_namespace_that_tagged_it_first() {
    for prefix in ["", "accepter-"] {
        let (_server, cloud, client) = start().await;
        let (_, id) = request(&cloud, &client).await;
        let (team, other) =
            (session(&cloud, ROLE, "team").await.unwrap(), session(&cloud, ROLE, "other").await.unwrap());
        let set = async |by: &Cloud, tags: Vec<_>| {
            by.ec2(HERE).create_tags().resources(&id).set_tags(Some(tags)).send().await
        };
        let unset = async |by: &Cloud, keys: &[&str]| {
            let tags = keys.iter().map(|key| aws_sdk_ec2::types::Tag::builder().key(*key).build()).collect();
            by.ec2(HERE).delete_tags().resources(&id).set_tags(Some(tags)).send().await
        };
        let options = async |by: &Cloud| {
            let allow = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false).build();
            let ask = by.ec2(HERE).modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
            ask.accepter_peering_connection_options(allow).send().await
        };
        team.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await.unwrap();

        // Before the first tags: only the ownership tags of the session, and no options.
        refused_with(set(&team, owner(prefix, "other")).await, DENIED).unwrap();
        refused_with(set(&team, vec![tag("cost", "1")]).await, DENIED).unwrap();
        refused_with(set(&team, [owner("", "team"), owner("accepter-", "team")].concat()).await, DENIED).unwrap();
        refused_with(options(&team).await, DENIED).unwrap();
        refused_with(unset(&team, &["cost"]).await, DENIED).unwrap();
        set(&team, [owner(prefix, "team"), vec![tag("cost", "1")]].concat()).await.unwrap();

        // After the first tags: only that namespace may change tags and options.
        for refused in [
            set(&other, owner(prefix, "other")).await,
            set(&other, vec![tag("cost", "2")]).await,
            set(&team, owner(prefix, "other")).await,
            set(&team, owner(if prefix.is_empty() { "accepter-" } else { "" }, "team")).await,
        ] {
            refused_with(refused, DENIED).unwrap();
        }
        refused_with(options(&other).await, DENIED).unwrap();
        refused_with(unset(&other, &["cost"]).await, DENIED).unwrap();
        refused_with(unset(&team, &[]).await, DENIED).unwrap();
        set(&team, vec![tag("cost", "2")]).await.unwrap();
        options(&team).await.unwrap();
        unset(&team, &["cost", &format!("vpcpeering.dev/{prefix}namespace")]).await.unwrap();
    }
}

#[tokio::test]
async fn only_known_accounts_and_tagged_vpcs_are_accepted() {
    let (_server, cloud, client) = start().await;
    let (another, id) = request(&cloud, &client).await;
    let team = session(&cloud, ROLE, "team").await.unwrap();
    let accept =
        async |id: &str| team.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await;
    let peer = cloud.describe(HERE, &id).await.unwrap().accepter_vpc_info.unwrap().vpc_id.unwrap();
    let key = aws_sdk_ec2::types::Tag::builder().key("vpc-peering").build();
    another.ec2(HERE).delete_tags().resources(&peer).tags(key).send().await.unwrap();
    refused_with(accept(&id).await, DENIED).unwrap();
    another.ec2(HERE).create_tags().resources(&peer).tags(tag("vpc-peering", "allowed")).send().await.unwrap();
    accept(&id).await.unwrap();

    let stranger = client.create_key("999999999999").await.unwrap();
    let stranger = Credentials::from_keys(stranger.access_key_id, stranger.secret_access_key, None);
    let stranger = Cloud { credentials: stranger, ..cloud.clone() };
    let vpc = stranger.vpc(HERE, "10.2.0.0/16").await.unwrap();
    let ask = stranger.ec2(HERE).create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(&peer);
    let made = ask.peer_owner_id(ANOTHER_ACCOUNT).send().await.unwrap().vpc_peering_connection.unwrap();
    let theirs = id_of(&made).unwrap();
    refused_with(accept(&theirs).await, DENIED).unwrap();
    // Rejecting a request is always allowed, because it does no harm.
    team.ec2(HERE).reject_vpc_peering_connection().vpc_peering_connection_id(theirs).send().await.unwrap();
    refused_with(team.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await, DENIED)
        .unwrap();
}

#[tokio::test]
async fn own_credentials_change_only_connections_of_the_cluster() {
    let (_server, cloud, client) = start().await;
    let operator = client.create_key("111111111111").await.unwrap();
    client
        .attach_policy(&attachment(&operator.access_key_id, "own", Kind::Identity, file("own-credentials")))
        .await
        .unwrap();
    let credentials = Credentials::from_keys(operator.access_key_id.clone(), operator.secret_access_key, None);
    let ours = Cloud { credentials, ..cloud.clone() };
    let (vpc, peer) = cloud.pair().await.unwrap();
    let create = async |tags| {
        let ask = ours.ec2(HERE).create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&peer);
        ask.tag_specifications(crate::cloud::tags_of("vpc-peering-connection", tags)).send().await
    };
    let another_cluster = vec![tag("vpcpeering.dev/cluster", "another")];
    for tags in [another_cluster, vec![tag("cost", "1")], [owner("", "team"), owner("accepter-", "team")].concat()] {
        refused_with(create(tags).await, DENIED).unwrap();
    }
    let id = id_of(&create(owner("", "team")).await.unwrap().vpc_peering_connection.unwrap()).unwrap();
    ours.ec2(HERE).accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await.unwrap();
    ours.ec2(HERE).create_tags().resources(&id).tags(tag("cost", "1")).send().await.unwrap();

    // Adopting a connection requires the adoption policy.
    let (vpc, peer) = cloud.pair().await.unwrap();
    let foreign = id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap();
    let adopt = || ours.ec2(HERE).create_tags().resources(&foreign).set_tags(Some(owner("", "team"))).send();
    refused_with(adopt().await, DENIED).unwrap();
    let adoption = attachment(&operator.access_key_id, "adoption", Kind::Identity, file("own-credentials-adoption"));
    client.attach_policy(&adoption).await.unwrap();
    adopt().await.unwrap();
    client.detach_policy(&operator.access_key_id, "adoption").await.unwrap();
    for id in [id, foreign] {
        ours.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await.unwrap();
    }
    let (vpc, peer) = cloud.pair().await.unwrap();
    let untagged = id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap();
    let delete = ours.ec2(HERE).delete_vpc_peering_connection().vpc_peering_connection_id(untagged);
    refused_with(delete.send().await, DENIED).unwrap();
}

#[tokio::test]
async fn the_guard_leaves_ownership_tags_to_the_operators_roles() {
    let (_server, cloud, client) = start().await;
    let role = "arn:aws:iam::111111111111:role/vpc-peering/operator";
    let id = cloud.active().await.unwrap();
    let team = session(&cloud, role, "team").await.unwrap();
    client.attach_policy(&attachment("111111111111", "guard", Kind::Guardrail, file("guard"))).await.unwrap();
    let set = async |by: &Cloud, id: &str, key: &str| {
        by.ec2(HERE).create_tags().resources(id).tags(tag("cost", "1")).tags(tag(key, "x")).send().await
    };
    let unset = async |by: &Cloud, keys: &[&str]| {
        let tags = keys.iter().map(|key| aws_sdk_ec2::types::Tag::builder().key(*key).build()).collect();
        by.ec2(HERE).delete_tags().resources(&id).set_tags(Some(tags)).send().await
    };
    for key in ["vpcpeering.dev/uid", "vpcpeering.dev/of-a-later-release", "VpcPeering.dev/Accepter-Namespace"] {
        let refused = refused_with(set(&cloud, &id, key).await, DENIED).unwrap();
        assert!(refused.message.contains("with an explicit deny in a service control policy"), "{refused:?}");
        refused_with(unset(&cloud, &["cost", key]).await, DENIED).unwrap();
        set(&team, &id, key).await.unwrap();
    }
    refused_with(unset(&cloud, &[]).await, DENIED).unwrap();
    set(&cloud, &id, "team").await.unwrap();
    unset(&cloud, &["cost", "team"]).await.unwrap();
    unset(&team, &["vpcpeering.dev/uid"]).await.unwrap();
    // A new connection cannot have ownership tags either.
    let (vpc, peer) = cloud.pair().await.unwrap();
    let ask = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&peer);
    let tags = crate::cloud::tags_of("vpc-peering-connection", owner("", "team"));
    refused_with(ask.tag_specifications(tags).send().await, DENIED).unwrap();
    // Only network administrators set the tag `vpc-peering`, not even the operator.
    for by in [&cloud, &team] {
        refused_with(set(by, &vpc, "vpc-peering").await, DENIED).unwrap();
    }
    let ask = cloud.ec2(HERE).create_vpc().cidr_block("10.9.0.0/16");
    let tags = crate::cloud::tags_of("vpc", [tag("VPC-Peering", "allowed")]);
    refused_with(ask.tag_specifications(tags).send().await, DENIED).unwrap();
    let administrators = "arn:aws:iam::111111111111:role/network-administrator";
    set(&session(&cloud, administrators, "none").await.unwrap(), &vpc, "vpc-peering").await.unwrap();
}

#[tokio::test]
async fn the_role_trusts_the_operator_of_one_cluster_who_knows_the_external_id() {
    let (_server, cloud, client) = start().await;
    client.set(&json!({"any_role": false})).await.unwrap();
    let hub = "arn:aws:iam::333333333333:role/vpc-peering-operator";
    let to_hub = |arn: &str| Role { arn: arn.into(), trusted: vec!["*".into()], external_id: None };
    for role in [hub, "arn:aws:iam::333333333333:role/another", ROLE] {
        client.put_role(&to_hub(role)).await.unwrap();
    }
    let operator = session(&cloud, hub, "hub").await.unwrap();
    let another = session(&cloud, "arn:aws:iam::333333333333:role/another", "hub").await.unwrap();
    client.attach_policy(&attachment(ROLE, "trust", Kind::Trust, file("trust"))).await.unwrap();
    client.attach_policy(&attachment(hub, "hub", Kind::Identity, file("hub"))).await.unwrap();
    let assume = async |by: &Cloud, role: &str, cluster: Option<&str>, external_id: Option<&str>| {
        let tag =
            |value| aws_sdk_sts::types::Tag::builder().key("vpcpeering.dev/cluster").value(value).build().unwrap();
        let ask = by.sts().assume_role().role_arn(role).role_session_name("team.peering");
        let ask = ask.set_external_id(external_id.map(str::to_owned));
        ask.set_tags(cluster.map(|cluster| vec![tag(cluster)])).send().await
    };
    let agreed = Some("chosen-by-both-sides");
    assume(&operator, ROLE, Some(CLUSTER), agreed).await.unwrap();
    for (by, role, cluster, external_id) in [
        (&another, ROLE, Some(CLUSTER), agreed),
        (&operator, ROLE, Some("another"), agreed),
        (&operator, ROLE, None, agreed),
        (&operator, ROLE, Some(CLUSTER), Some("guessed")),
        (&operator, ROLE, Some(CLUSTER), None),
        (&operator, hub, Some(CLUSTER), agreed),
    ] {
        let refused = refused_with(assume(by, role, cluster, external_id).await, "AccessDenied").unwrap();
        assert_eq!(refused.status, 403, "{role} {cluster:?} {external_id:?}");
    }
    let allowed = client.journal(&Query::default()).await.unwrap().entries;
    let by: Vec<_> = allowed.iter().flat_map(|entry| entry.allowed_by.iter().map(String::as_str)).collect();
    let hubs = "hub/AssumeTheRolesOfAwsIdentities";
    assert_eq!(by, [hubs, "trust/TheOperatorOfOneCluster", hubs, "trust/ItsSessionTags"]);
}

/// The table equals the Service Authorization Reference, of which the IAM linter of `make test` has a copy.
#[test]
fn the_table_equals_the_service_authorization_reference() {
    let script = r#"
import json, os, parliament, sys
path = os.path.join(os.path.dirname(parliament.__file__), "iam_definition.json")
services = {service["prefix"]: service for service in json.load(open(path))}
def find(name):
    prefix, action = name.split(":")
    found = [one for one in services[prefix]["privileges"] if one["privilege"] == action]
    return {kind["resource_type"].rstrip("*"): kind["condition_keys"] for kind in found[0]["resource_types"]}
json.dump({name: find(name) for name in sys.argv[1:]}, sys.stdout)
"#;
    let names = reference::ACTIONS.iter().map(|action| action.name);
    let output =
        Command::new(venv().join("bin/python")).args(["-W", "ignore", "-c", script]).args(names).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let all: BTreeMap<String, BTreeMap<String, Vec<String>>> = serde_json::from_slice(&output.stdout).unwrap();
    // The table omits the keys of web identity federation and SAML, and resource types that the simulator does not
    // support.
    let of_others = |key: &str| key.contains(".com:") || key.starts_with("saml:");
    let kinds = ["", "vpc", "vpc-peering-connection", "route-table", "role", "queue"];
    for action in reference::ACTIONS {
        let mut ours: BTreeMap<&str, Vec<String>> = BTreeMap::from([("", action.keys)])
            .into_iter()
            .chain(action.resources.iter().map(|resource| (resource.kind, resource.keys)))
            .map(|(kind, keys)| (kind, keys.iter().map(|key| (*key).to_owned()).collect()))
            .collect();
        let is_listed = |kind: &str| kinds.contains(&kind) || action.resources.iter().any(|one| one.kind == kind);
        let theirs = all[action.name].iter().filter(|(kind, _)| is_listed(kind));
        let mut theirs: BTreeMap<&str, Vec<String>> = theirs
            .map(|(kind, keys)| {
                let keys = keys.iter().filter(|key| !of_others(key));
                let keys = keys.map(|key| key.replace("${TagKey}", "").replace("${AttributeName}", ""));
                (kind.as_str(), keys.collect())
            })
            .collect();
        theirs.entry("").or_default();
        for keys in ours.values_mut().chain(theirs.values_mut()) {
            keys.sort();
        }
        assert_eq!(ours, theirs, "{}", action.name);
    }
}
