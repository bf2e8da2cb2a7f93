#![allow(clippy::unwrap_used)]

use std::path::Path;

use serde_json::{Value, json};

use super::context::Context;
use super::request::AuthorizationRequest;
use super::{Attachment, Decision, Kind, Policies, Policy, reference};
use crate::world::AccessKey;
use crate::world::identity::{Caller, RoleSession};

fn policy(statements: Value) -> Policy {
    Policy::parse(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap()
}

/// Whether a request with these condition keys meets a condition.
fn is_met(operator: &str, key: &str, values: Value, context: &[(&str, &str)]) -> bool {
    let statement = json!([{
        "Sid": "One", "Effect": "Allow", "Action": "ec2:CreateTags", "Resource": "*",
        "Condition": {operator: {key: values}},
    }]);
    let context = context.iter().copied().collect();
    policy(statement).statements[0].applies("ec2:CreateTags", "arn:aws:ec2:eu-west-1:111111111111:vpc/vpc-1", &context)
}

#[test]
fn each_operator_compares_as_aws_documents() {
    let (yes, no) = (true, false);
    // Operator, key, values in the policy, keys in the request, whether it is met.
    for (operator, key, values, context, expected) in [
        ("StringEquals", "a:k", json!("x"), &[("a:k", "x")][..], yes),
        ("StringEquals", "a:k", json!(["w", "x"]), &[("a:k", "x")], yes),
        ("StringEquals", "a:k", json!("x"), &[("a:k", "X")], no),
        ("StringEquals", "a:k", json!("*"), &[("a:k", "x")], no),
        ("StringEquals", "a:k", json!("x"), &[], no),
        ("StringEquals", "A:K", json!("x"), &[("a:k", "x")], yes),
        ("StringEquals", "aws:ResourceTag/Own/er", json!("x"), &[("aws:resourcetag/own/ER", "x")], yes),
        ("StringEqualsIfExists", "a:k", json!("x"), &[], yes),
        ("StringEqualsIfExists", "a:k", json!("x"), &[("a:k", "y")], no),
        ("StringNotEquals", "a:k", json!(["x", "y"]), &[("a:k", "z")], yes),
        ("StringNotEquals", "a:k", json!(["x", "y"]), &[("a:k", "y")], no),
        ("StringNotEquals", "a:k", json!("x"), &[], yes),
        ("StringEqualsIgnoreCase", "a:k", json!("Xy"), &[("a:k", "xY")], yes),
        ("StringNotEqualsIgnoreCase", "a:k", json!("Xy"), &[("a:k", "xY")], no),
        ("StringLike", "a:k", json!("a*c?"), &[("a:k", "abbcd")], yes),
        ("StringLike", "a:k", json!("a*c?"), &[("a:k", "abbc")], no),
        ("StringLike", "a:k", json!("*"), &[("a:k", "")], yes),
        ("StringLike", "a:k", json!("*"), &[], no),
        ("StringNotLike", "a:k", json!("a*"), &[("a:k", "b")], yes),
        ("StringNotLike", "a:k", json!("a*"), &[("a:k", "ab")], no),
        ("ArnLike", "a:k", json!("arn:aws:ec2:*:1:vpc/*"), &[("a:k", "arn:aws:ec2:eu-west-1:1:vpc/vpc-1")], yes),
        ("ArnEquals", "a:k", json!("arn:aws:ec2:*:1:vpc/*"), &[("a:k", "arn:aws:ec2:eu-west-1:1:vpc/vpc-1")], yes),
        // `*` does not match a colon.
        ("ArnLike", "a:k", json!("arn:aws:ec2:*:vpc/*"), &[("a:k", "arn:aws:ec2:eu-west-1:1:vpc/vpc-1")], no),
        ("ArnLike", "a:k", json!("arn:aws:ec2:*:1:vpc/*"), &[], no),
        ("ArnNotLike", "a:k", json!("arn:aws:iam::*:role/a/*"), &[("a:k", "arn:aws:iam::1:role/a/b")], no),
        ("ArnNotLike", "a:k", json!("arn:aws:iam::*:role/a/*"), &[("a:k", "arn:aws:iam::1:role/b")], yes),
        ("ArnNotLike", "a:k", json!("arn:aws:iam::*:role/a/*"), &[], yes),
        ("Bool", "a:k", json!("true"), &[("a:k", "true")], yes),
        ("Bool", "a:k", json!(true), &[("a:k", "false")], no),
        ("Bool", "a:k", json!("false"), &[], no),
        ("Null", "a:k", json!("true"), &[], yes),
        ("Null", "a:k", json!("true"), &[("a:k", "x")], no),
        ("Null", "a:k", json!(false), &[("a:k", "x")], yes),
        ("Null", "a:k", json!("false"), &[], no),
        ("ForAllValues:StringLike", "a:k", json!(["a*", "b"]), &[("a:k", "a1"), ("a:k", "b")], yes),
        ("ForAllValues:StringLike", "a:k", json!(["a*", "b"]), &[("a:k", "a1"), ("a:k", "c")], no),
        ("ForAllValues:StringLike", "a:k", json!("a*"), &[], yes),
        ("ForAllValues:StringNotLike", "a:k", json!(["a*", "b"]), &[("a:k", "c"), ("a:k", "d")], yes),
        ("ForAllValues:StringNotLike", "a:k", json!(["a*", "b"]), &[("a:k", "c"), ("a:k", "b")], no),
        ("ForAllValues:StringNotEquals", "a:k", json!(["a", "b"]), &[("a:k", "c"), ("a:k", "a")], no),
        ("ForAnyValue:StringLike", "a:k", json!("a*"), &[("a:k", "b"), ("a:k", "a1")], yes),
        ("ForAnyValue:StringLike", "a:k", json!("a*"), &[("a:k", "b")], no),
        ("ForAnyValue:StringLike", "a:k", json!("a*"), &[], no),
        ("ForAnyValue:StringEqualsIgnoreCase", "a:k", json!("Own"), &[("a:k", "b"), ("a:k", "oWN")], yes),
    ] {
        assert_eq!(is_met(operator, key, values.clone(), context), expected, "{operator} {key} {values} {context:?}");
    }
}

#[test]
fn a_statement_with_an_unset_variable_does_not_apply() {
    let tag = "${aws:PrincipalTag/vpcpeering.dev/namespace}";
    let session = ("aws:PrincipalTag/vpcpeering.dev/namespace", "team");
    assert!(is_met("StringEquals", "a:k", json!(tag), &[session, ("a:k", "team")]));
    assert!(!is_met("StringEquals", "a:k", json!(tag), &[session, ("a:k", "other")]));
    for operator in ["StringEquals", "StringEqualsIfExists", "StringNotEquals", "StringLike"] {
        assert!(!is_met(operator, "a:k", json!(tag), &[("a:k", "team")]), "{operator}");
        assert!(!is_met(operator, "a:k", json!(tag), &[]), "{operator}");
    }
    // A wildcard in the value of a variable is literal.
    assert!(!is_met("StringLike", "a:k", json!("${a:v}"), &[("a:v", "*"), ("a:k", "x")]));
    assert!(is_met("StringLike", "a:k", json!("${a:v}*"), &[("a:v", "?"), ("a:k", "?x")]));
    let arn = ("a:k", "arn:aws:ec2:eu-west-1:1:vpc/vpc-1");
    assert!(is_met("ArnLike", "a:k", json!("arn:aws:ec2:${a:r}:1:vpc/*"), &[("a:r", "eu-west-1"), arn]));
    assert!(!is_met("ArnLike", "a:k", json!("arn:aws:ec2:${a:r}:1:vpc/*"), &[("a:r", "eu-west-2"), arn]));
}

#[test]
fn a_document_with_an_unsupported_element_is_rejected() {
    for statement in [
        json!({"Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*", "NotAction": "x"}),
        json!({"Sid": "A", "Effect": "Maybe", "Action": "*", "Resource": "*"}),
        json!({"Sid": "A", "Effect": "Allow", "Action": "*"}),
        json!({"Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*", "Principal": {"AWS": "*"}}),
        json!({"Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringIs": {"a:k": "x"}}}),
        json!({
            "Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"NullIfExists": {"a:k": "true"}},
        }),
        json!({"Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"Null": {"a:k": "x"}}}),
        json!({
            "Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"a:k": []}},
        }),
        json!({
            "Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"a:k": "${x"}},
        }),
        json!({
            "Sid": "A", "Effect": "Allow", "Action": "*", "Resource": "*",
            "Condition": {"StringEquals": {"a:k": "${x, 'y'}"}},
        }),
    ] {
        let document = json!({"Version": "2012-10-17", "Statement": [statement]});
        assert!(Policy::parse(&document).is_err(), "{document}");
    }
    let old = json!({"Version": "2008-10-17", "Statement": []});
    assert!(Policy::parse(&old).is_err(), "this version has no policy variables");
}

fn request(action: &str, resource: &str) -> AuthorizationRequest {
    AuthorizationRequest { action: action.into(), resource: resource.into(), context: Context::default() }
}

fn attached(policies: &[(&str, Kind, Value)]) -> Policies {
    let mut all = Policies::default();
    for (number, (principal, kind, statement)) in policies.iter().enumerate() {
        let (principal, name) = ((*principal).to_owned(), format!("policy{number}"));
        let document = json!({"Version": "2012-10-17", "Statement": [statement]});
        all.attach(Attachment { principal, name, kind: *kind, document }).unwrap();
    }
    all
}

const VPC: &str = "arn:aws:ec2:eu-west-1:111111111111:vpc/vpc-1";
const TABLE: &str = "arn:aws:ec2:eu-west-1:111111111111:route-table/rtb-1";

fn allow(action: &str, resource: &str) -> Value {
    json!({"Sid": "Yes", "Effect": "Allow", "Action": action, "Resource": resource})
}

fn deny(action: &str, resource: &str) -> Value {
    json!({"Sid": "No", "Effect": "Deny", "Action": action, "Resource": resource})
}

#[test]
fn the_default_is_deny_and_a_deny_overrides_an_allow() {
    let caller = AccessKey::default_user().caller;
    let decide = |policies: &Policies, action: &str, resource: &str| {
        policies.decide("test", &caller, &request(action, resource))
    };
    let by = |name: &str| Decision::Allowed(Some(name.to_owned()));
    let none = attached(&[]);
    assert_eq!(decide(&none, "ec2:CreateVpc", "*"), Decision::Allowed(None), "no policy is attached to the caller");
    let vpcs = attached(&[("test", Kind::Identity, allow("ec2:*", "arn:aws:ec2:*:111111111111:vpc/*"))]);
    assert_eq!(decide(&vpcs, "ec2:CreateTags", VPC), by("policy0/Yes"));
    assert_eq!(decide(&vpcs, "EC2:createtags", VPC), by("policy0/Yes"), "actions are not case-sensitive");
    for (action, resource) in [("ec2:CreateRoute", TABLE), ("sts:AssumeRole", VPC), ("ec2:DescribeVpcs", "*")] {
        let Decision::Denied(why) = decide(&vpcs, action, resource) else { panic!("{action} on {resource}") };
        assert_eq!(why, format!("because no identity-based policy allows the {action} action"));
    }
    let user = caller.arn.as_str();
    for (principal, kind) in [(user, Kind::Identity), ("111111111111", Kind::Guardrail), ("*", Kind::Guardrail)] {
        let both = attached(&[("test", Kind::Identity, allow("*", "*")), (principal, kind, deny("ec2:Create*", "*"))]);
        assert!(matches!(decide(&both, "ec2:CreateTags", VPC), Decision::Denied(why) if why.contains("policy1/No")));
        assert_eq!(decide(&both, "ec2:DeleteTags", VPC), by("policy0/Yes"));
    }
    let of_others = attached(&[
        ("another", Kind::Identity, deny("*", "*")),
        ("222222222222", Kind::Guardrail, deny("*", "*")),
        ("111111111111", Kind::Guardrail, deny("ec2:CreateRoute", "*")),
    ]);
    assert_eq!(decide(&of_others, "ec2:CreateTags", VPC), Decision::Allowed(None));
    assert!(matches!(decide(&of_others, "ec2:CreateRoute", TABLE), Decision::Denied(_)));
}

#[test]
fn a_session_has_the_permissions_of_its_role() {
    let role = "arn:aws:iam::222222222222:role/vpc-peering/operator";
    let session = RoleSession {
        role: role.into(),
        name: "team.peering".into(),
        tags: Default::default(),
        transitive_tag_keys: Default::default(),
    };
    let caller = Caller {
        account: "222222222222".into(),
        arn: "arn:aws:sts::222222222222:assumed-role/operator/team.peering".into(),
        user_id: "AROA".into(),
        session: Some(session),
    };
    let policies = attached(&[(role, Kind::Identity, allow("ec2:CreateRoute", "*"))]);
    let decide = |action| policies.decide("ASIA1", &caller, &request(action, TABLE));
    assert!(matches!(decide("ec2:CreateRoute"), Decision::Allowed(Some(_))));
    assert!(matches!(decide("ec2:DeleteRoute"), Decision::Denied(_)));
}

/// The files in `deploy/iam`.
fn files() -> Vec<(String, Policy)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/iam");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let policy = |path: &Path| Policy::parse(&serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap());
    paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            (path.display().to_string(), policy(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display())))
        })
        .collect()
}

