//! `plan`: the calls that it prints are those that the operator then makes, for many scenes.

mod calls;
mod scenes;
mod staged;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::iam::{Attachment, Kind};
use environment::{Operator, ec2, eventually};
use futures::future::{join_all, try_join_all};
use serde_json::{Value, json};

use self::scenes::{Change, Scene, expired, scenes};
use self::staged::{LIMIT, Staged};
use super::{Finished, run};
use crate::world::{OTHER_ACCOUNT, World};

/// A request expires within this time. EC2 shows it for some hours afterwards.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 60 * 60 + 60);

/// The scenes make more calls than this.
const MIN_CALLS: usize = 150;

/// The environment of `plan`: the AWS credentials of the operator, and an administrator of the cluster.
fn planner(world: &World) -> Operator {
    let kubeconfig = world.shared.control_plane.kubeconfig().to_string_lossy().into_owned();
    world.operator.clone().with("KUBECONFIG", &kubeconfig)
}

async fn plan(planner: &Operator, format: &str, targets: &[String]) -> Result<Finished> {
    let arguments = ["plan", "-o", format].into_iter().chain(targets.iter().map(String::as_str));
    run(planner, &arguments.collect::<Vec<_>>()).await
}

async fn report(planner: &Operator, targets: &[String]) -> Result<(Value, i32)> {
    let finished = plan(planner, "json", targets).await?;
    let report = serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
    Ok((report, finished.code))
}

/// All scenes share one operator and one process of `plan`, because each takes seconds to start.
pub async fn the_operator_makes_the_planned_calls(world: World) -> Result<()> {
    let scenes = scenes();
    ensure!(scenes.len() >= 50);
    let calls = agree(&world, scenes, Duration::ZERO).await?;
    ensure!(calls >= MIN_CALLS, "only {calls} calls were compared");
    Ok(())
}

pub async fn the_calls_after_an_expiry_are_planned(world: World) -> Result<()> {
    agree(&world, expired(), EXPIRY).await.map(drop)
}

/// Compares the plan of each scene with the calls of the operator, and returns their number. The clock of EC2 moves on
/// by `pause` before the plan.
async fn agree(world: &World, scenes: Vec<Scene>, pause: Duration) -> Result<usize> {
    let planner = planner(world);
    let mut staged = try_join_all(scenes.into_iter().map(|scene| Staged::new(world, scene))).await?;
    let operator = world.operator.start().await?;
    try_join_all(staged.iter().map(Staged::prepare)).await?;
    try_join_all(staged.iter_mut().map(Staged::until_prepared)).await.map_err(|error| world.with_log(error))?;
    operator.kill().await?;
    world.simulator().advance(pause).await?;

    let targets = try_join_all(staged.iter().map(Staged::change)).await?;
    world.clear_journal().await?;
    let (first, code) = report(&planner, &targets).await?;
    ensure!(code == 1, "some scenes need a person");
    ensure!(calls::writes(world).await?.is_empty(), "plan changes EC2");

    try_join_all(staged.iter().map(Staged::carry_out)).await?;
    let _operator = world.operator.clone().with_log("second").start().await?;
    until_unchanged(world, &planner, &staged).await?;

    let entries = calls::writes(world).await?;
    let outcomes = join_all(staged.iter().map(|one| one.compare(&first, &entries))).await;
    let calls: usize = outcomes.iter().flatten().sum();
    let failures = staged.iter().zip(outcomes);
    let failures = failures.filter_map(|(one, outcome)| Some(format!("{}: {:#}", one.scene.name, outcome.err()?)));
    let failures: Vec<_> = failures.collect();
    ensure!(failures.is_empty(), "{} of {}:\n{}", failures.len(), staged.len(), failures.join("\n"));
    Ok(calls)
}

