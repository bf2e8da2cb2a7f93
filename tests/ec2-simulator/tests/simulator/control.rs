//! The control API: clock, settings, journal, state, access keys and roles.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sts::operation::assume_role::AssumeRoleOutput;
use ec2_simulator::journal::Query;
use ec2_simulator::world::identity;
use ec2_simulator::world::settings::RepeatRequest;
use ec2_simulator::world::{AccessKey, Role, Tags};
use ec2_simulator::{Client, Fault, Kind, Scene, Server, Settings};
use serde_json::json;

use crate::cloud::{Cloud, HERE, at_once, code_of, filter, frozen, id_of, refused_with, simulator};

async fn start(settings: Settings) -> (Server, Cloud, Client) {
    let server = simulator(settings, frozen()).await;
    let (cloud, client) = (Cloud::at(server.url()), Client::new(&server.url()));
    (server, cloud, client)
}

fn keys(of: &identity::Credentials) -> Credentials {
    Credentials::from_keys(&of.access_key_id, &of.secret_access_key, of.session_token.clone())
}

#[tokio::test]
async fn a_request_expires_when_the_clock_moves_seven_days() {
    let (_server, cloud, client) = start(at_once()).await;
    let id = cloud.pending().await.unwrap();
    let before = client.clock().await.unwrap();
    assert_eq!(before.factor, 0.0);
    client.advance(Duration::from_hours(7 * 24)).await.unwrap();
    assert_eq!(code_of(&cloud.describe(HERE, &id).await.unwrap()), "expired");
    let ended = "2026-01-10T00:00:00Z".parse().unwrap();
    assert_eq!(client.set_time(ended).await.unwrap().now, ended);
    let gone = cloud.ec2(HERE).describe_vpc_peering_connections().vpc_peering_connection_ids(&id).send().await;
    refused_with(gone, "InvalidVpcPeeringConnectionID.NotFound").unwrap();
    assert!(client.set_time(before.now).await.is_err(), "the clock does not move backwards");
    assert!(client.run_at(-1.0).await.is_err());
}

#[tokio::test]
async fn a_disassociated_block_is_shown_for_an_hour() {
    let (_server, cloud, client) = start(at_once()).await;
    let (ec2, id) = (cloud.ec2(HERE), cloud.vpc(HERE, "10.0.0.0/16").await.unwrap());
    let associate = || ec2.associate_vpc_cidr_block().vpc_id(&id).cidr_block("10.1.0.0/24").send();
    let states = async || -> Vec<String> {
        let shown = ec2.describe_vpcs().vpc_ids(&id).send().await.unwrap();
        let set = shown.vpcs()[0].cidr_block_association_set();
        set.iter().map(|block| block.cidr_block_state().unwrap().state().unwrap().to_string()).collect()
    };
    let added = associate().await.unwrap().cidr_block_association.unwrap().association_id.unwrap();
    assert_eq!(states().await, ["associated", "associated"]);
    ec2.disassociate_vpc_cidr_block().association_id(&added).send().await.unwrap();
    assert_eq!(states().await, ["associated", "disassociated"]);
    client.advance(Duration::from_secs(3599)).await.unwrap();
    assert_eq!(states().await, ["associated", "disassociated"]);
    client.advance(Duration::from_secs(1)).await.unwrap();
    assert_eq!(states().await, ["associated"]);
    associate().await.unwrap();
    ec2.disassociate_vpc_cidr_block().association_id(&added).send().await.unwrap();
    associate().await.unwrap();
    assert_eq!(states().await, ["associated", "associated"], "an associated block has one association");
}