#[test]
fn deploy_iam_uses_only_condition_keys_of_the_reference() {
    let files = files();
    assert!(files.len() > 5, "{files:?}");
    for (file, policy) in files {
        assert_eq!(reference::problems(&policy), Vec::<String>::new(), "{file}");
    }
}

#[test]
fn unlisted_condition_keys_and_resources_are_reported() {
    let connection = "arn:aws:ec2:*:222222222222:vpc-peering-connection/*";
    let with = |action: Value, resource: &str, operator: &str, key: &str, value: &str| {
        let statement = json!([{
            "Sid": "One", "Effect": "Allow", "Action": action, "Resource": resource,
            "Condition": {operator: {key: value}},
        }]);
        reference::problems(&policy(statement))
    };
    let arn = "arn:aws:ec2:*:1:vpc/*";
    for (action, resource, operator, key, value, problem) in [
        (json!("ec2:DeleteTags"), connection, "ArnLike", "ec2:AccepterVpc", arn, "has no key ec2:AccepterVpc"),
        (
            json!(["ec2:CreateTags", "ec2:DeleteTags"]),
            connection,
            "ArnLike",
            "ec2:RequesterVpc",
            arn,
            "ec2:DeleteTags on",
        ),
        (json!("ec2:RejectVpcPeeringConnection"), arn, "Null", "aws:ResourceTag/a", "true", "none of its resources"),
        (json!("ec2:CreateRoute"), "arn:aws:ec2:*:1:route-table/*", "Null", "ec2:AccepterVpc", "true", "has no key"),
        (json!("ec2:AcceptVpcPeeringConnection"), connection, "Null", "aws:RequestTag/a", "true", "has no key"),
        (json!("ec2:AcceptVpcPeeringConnection"), "*", "ArnLike", "ec2:RequesterVpc", arn, "on vpc has no key"),
        (json!("ec2:DescribeVpcs"), "*", "Null", "aws:ResourceTag/a", "true", "has no key"),
        (json!("ec2:CreateTags"), connection, "StringEquals", "a:k", "${aws:ResourceTag}", "has no key"),
        (json!("ec2:TerminateInstances"), "*", "Null", "aws:TagKeys", "true", "the reference has no action"),
    ] {
        let problems = with(action.clone(), resource, operator, key, value);
        assert!(problems.iter().any(|one| one.contains(problem)), "{action} {key}: {problems:?}");
    }
    for (action, resource, key) in [
        ("ec2:CreateTags", connection, "ec2:AccepterVpc"),
        ("ec2:CreateTags", connection, "ec2:CreateAction"),
        ("ec2:DeleteTags", connection, "aws:TagKeys"),
        ("ec2:CreateVpcPeeringConnection", connection, "aws:RequestTag/vpcpeering.dev/cluster"),
        ("ec2:DescribeVpcs", "*", "aws:PrincipalTag/a"),
    ] {
        assert_eq!(with(json!(action), resource, "Null", key, "true"), Vec::<String>::new(), "{action} {key}");
    }
    let trust = |action: &str| {
        let statement = json!([{
            "Sid": "Trust", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action,
            "Condition": {"StringEquals": {"sts:ExternalId": "x"}},
        }]);
        reference::problems(&policy(statement))
    };
    assert_eq!(trust("sts:AssumeRole"), Vec::<String>::new());
    assert_eq!(trust("sts:TagSession"), ["Trust: sts:TagSession on role has no key sts:ExternalId"]);
}
