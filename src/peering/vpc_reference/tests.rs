//! Objects that keep to the schemas of ACK, Crossplane and Cluster API, and the kinds of an administrator.

#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const ID: &str = "vpc-0a1b2c3d4e5f67890";

fn built_in_kind(group: &str) -> ReferenceKind {
    built_in().into_iter().find(|kind| kind.group == group).unwrap()
}

fn reference<'a>(kind: &'a ReferenceKind, namespace: Option<&'a str>) -> Reference<'a> {
    Reference { field: "spec.requester.vpcRef", from: "team-a", kind, namespace, name: "main" }
}

fn ack() -> Value {
    json!({
        "apiVersion": "ec2.services.k8s.aws/v1alpha1",
        "kind": "VPC",
        "metadata": {"name": "main", "namespace": "team-a"},
        "spec": {"cidrBlocks": ["10.0.0.0/16"]},
        "status": {
            "ackResourceMetadata": {"ownerAccountID": "111111111111", "region": "eu-central-1"},
            "vpcID": ID, "ownerID": "111111111111", "state": "available",
        },
    })
}

fn crossplane(ready: &str) -> Value {
    json!({
        "kind": "VPC",
        "metadata": {"name": "main"},
        "spec": {"forProvider": {"region": "eu-central-1", "cidrBlock": "10.0.0.0/16"}},
        "status": {
            "atProvider": {"id": ID, "ownerId": "111111111111"},
            "conditions": [{"type": "Synced", "status": "True"}, {"type": "Ready", "status": ready}],
        },
    })
}

fn cluster() -> Value {
    json!({
        "kind": "AWSCluster",
        "metadata": {"name": "main", "namespace": "team-a"},
        "spec": {"region": "eu-central-1", "network": {"vpc": {"id": ID, "cidrBlock": "10.0.0.0/16"}}},
    })
}

fn annotated(mut object: Value, namespaces: impl Into<Value>) -> Value {
    object["metadata"]["annotations"] = json!({ALLOWED_NAMESPACES: namespaces.into()});
    object
}

/// Asserts the reason, and that the message names the field and the object.
fn assert_refused<T: std::fmt::Debug>(result: Result<T, Blocker>, reason: Reason, text: &str) {
    let blocker = result.unwrap_err();
    assert_eq!(blocker.reason, reason, "{}", blocker.message);
    assert!(blocker.message.starts_with("spec.requester.vpcRef: "), "{}", blocker.message);
    assert!(blocker.message.contains("main") && blocker.message.contains(text), "{}", blocker.message);
    assert_eq!(blocker.is_stalled(), reason != Reason::AwaitingReference, "{}", blocker.message);
    assert_eq!(blocker.requeue_after, Some(STALLED_REQUEUE));
}

#[test]
fn each_built_in_kind_resolves() {
    let owner = Some("111111111111".to_owned());
    for (group, object, owner_id) in [
        ("ec2.services.k8s.aws", ack(), owner.clone()),
        ("ec2.aws.m.upbound.io", crossplane("True"), owner.clone()),
        ("infrastructure.cluster.x-k8s.io", cluster(), None),
    ] {
        let kind = built_in_kind(group);
        let vpc = reference(&kind, Some("team-a")).resolve(&object).unwrap();
        let expected = (ID, Some("eu-central-1"), owner_id.as_deref());
        assert_eq!((&*vpc.vpc_id, vpc.region.as_deref(), vpc.owner_id.as_deref()), expected, "{group}");
        assert!(vpc.source.starts_with("spec.requester.vpcRef: ") && vpc.source.ends_with(" team-a/main"));
    }
    // The object of the older API of Crossplane is cluster-scoped: it needs a permission.
    let kind = built_in_kind("ec2.aws.upbound.io");
    let scoped = reference(&kind, None);
    assert_refused(scoped.resolve(&crossplane("True")), Reason::ReferenceNotAllowed, ALLOWED_NAMESPACES);
    assert_eq!(scoped.resolve(&annotated(crossplane("True"), "team-a")).unwrap().vpc_id, ID);
}

#[test]
fn another_namespace_needs_a_permission() {
    let kind = built_in_kind("ec2.services.k8s.aws");
    let other = reference(&kind, Some("network"));
    let resolve = |object: &Value| other.resolve(object);
    assert_refused(resolve(&ack()), Reason::ReferenceNotAllowed, "network/main");
    let closed =
        [json!(""), json!(" , "), json!("team"), json!("team-ab"), json!(null), json!(["team-a"]), json!(true)];
    for value in closed {
        assert_refused(resolve(&annotated(ack(), value)), Reason::ReferenceNotAllowed, "team-a");
    }
    for value in ["team-a", "team-b, team-a", "*"] {
        assert!(resolve(&annotated(ack(), value)).is_ok(), "{value}");
    }
    // An unknown namespace is no namespace.
    let unknown = Reference { from: "", namespace: Some(""), ..other };
    assert!(unknown.resolve(&annotated(ack(), "")).is_err());
}