#[tokio::test]
async fn a_static_route_can_exist_beside_a_propagated_one() {
    let (_server, cloud, client) = start(at_once()).await;
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await.unwrap());
    let mut scene = serde_json::to_value(client.save().await.unwrap()).unwrap();
    let table = &mut scene["route_tables"][0];
    let (destination, target) = ("10.9.0.0/16", json!({ "gateway": "vgw-1" }));
    let origin = "enable-vgw-route-propagation";
    table["routes"] = json!([{ "destination": destination, "target": target, "origin": origin }]);
    let table = table["id"].as_str().unwrap().to_owned();
    client.load(&serde_json::from_value(scene).unwrap()).await.unwrap();
    let shown = async || -> Vec<String> {
        let shown = ec2.describe_route_tables().route_table_ids(&table).send().await.unwrap();
        let table = &shown.route_tables()[0];
        assert_eq!(table.propagating_vgws()[0].gateway_id(), Some("vgw-1"));
        let routes = table.routes().iter().filter(|route| route.destination_cidr_block() == Some("10.9.0.0/16"));
        routes.map(|route| route.origin().unwrap().to_string()).collect()
    };
    assert_eq!(shown().await, ["EnableVgwRoutePropagation"]);
    let delete = || ec2.delete_route().route_table_id(&table).destination_cidr_block("10.9.0.0/16").send();
    refused_with(delete().await, "InvalidRoute.NotFound").unwrap();
    let create = ec2.create_route().route_table_id(&table).destination_cidr_block("10.9.0.0/16");
    create.vpc_peering_connection_id(&id).send().await.unwrap();
    assert_eq!(shown().await, ["EnableVgwRoutePropagation", "CreateRoute"]);
    delete().await.unwrap();
    assert_eq!(shown().await, ["EnableVgwRoutePropagation"]);
}

#[tokio::test]
async fn a_gateway_route_table_refuses_routes_through_a_peering() {
    let (_server, cloud, client) = start(at_once()).await;
    let (ec2, id) = (cloud.ec2(HERE), cloud.active().await.unwrap());
    let vpc = cloud.describe(HERE, &id).await.unwrap().requester_vpc_info.unwrap().vpc_id.unwrap();
    let made = ec2.create_route_table().vpc_id(vpc).send().await.unwrap();
    let table = made.route_table.unwrap().route_table_id.unwrap();
    let mut scene = serde_json::to_value(client.save().await.unwrap()).unwrap();
    let of_gateway = scene["route_tables"].as_array_mut().unwrap().iter_mut().find(|shown| shown["id"] == *table);
    of_gateway.unwrap()["gateway_id"] = json!("igw-1");
    client.load(&serde_json::from_value(scene).unwrap()).await.unwrap();
    let by_gateway = filter("association.gateway-id", &["igw-1"]);
    let shown = ec2.describe_route_tables().filters(by_gateway).send().await.unwrap();
    let [shown] = shown.route_tables() else { panic!("{shown:?}") };
    assert_eq!(shown.route_table_id(), Some(table.as_str()));
    let [association] = shown.associations() else { panic!("{shown:?}") };
    assert_eq!((association.main(), association.gateway_id()), (Some(false), Some("igw-1")));
    let create = ec2.create_route().route_table_id(&table).destination_cidr_block("10.1.0.0/16");
    let outcome = create.vpc_peering_connection_id(&id).send().await;
    refused_with(outcome, "InvalidParameterValue").unwrap();
}

#[tokio::test]
async fn the_clock_runs_at_a_factor() {
    let (_server, cloud, client) = start(Settings::default()).await;
    let (vpc, peer) = cloud.pair().await.unwrap();
    let id = id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap();
    assert_eq!(code_of(&cloud.describe(HERE, &id).await.unwrap()), "initiating-request", "the clock is stopped");
    assert_eq!(client.run_at(1000.0).await.unwrap().factor, 1000.0);
    cloud.settle(HERE, &id, "pending-acceptance").await.unwrap();
}

#[tokio::test]
async fn one_setting_can_be_changed() {
    let (_server, cloud, client) = start(at_once()).await;
    let changed = client.set(&json!({ "repeat_request": "mint-new", "quotas": { "outstanding": 2 } })).await.unwrap();
    let mut expected = Settings { repeat_request: RepeatRequest::MintNew, ..at_once() };
    expected.quotas.outstanding = 2;
    assert_eq!(changed, expected);
    assert_eq!(client.settings().await.unwrap(), expected);
    let (vpc, peer) = cloud.pair().await.unwrap();
    let first = id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap();
    assert_ne!(id_of(&cloud.request(&vpc, &peer).await.unwrap()).unwrap(), first);
    let third = cloud.ec2(HERE).create_vpc_peering_connection().vpc_id(&vpc).peer_vpc_id(&peer).send().await;
    refused_with(third, "OutstandingVpcPeeringConnectionLimitExceeded").unwrap();
    for wrong in [json!({ "quota": 1 }), json!({ "delays": { "initiating": -1 } }), json!({ "repeat_request": "x" })] {
        assert!(client.set(&wrong).await.is_err(), "{wrong}");
    }
    assert_eq!(client.settings().await.unwrap(), expected);
}