/// Waits until a second plan has no changes. It prints nothing, except for the scenes that need a person.
async fn until_unchanged(world: &World, planner: &Operator, staged: &[Staged]) -> Result<()> {
    let is_kept = |one: &&Staged| one.scene.change != Change::Delete;
    let (stalled, healthy): (Vec<_>, Vec<_>) = staged.iter().filter(is_kept).partition(|one| one.scene.stalls);
    let targets = |some: &[&Staged]| some.iter().map(|one| one.target()).collect::<Vec<_>>();
    eventually("a plan without changes", LIMIT, async || {
        for one in staged.iter().filter(|one| one.scene.change == Change::Delete) {
            ensure!(one.is_gone().await?, "{} is not gone", one.scene.name);
        }
        let finished = plan(planner, "text", &targets(&healthy)).await?;
        ensure!(finished.code == 0 && finished.stdout.is_empty(), "{finished:?}");
        let (second, code) = report(planner, &targets(&stalled)).await?;
        ensure!(code == 1 && second["changes"] == false, "{code}: {second:#}");
        for one in &stalled {
            ensure!(one.find(&second)?["end"]["state"] == "stalled", "{second:#}");
        }
        Ok(())
    })
    .await
    .map_err(|error| world.with_log(error))
}

/// EC2 judges each call that it can judge before it is made.
pub async fn missing_permissions_are_planned(world: World) -> Result<()> {
    let planner = planner(&world);
    let file = |manifest: Value| -> Result<[String; 1]> {
        let file = world.shared.control_plane.folder().join(format!("{}-plan.json", world.namespace));
        std::fs::write(&file, manifest.to_string())?;
        Ok([file.to_string_lossy().into_owned()])
    };
    let allowed = plan(&planner, "markdown", &file(world.manifest())?).await?;
    ensure!(allowed.code == 2 && allowed.stdout.contains("`CreateVpcPeeringConnection in "), "{allowed:?}");
    deny(&world, "CreateVpcPeeringConnection").await?;
    let denied = plan(&planner, "text", &file(world.manifest())?).await?;
    ensure!(denied.code == 1 && denied.stdout.contains("allow ec2:CreateVpcPeeringConnection"), "{denied:?}");
    ensure!(world.api().get_opt(&world.name).await?.is_none(), "plan created the object");

    world.simulator().detach_policy(world.key(), "deny").await?;
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    operator.kill().await?;
    let tags = json!({"tags": [{"key": "a", "value": "b"}]});
    let mut routes = world.manifest();
    routes["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    for (action, manifest) in [("CreateTags", world.manifest_with(tags)), ("CreateRoute", routes)] {
        deny(&world, action).await?;
        let denied = plan(&planner, "text", &file(manifest)?).await?;
        ensure!(denied.code == 1 && denied.stdout.contains(&format!("allow ec2:{action} in ")), "{denied:?}");
    }
    world.simulator().detach_policy(world.key(), "deny").await?;
    // The denied calls of this test are expected.
    world.simulator().clear_journal().await
}

async fn deny(world: &World, action: &str) -> Result<()> {
    let statement = json!({"Sid": "Deny", "Effect": "Deny", "Action": [format!("ec2:{action}")], "Resource": "*"});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let (principal, name, kind) = (world.key().to_owned(), "deny".to_owned(), Kind::Identity);
    world.simulator().attach_policy(&Attachment { principal, name, kind, document }).await
}

pub async fn a_full_quota_is_planned(world: World) -> Result<()> {
    let planner = planner(&world);
    let file = world.shared.control_plane.folder().join(format!("{}-plan.json", world.namespace));
    std::fs::write(&file, world.manifest().to_string())?;
    let targets = [file.to_string_lossy().into_owned()];
    ensure!(plan(&planner, "text", &targets).await?.code == 2);
    let third = ec2::create_vpc(&world.ec2, "10.3.0.0/16").await?;
    world.ec2.create_vpc_peering_connection().vpc_id(&world.requester).peer_vpc_id(third).send().await?;
    world.simulator().set(&json!({"quotas": {"outstanding": 1}})).await?;
    let full = plan(&planner, "text", &targets).await?;
    ensure!(full.code == 1 && full.stdout.contains("quota"), "{full:?}");
    Ok(())
}