#[test]
fn an_object_without_a_usable_vpc_does_not_resolve() {
    let kind = built_in_kind("ec2.services.k8s.aws");
    let with = |pointer: &str, value: Value| {
        let mut object = ack();
        *object.pointer_mut(pointer).unwrap() = value;
        reference(&kind, Some("team-a")).resolve(&object)
    };
    for absent in [json!(null), json!("")] {
        assert_refused(with("/status/vpcID", absent), Reason::AwaitingReference, "/status/vpcID");
    }
    for malformed in [json!(7), json!("vpc-1"), json!("pcx-11111111"), json!("vpc-0A1B2C3D"), json!([ID])] {
        assert_refused(with("/status/vpcID", malformed), Reason::InvalidRequest, "/status/vpcID");
    }
    assert_refused(with("/status/ownerID", json!("1")), Reason::InvalidRequest, "/status/ownerID");
    let region = "/status/ackResourceMetadata/region";
    let too_long = format!("eu-{}", "a".repeat(30));
    for malformed in ["EU Central", "EU-CENTRAL-1", "eu-central-1/", "eucentral1", &too_long] {
        assert_refused(with(region, json!(malformed)), Reason::InvalidRequest, region);
    }
    let mut deleted = ack();
    deleted["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_refused(reference(&kind, Some("team-a")).resolve(&deleted), Reason::ReferenceNotFound, "is being deleted");
    let kind = built_in_kind("ec2.aws.m.upbound.io");
    let waiting = reference(&kind, Some("team-a")).resolve(&crossplane("False"));
    assert_refused(waiting, Reason::AwaitingReference, "condition Ready");
}

#[test]
fn a_missing_object_of_another_namespace_looks_like_a_forbidden_one() {
    let kind = built_in_kind("ec2.services.k8s.aws");
    let resolve = |namespace, object: &Value| reference(&kind, Some(namespace)).resolve(object);
    assert_refused(resolve("team-a", &Value::Null), Reason::ReferenceNotFound, "does not exist");
    assert_eq!(resolve("network", &Value::Null), resolve("network", &ack()));
    assert_refused(resolve("network", &Value::Null), Reason::ReferenceNotAllowed, "network/main");
}

#[test]
fn another_account_or_region_is_refused() {
    let kind = built_in_kind("ec2.services.k8s.aws");
    let admit = |region: &str, owner: &str| {
        reference(&kind, Some("team-a")).resolve(&ack()).and_then(|vpc| vpc.admit(region, owner))
    };
    assert_eq!(admit("eu-central-1", "111111111111"), Ok(()));
    assert_refused(admit("eu-central-1", "222222222222"), Reason::IdentityMismatch, "111111111111");
    assert_refused(admit("us-east-1", "111111111111"), Reason::InvalidRequest, "us-east-1");
}

#[test]
fn an_administrator_adds_kinds() {
    let kinds = table(
        r#"[{"group": "example.org", "kind": "Network", "resource": "networks", "vpcId": "/metadata/annotations/example.org~1vpc-id"}]"#,
    );
    let kinds = kinds.unwrap();
    assert_eq!(kinds.len(), built_in().len() + 1);
    let object = json!({"metadata": {"annotations": {"example.org/vpc-id": ID}}});
    let vpc = reference(kinds.last().unwrap(), Some("team-a")).resolve(&object).unwrap();
    assert_eq!((&*vpc.vpc_id, vpc.region, vpc.owner_id), (ID, None, None));
    assert_eq!(table("[]").unwrap(), built_in());
}

#[test]
fn up_to_twenty_kinds_can_be_added_also_of_a_known_group_or_name() {
    let entry =
        |group: &str, kind: &str| json!({"group": group, "kind": kind, "resource": "kinds", "vpcId": "/status/vpcID"});
    let of_group = (1..MAX_ADDED_KINDS).map(|number| entry("ec2.services.k8s.aws", &format!("Kind{number}")));
    let added: Vec<Value> = of_group.chain([entry("example.org", "VPC")]).collect();
    assert_eq!(table(&json!(added).to_string()).unwrap().len(), built_in().len() + MAX_ADDED_KINDS);
}

#[test]
fn a_bad_table_is_refused() {
    let entry = |group: &str, path: &str| {
        format!(r#"{{"group": "{group}", "kind": "VPC", "resource": "vpcs", "vpcId": "{path}"}}"#)
    };
    let one = entry("example.org", "/a");
    for (text, problem) in [
        (String::new(), "EOF"),
        ("{}".into(), "expected a sequence"),
        (r#"[{"group": "a", "kind": "B", "resource": "bs"}]"#.into(), "vpcId"),
        (r#"[{"group": "a", "kind": "B", "resource": "bs", "vpcId": "/a", "vpc": ""}]"#.into(), "unknown field"),
        (format!("[{}]", entry("example.org", ".a")), "JSON Pointer"),
        (format!("[{}]", entry("example.org", "")), "JSON Pointer"),
        (format!("[{}]", entry("", "/a")), "must not be empty"),
        (format!("[{one},{one}]"), "twice"),
        (format!("[{}]", entry("ec2.services.k8s.aws", "/a")), "built in"),
        (format!("[{}]", vec![one; MAX_ADDED_KINDS + 1].join(",")), "at most"),
    ] {
        let error = table(&text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
}