#[tokio::test]
async fn the_journal_has_every_call() {
    let (_server, cloud, client) = start(at_once()).await;
    let vpc = cloud.vpc(HERE, "10.0.0.0/16").await.unwrap();
    let unknown = cloud.ec2(HERE).delete_vpc().vpc_id("vpc-0123456789abcdef0").send().await;
    let refused = refused_with(unknown, "InvalidVpcID.NotFound").unwrap();
    let stranger = cloud.ec2_as(HERE, Credentials::from_keys("AKIAUNKNOWN000000000", "x", None));
    refused_with(stranger.describe_vpcs().send().await, "AuthFailure").unwrap();

    let all = client.journal(&Query::default()).await.unwrap();
    let actions: Vec<_> = all.entries.iter().map(|entry| (entry.action.as_str(), entry.status)).collect();
    assert_eq!(actions, [("CreateVpc", 200), ("DeleteVpc", 400), ("DescribeVpcs", 401)]);
    let created = &all.entries[0];
    assert_eq!((created.account.as_deref(), created.region.as_str()), (Some("111111111111"), HERE));
    assert_eq!(created.parameters.get("CidrBlock").map(String::as_str), Some("10.0.0.0/16"));
    assert_eq!(created.time, client.clock().await.unwrap().now);
    assert_eq!(all.entries[2].account, None);
    assert_eq!(all.counters["DeleteVpc"].calls, 1);
    assert_eq!(all.counters["DeleteVpc"].errors["InvalidVpcID.NotFound"], 1);

    for (query, count) in [
        (Query { action: Some("CreateVpc".into()), ..Query::default() }, 1),
        (Query { account: Some("111111111111".into()), ..Query::default() }, 2),
        (Query { region: Some("eu-west-3".into()), ..Query::default() }, 0),
        (Query { code: Some("AuthFailure".into()), ..Query::default() }, 1),
        (Query { request_id: refused.request_id.clone(), ..Query::default() }, 1),
    ] {
        assert_eq!(client.journal(&query).await.unwrap().entries.len(), count, "{query:?}");
    }
    client.clear_journal().await.unwrap();
    assert_eq!(client.journal(&Query::default()).await.unwrap(), ec2_simulator::journal::Excerpt::default());
    cloud.ec2(HERE).delete_vpc().vpc_id(vpc).send().await.unwrap();
}

#[tokio::test]
async fn a_scene_can_be_loaded_into_another_simulator() {
    let (_server, cloud, client) = start(at_once()).await;
    let id = cloud.active().await.unwrap();
    let key = client.create_key("222222222222").await.unwrap();
    let scene = client.save().await.unwrap();
    let (_other, elsewhere, other) = start(Settings::default()).await;
    assert_eq!(other.load(&scene).await.unwrap(), scene);
    assert_eq!(elsewhere.describe(HERE, &id).await.unwrap(), cloud.describe(HERE, &id).await.unwrap());
    let another = Cloud { credentials: keys(&key), ..elsewhere };
    assert_eq!(another.account().await.unwrap(), "222222222222");
}

#[tokio::test]
async fn a_scene_can_be_written_by_hand() {
    let (_server, cloud, client) = start(Settings::default()).await;
    let scene: Scene = serde_json::from_value(json!({
        "now": "2030-01-01T00:00:00Z",
        "vpcs": [
            {
                "id": "vpc-0000000000000000a", "account": "111111111111", "region": "us-east-1",
                "cidr_blocks": ["10.0.0.0/16", "10.9.0.0/16"], "ipv6_cidr_blocks": ["2600:1f00::/56"]
            },
            {
                "id": "vpc-0000000000000000b", "account": "222222222222", "region": "eu-west-1",
                "cidr_blocks": ["10.1.0.0/16"]
            }
        ],
        "peerings": [{
            "id": "pcx-0000000000000000c",
            "requester": { "account": "111111111111", "region": "us-east-1", "vpc_id": "vpc-0000000000000000a" },
            "accepter": { "account": "222222222222", "region": "eu-west-1", "vpc_id": "vpc-0000000000000000b" },
            "phase": { "code": "active" }
        }],
        "tags": [{
            "account": "111111111111", "region": "us-east-1", "resource": "pcx-0000000000000000c", "tags": { "a": "b" }
        }]
    }))
    .unwrap();
    client.set(&json!({ "any_role": true })).await.unwrap();
    client.load(&scene).await.unwrap();
    assert!(client.settings().await.unwrap().any_role, "a scene without settings does not change them");
    let shown = cloud.describe(HERE, "pcx-0000000000000000c").await.unwrap();
    let requester = shown.requester_vpc_info().unwrap();
    assert_eq!((requester.cidr_block_set().len(), requester.ipv6_cidr_block_set().len()), (2, 1));
    assert_eq!(shown.tags().len(), 1);
    assert_eq!(cloud.ec2(HERE).describe_route_tables().send().await.unwrap().route_tables().len(), 1);
    let twice = Scene { vpcs: [scene.vpcs.clone(), scene.vpcs.clone()].concat(), ..scene };
    assert!(client.load(&twice).await.is_err());
}

