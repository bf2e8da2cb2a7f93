//! The templates of `deploy/iam/one-account` grant what `deploy/iam/own-credentials.json` grants. The other account, which
//! may be at the other end, is a parameter or is left out.
//! `UPDATE_TESTDATA=1 cargo test --test roles` writes the policy into the templates.

#![allow(clippy::expect_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// The placeholders of deploy/iam/README.md.
const ACCOUNT: &str = "111111111111";
const OTHER_ACCOUNT: &str = "222222222222";
const CLUSTER: &str = "11111111-2222-3333-4444-555555555555";

/// The order in which the fields of a policy and of a statement are written.
const FIELDS: [&str; 7] = ["Version", "Statement", "Sid", "Effect", "Action", "Resource", "Condition"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/iam")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).expect(name)
}

fn policy() -> Value {
    serde_json::from_str(&read("own-credentials.json")).expect("JSON")
}

/// The policy without the other account.
fn policy_for_one_account() -> Value {
    let without_other = |value: Value| match value {
        Value::Array(all) => {
            all.into_iter().filter(|one| !one.as_str().is_some_and(|one| one.contains(OTHER_ACCOUNT))).collect()
        }
        other => other,
    };
    map(policy(), &without_other)
}

/// Applies a function to every value, the inner ones first.
fn map(value: Value, change: &impl Fn(Value) -> Value) -> Value {
    change(match value {
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, map(value, change))).collect(),
        Value::Array(all) => all.into_iter().map(|value| map(value, change)).collect(),
        other => other,
    })
}

/// A string of a policy as CloudFormation writes it.
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/intrinsic-function-reference-sub.html>
fn for_cloudformation(value: Value) -> Value {
    let Value::String(text) = &value else { return value };
    if text == CLUSTER {
        return json!({"Ref": "ClusterId"});
    }
    let sub = text.replace("${", "${!").replace(ACCOUNT, "${AWS::AccountId}").replace(OTHER_ACCOUNT, "${OtherAccount}");
    let sub = sub.replace("arn:aws:", "arn:${AWS::Partition}:");
    match () {
        () if text.contains(OTHER_ACCOUNT) => {
            json!({"Fn::If": ["HasOtherAccount", {"Fn::Sub": sub}, {"Ref": "AWS::NoValue"}]})
        }
        () if sub == *text => value,
        () => json!({"Fn::Sub": sub}),
    }
}

/// Block style, as the rest of the templates.
fn yaml(value: &Value, indent: usize, text: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(fields) => {
            for (key, value) in sorted(fields) {
                // A key with a colon inside needs no quotes, because only ": " ends a key. `Null` would be null.
                let key = if key == "Null" { "\"Null\"" } else { key };
                write!(text, "{margin}{key}:").expect("memory");
                nested(value, indent + 2, text);
            }
        }
        Value::Array(all) => {
            for one in all {
                let mut item = String::new();
                nested(one, indent + 2, &mut item);
                let item = item.trim_start();
                writeln!(text, "{margin}- {}", item.trim_end()).expect("memory");
            }
        }
        other => writeln!(text, "{margin}{other}").expect("memory"),
    }
}

fn nested(value: &Value, indent: usize, text: &mut String) {
    if let Value::Object(_) | Value::Array(_) = value {
        text.push('\n');
        yaml(value, indent, text);
    } else {
        writeln!(text, " {value}").expect("memory");
    }
}

fn sorted(fields: &Map<String, Value>) -> Vec<(&String, &Value)> {
    let mut all: Vec<_> = fields.iter().collect();
    all.sort_by_key(|(key, _)| FIELDS.iter().position(|field| field == key).unwrap_or(FIELDS.len()));
    all
}

/// The text with another block under a field, whose name occurs once.
fn with_block(text: &str, field: &str, block: &Value) -> String {
    let lines: Vec<_> = text.lines().collect();
    let first = lines.iter().position(|line| line.trim_start().starts_with(field)).expect(field);
    let depth = |line: &str| line.len() - line.trim_start().len();
    let indent = depth(lines[first]);
    let length = lines[first + 1..].iter().take_while(|line| depth(line) > indent).count();
    let mut written = lines[..first].join("\n") + "\n" + &" ".repeat(indent) + field + "\n";
    yaml(block, indent + 2, &mut written);
    let rest = lines[first + 1 + length..].join("\n");
    written + &rest + if rest.is_empty() { "" } else { "\n" }
}

fn check(name: &str, field: &str, policy: &Value) {
    let file = format!("one-account/{name}");
    let expected = with_block(&read(&file), field, policy);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::write(folder().join(&file), &expected).expect("written");
    }
    let read: Value = serde_saphyr::from_str(&expected).expect("YAML");
    let written = find(&read, field.trim_end_matches(':')).expect(field);
    assert_eq!(written, policy, "the YAML does not hold the policy");
    let is_current = std::fs::read_to_string(folder().join(&file)).expect("a file") == expected;
    assert!(
        is_current,
        "deploy/iam/{file} does not grant what own-credentials.json grants. \
         Run `UPDATE_TESTDATA=1 cargo test --test roles`, which writes the policy into it."
    );
}

fn find<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => fields.get(field).or_else(|| fields.values().find_map(|value| find(value, field))),
        Value::Array(all) => all.iter().find_map(|value| find(value, field)),
        _ => None,
    }
}

#[test]
fn the_cloudformation_template_grants_the_policy() {
    check("cloudformation.yaml", "PolicyDocument:", &map(policy(), &for_cloudformation));
}

#[test]
fn the_configuration_of_eksctl_grants_the_policy() {
    check("eksctl.yaml", "permissionPolicy:", &policy_for_one_account());
}

/// The module reads the policy. It must know each placeholder, and find each mention of the other account.
#[test]
fn the_terraform_module_replaces_each_placeholder_of_the_policy() {
    let (module, policy) = (read("one-account/main.tf"), read("own-credentials.json"));
    assert!(module.contains(r#"file("${path.module}/../own-credentials.json")"#));
    for placeholder in [ACCOUNT, CLUSTER, "arn:aws:"] {
        assert!(module.contains(&format!("\"{placeholder}\"")), "main.tf does not replace {placeholder}");
    }
    let removed = format!("\"arn:aws:ec2:*:{OTHER_ACCOUNT}:vpc/*\"");
    assert!(
        module.contains(r#"/,\\s*\"arn:aws:ec2:[*]:222222222222:vpc/[*]\"/"#) && module.contains("var.other_account")
    );
    let after_a_comma = |(start, _): (usize, &str)| policy[..start].trim_end().ends_with(',');
    let found = policy.match_indices(&removed).filter(|found| after_a_comma(*found)).count();
    assert_eq!(found, policy.matches(OTHER_ACCOUNT).count(), "main.tf does not remove each mention of {OTHER_ACCOUNT}");
}

/// AWS limits the inline policies of a role to 10,240 characters, without white space.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
#[test]
fn the_policy_fits_into_a_role() {
    let length = policy().to_string().len();
    assert!(length < 10_000, "{length} characters");
}