/// Each is one sentence that names the place and the remedy. Nothing is written.
pub async fn bad_input_is_reported_in_one_sentence(world: World) -> Result<()> {
    let planner = planner(&world);
    let folder = world.shared.control_plane.folder();
    let write = |name: &str, text: &str| -> Result<String> {
        let file = folder.join(format!("{}-{name}", world.namespace));
        std::fs::write(&file, text)?;
        Ok(file.to_string_lossy().into_owned())
    };
    let with = |change: fn(&mut Value)| {
        let mut manifest = world.manifest();
        change(&mut manifest);
        manifest.to_string()
    };
    let elsewhere = |manifest: &mut Value| manifest["metadata"]["namespace"] = json!("no-such-namespace");
    let no_end = |manifest: &mut Value| _ = manifest["spec"]["accepter"]["vpcId"].take();
    let rows = [
        (write("broken.yaml", "a: [\n")?, "is not valid YAML; correct it", "line 1"),
        (
            write("kind.yaml", "{apiVersion: v1, kind: Pod, metadata: {name: a}}")?,
            "Pod a: plan knows the kinds",
            "remove",
        ),
        (write("type.json", &with(|manifest| manifest["spec"]["suspend"] = json!("no")))?, "spec.suspend", "boolean"),
        (write("field.json", &with(|manifest| manifest["spec"]["suspnd"] = json!(true)))?, "spec.suspnd", "VpcPeering"),
        (write("cel.json", &with(no_end))?, "VpcPeering peering", "vpcId"),
        (write("namespace.json", &with(elsewhere))?, "no-such-namespace", "create the namespace"),
        ("/nonexistent/a.yaml".to_owned(), "cannot read /nonexistent/a.yaml", "No such file"),
        ("team/absent".to_owned(), "team/absent is neither a file nor a VpcPeering", "correct the path or the name"),
    ];
    for (target, place, remedy) in &rows {
        let finished = run(&planner, &["plan", target]).await?;
        let error = &finished.stderr;
        ensure!(finished.code == 1 && finished.stdout.is_empty(), "{target}: {finished:?}");
        ensure!(error.contains(place) && error.contains(remedy) && error.lines().count() == 1, "{target}: {error}");
        let is_named = target.ends_with("absent") || error.contains(target.as_str());
        ensure!(is_named, "{error} does not name {target}");
    }
    let closed = folder.join("closed-kubeconfig");
    std::fs::write(&closed, CLOSED)?;
    let offline = run(&planner, &["plan", "--kubeconfig", &closed.to_string_lossy()]).await?;
    ensure!(offline.code == 1 && offline.stderr.contains("check --kubeconfig and --context"), "{offline:?}");
    let file = write("valid.json", &world.manifest().to_string())?;
    let unreachable = planner.clone().with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let unreachable = run(&unreachable, &["plan", &file]).await?;
    ensure!(unreachable.code == 1 && unreachable.stdout.contains("need a person"), "{unreachable:?}");
    let identity = world
        .apply_identity(OTHER_ACCOUNT, json!({"allowedNamespaces": {"list": [world.namespace]}, "externalId": "wrong"}))
        .await?;
    let mut foreign = world.manifest();
    foreign["spec"]["requester"]["identityRef"] = json!({"name": identity});
    let refused = run(&planner, &["plan", &write("foreign.json", &foreign.to_string())?]).await?;
    ensure!(refused.code == 1 && refused.stdout.contains(&identity), "{refused:?}");
    ensure!(world.api().get_opt(&world.name).await?.is_none() && calls::writes(&world).await?.is_empty());
    // The denied call is expected.
    world.simulator().clear_journal().await
}

/// A kubeconfig file with a server that does not answer.
const CLOSED: &str = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "c",
    "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
    "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}], "users": [{"name": "c", "user": {}}]}"#;