#[tokio::test]
async fn keys_can_be_expired_and_revoked() {
    let (_server, cloud, client) = start(at_once()).await;
    let key = client.create_key("333333333333").await.unwrap();
    let theirs = Cloud { credentials: keys(&key), ..cloud.clone() };
    assert_eq!(theirs.account().await.unwrap(), "333333333333");
    client.expire_key(&key.access_key_id).await.unwrap();
    assert_eq!(refused_with(theirs.ec2(HERE).describe_vpcs().send().await, "RequestExpired").unwrap().status, 400);
    assert_eq!(refused_with(theirs.sts().get_caller_identity().send().await, "ExpiredToken").unwrap().status, 403);
    client.revoke_key(&key.access_key_id).await.unwrap();
    assert_eq!(refused_with(theirs.ec2(HERE).describe_vpcs().send().await, "AuthFailure").unwrap().status, 401);
    refused_with(theirs.sts().get_caller_identity().send().await, "InvalidClientTokenId").unwrap();
    assert!(client.revoke_key(&key.access_key_id).await.is_err(), "the key does not exist any more");
    assert!(client.create_key("not an account").await.is_err());
}

#[tokio::test]
async fn sessions_expire_by_the_clock_of_the_settings() {
    let (_server, cloud, client) = start(at_once()).await;
    let session = cloud.another().await.unwrap();
    client.advance(Duration::from_hours(2)).await.unwrap();
    session.account().await.unwrap();
    client.set(&json!({ "session_clock": "simulator" })).await.unwrap();
    let session = cloud.another().await.unwrap();
    client.advance(Duration::from_secs(3599)).await.unwrap();
    session.account().await.unwrap();
    client.advance(Duration::from_secs(1)).await.unwrap();
    refused_with(session.ec2(HERE).describe_vpcs().send().await, "RequestExpired").unwrap();
    // The access key of a session is unknown without its session token.
    let live = cloud.another().await.unwrap().credentials;
    let bare = Credentials::from_keys(live.access_key_id(), live.secret_access_key(), None);
    refused_with(cloud.ec2_as(HERE, bare).describe_vpcs().send().await, "AuthFailure").unwrap();
}

#[tokio::test]
async fn a_role_can_be_assumed_by_the_principals_that_it_trusts() {
    let (_server, cloud, client) = start(Settings::default()).await;
    let arn = "arn:aws:iam::222222222222:role/path/peer";
    let user = AccessKey::default_user().caller.arn;
    let assume = async |external_id: Option<&str>| {
        let ask = cloud.sts().assume_role().role_arn(arn).role_session_name("test");
        ask.set_external_id(external_id.map(str::to_owned)).send().await
    };
    let refused = refused_with(assume(None).await, "AccessDenied").unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.message,
        format!("User: {user} is not authorized to perform: sts:AssumeRole on resource: {arn}")
    );
    for (trusted, wanted, given, admitted) in [
        ("111111111111", None, None, true),
        ("arn:aws:iam::111111111111:root", None, None, true),
        (user.as_str(), None, None, true),
        ("*", None, Some("not required"), true),
        ("333333333333", None, None, false),
        ("111111111111", Some("secret"), Some("secret"), true),
        ("111111111111", Some("secret"), Some("wrong"), false),
        ("111111111111", Some("secret"), None, false),
    ] {
        let external_id = wanted.map(str::to_owned);
        client.put_role(&Role { arn: arn.into(), trusted: vec![trusted.into()], external_id }).await.unwrap();
        match assume(given).await {
            Ok(session) => {
                assert!(admitted, "{trusted} {wanted:?} {given:?}");
                let of = session.assumed_role_user().unwrap().arn();
                assert_eq!(of, "arn:aws:sts::222222222222:assumed-role/peer/test");
            }
            outcome => {
                assert!(!admitted, "{trusted} {wanted:?} {given:?}");
                refused_with(outcome, "AccessDenied").unwrap();
            }
        }
    }
    assert!(client.put_role(&Role { arn: "nonsense".into(), trusted: vec![], external_id: None }).await.is_err());
}

