//! `deploy/iam` against what the operator did in all these tests: no action is missing, and none is granted in vain.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use ec2_simulator::Client;
use ec2_simulator::journal::{Entry, Query};
use environment::repository;
use serde_json::Value;

/// AWS grants it to everybody.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
const FREE: &str = "GetCallerIdentity";

/// The actions that operators were seen to use.
#[derive(Debug, Default)]
pub struct Seen(Mutex<BTreeSet<String>>);

impl Seen {
    /// Takes note of what the operator with this key, and its sessions, asked this simulator for.
    pub async fn note(&self, simulator: &Client, key: &str) -> Result<()> {
        let entries = simulator.journal(&Query::default()).await?.entries;
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(entries.iter().filter(|entry| is_the_operators(entry, key)).flat_map(actions));
        Ok(())
    }

    /// The policies grant just what was seen.
    pub fn check(&self) -> Result<()> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let policies = ["hub", "requester", "accepter"].map(|name| granted(name).map(|granted| (name, granted)));
        let policies = policies.into_iter().collect::<Result<BTreeMap<_, _>>>()?;
        let granted: BTreeSet<String> = policies.into_values().flatten().collect();
        let missing: Vec<_> = seen.difference(&granted).collect();
        let in_vain: Vec<_> = granted.difference(&seen).collect();
        ensure!(
            missing.is_empty() && in_vain.is_empty(),
            "deploy/iam: missing {missing:?}, granted in vain {in_vain:?}"
        );
        Ok(())
    }
}

fn is_the_operators(entry: &Entry, key: &str) -> bool {
    let by_session = entry.session.as_ref().is_some_and(|session| session.name != super::world::TEST_SESSION);
    by_session || entry.access_key_id.as_deref() == Some(key)
}

fn actions(entry: &Entry) -> Vec<String> {
    match entry.action.as_str() {
        FREE => Vec::new(),
        "AssumeRole" if entry.parameters.keys().any(|name| name.starts_with("Tags.")) => {
            vec!["sts:AssumeRole".into(), "sts:TagSession".into()]
        }
        "AssumeRole" => vec!["sts:AssumeRole".into()],
        "CreateVpcPeeringConnection" => vec!["ec2:CreateVpcPeeringConnection".into(), "ec2:CreateTags".into()],
        action => vec![format!("ec2:{action}")],
    }
}

/// The actions that a policy grants.
pub fn granted(name: &str) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(repository().join(format!("deploy/iam/{name}.json")))?;
    let policy: Value = serde_json::from_str(&text)?;
    let mut granted = BTreeSet::new();
    for statement in policy["Statement"].as_array().into_iter().flatten() {
        ensure!(statement["Effect"] == "Allow", "{statement}");
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        granted.extend(actions.iter().filter_map(|action| action.as_str().map(str::to_owned)));
    }
    Ok(granted)
}
