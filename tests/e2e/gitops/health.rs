//! Compares the health that kstatus and Argo CD compute with the expected one, and keeps the objects in `deploy/argocd`
//! up to date.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use environment::repository;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};

use super::{condition, run_gitops_json};
use crate::world::World;

/// Separates the text of an AWS error from the request ID in a condition.
const REQUEST_ID: &str = " (request ID ";

/// A state of a resource, the reason of `Ready`, and the health that each tool must compute.
pub struct State {
    pub name: &'static str,
    pub reason: &'static str,
    pub kstatus: &'static str,
    pub argo_cd: &'static str,
}

/// The folder of Argo CD's customization of a kind.
pub fn customization(kind: &str) -> PathBuf {
    repository().join("deploy/argocd/resource_customizations/vpcpeering.dev").join(kind)
}

/// Compares a file of Argo CD's layout with the expected content, or writes it.
pub fn check(kind: &str, file: &str, expected: &Value) -> Result<()> {
    let path = customization(kind).join(file);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::create_dir_all(path.parent().context("no folder")?)?;
        std::fs::write(&path, serde_saphyr::to_string(expected)?)?;
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let found: Value = serde_saphyr::from_str(&text)?;
    if found != *expected {
        bail!("{kind}/{file} has drifted: UPDATE_TESTDATA=1 cargo test --test e2e -- right_health\n{expected:#}");
    }
    Ok(())
}

/// Checks the health script's answer, and returns the row of `health_test.yaml` for this state.
pub async fn check_health(world: &World, kind: &str, state: &State, object: Value) -> Result<Value> {
    let input = format!("testdata/{}.yaml", state.name);
    check(kind, &input, &object)?;
    let script = customization(kind).join("health.lua");
    let health = run_gitops_json(world, &["argocd", &script.to_string_lossy()], &object).await?;
    ensure!(health["status"] == state.argo_cd, "Argo CD says {health}");
    Ok(json!({"inputPath": input, "healthStatus": health}))
}

/// `Ready` is not True while `OptionsSynced` or `RoutesReady` is False. `is_blocked` says whether the options are.
pub fn check_aspects(object: &Value, is_blocked: bool) -> Result<()> {
    let status =
        |kind| condition(object, kind).map_or("", |condition| condition["status"].as_str().unwrap_or_default());
    let is_false = ["OptionsSynced", "RoutesReady"].map(status).contains(&"False");
    ensure!(!is_false || status("Ready") != "True", "{object:#}");
    if is_blocked {
        ensure!(status("OptionsSynced") == "False" && status("Ready") == "False", "{object:#}");
        ensure!(status("Stalled") == "True" && condition(object, "Reconciling").is_none(), "{object:#}");
    }
    Ok(())
}

/// Replaces names, IDs and times with constants, so that the object is the same in every run.
pub async fn generalized(world: &World, foreign_vpc: &str, mut object: Value) -> Result<Value> {
    let metadata = object["metadata"].as_object_mut().context("no metadata")?;
    metadata.remove("managedFields");
    metadata.remove("resourceVersion");
    let uid = metadata["uid"].as_str().context("no UID")?.to_owned();
    let cluster = Api::<Namespace>::all(world.client.clone()).get("kube-system").await?;
    let status = &object["status"];
    let list = |key: &str| status[key].as_array().into_iter().flatten();
    let connections: Vec<_> = list("history")
        .chain(list("connections"))
        .chain([status])
        .filter_map(|status| status["vpcPeeringConnectionId"].as_str().map(str::to_owned))
        .collect();
    let (cluster, namespace) = (cluster.metadata.uid.context("no UID")?, world.namespace.clone());
    let mut names = vec![
        (world.requester.clone(), "vpc-0a1b2c3d4e5f67890".to_owned()),
        (world.accepter.clone(), "vpc-0f9e8d7c6b5a43210".to_owned()),
        (foreign_vpc.to_owned(), "vpc-0f9e8d7c6b5a43210".to_owned()),
        (cluster, "00000000-0000-4000-8000-000000000000".to_owned()),
        (uid, "11111111-1111-4111-8111-111111111111".to_owned()),
        (namespace, "team-a".to_owned()),
    ];
    names.extend(connections.into_iter().zip(1..).map(|(id, n)| (id, format!("pcx-0000000000000000{n}"))));
    rewrite(&mut object, &|text| {
        let text = names.iter().fold(text, |text, (from, to)| text.replace(from, to));
        let timeless = text.split(' ').map(|word| match word.trim_end_matches('.').parse::<Timestamp>() {
            Ok(_) => format!("2026-01-01T00:00:00Z{}", &word[word.trim_end_matches('.').len()..]),
            Err(_) => word.to_owned(),
        });
        let text = timeless.collect::<Vec<_>>().join(" ");
        match text.split_once(REQUEST_ID).and_then(|(before, rest)| Some((before, rest.split_once(')')?.1))) {
            Some((before, after)) => format!("{before}{REQUEST_ID}22222222-2222-4222-8222-222222222222){after}"),
            None => text,
        }
    });
    Ok(object)
}

fn rewrite(value: &mut Value, change: &impl Fn(String) -> String) {
    match value {
        Value::String(text) => *text = change(std::mem::take(text)),
        Value::Array(items) => items.iter_mut().for_each(|item| rewrite(item, change)),
        Value::Object(fields) => fields.values_mut().for_each(|item| rewrite(item, change)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