/// The same endpoint with the credentials of a session.
pub(crate) fn in_session(cloud: &Cloud, opened: AssumeRoleOutput) -> Cloud {
    let keys = opened.credentials.unwrap();
    let token = Some(keys.session_token);
    Cloud { credentials: Credentials::from_keys(keys.access_key_id, keys.secret_access_key, token), ..cloud.clone() }
}

#[tokio::test]
async fn calls_of_one_session_can_be_identified_and_denied() {
    let (_server, cloud, client) = start(Settings { any_role: true, ..at_once() }).await;
    let arn = "arn:aws:iam::222222222222:role/path/network";
    let tag = |key: &str, value: &str| aws_sdk_sts::types::Tag::builder().key(key).value(value).build().unwrap();
    let assume = |cloud: &Cloud, tags: Vec<aws_sdk_sts::types::Tag>| {
        let ask = cloud.sts().assume_role().role_arn(arn).role_session_name("cluster.team.peering");
        ask.set_tags(Some(tags)).transitive_tag_keys("namespace").send()
    };
    let opened = assume(&cloud, vec![tag("namespace", "team"), tag("uid", "1")]).await.unwrap();
    let network = in_session(&cloud, opened);
    client.clear_journal().await.unwrap();
    for cloud in [&cloud, &network] {
        cloud.ec2(HERE).describe_vpcs().send().await.unwrap();
    }
    let [ours, theirs] = client.journal(&Query::default()).await.unwrap().entries.try_into().unwrap();
    assert_eq!(ours.arn, Some(AccessKey::default_user().caller.arn));
    assert_eq!(ours.session, None);
    assert_eq!(theirs.account.as_deref(), Some("222222222222"));
    assert_eq!(theirs.arn.as_deref(), Some("arn:aws:sts::222222222222:assumed-role/network/cluster.team.peering"));
    let opened = theirs.session.unwrap();
    assert_eq!((opened.role.as_str(), opened.name.as_str()), (arn, "cluster.team.peering"));
    let tags = |tags: &[(&str, &str)]| -> Tags {
        tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    assert_eq!(opened.tags, tags(&[("namespace", "team"), ("uid", "1")]));

    // The next session inherits transitive tags, and cannot override them.
    let next = network.sts().assume_role().role_arn(arn).role_session_name("next").send().await.unwrap();
    let chained = in_session(&network, next);
    client.clear_journal().await.unwrap();
    chained.ec2(HERE).describe_vpcs().send().await.unwrap();
    let next = client.journal(&Query::default()).await.unwrap().entries.remove(0).session.unwrap();
    assert_eq!((next.name.as_str(), next.tags), ("next", tags(&[("namespace", "team")])));
    refused_with(assume(&network, vec![tag("namespace", "another")]).await, "InvalidParameterValue").unwrap();
    for wrong in [vec![tag("uid", "1")], vec![tag("namespace", "a"), tag("Namespace", "b")]] {
        refused_with(assume(&cloud, wrong).await, "InvalidParameterValue").unwrap();
    }

    // A fault denies one permission to one role.
    for role in [arn, "network"] {
        let denied = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
        let fault = client.add_fault(&Fault::new(denied).on("DescribeVpcs").by(role)).await.unwrap();
        refused_with(network.ec2(HERE).describe_vpcs().send().await, "UnauthorizedOperation").unwrap();
        network.ec2(HERE).describe_tags().send().await.unwrap();
        cloud.ec2(HERE).describe_vpcs().send().await.unwrap();
        client.remove_fault(fault).await.unwrap();
    }
    let user = AccessKey::default_user().caller.arn;
    client.add_fault(&Fault::new(Kind::Throttle).by(&user)).await.unwrap();
    refused_with(cloud.ec2(HERE).describe_vpcs().send().await, "RequestLimitExceeded").unwrap();
    network.ec2(HERE).describe_vpcs().send().await.unwrap();
}
