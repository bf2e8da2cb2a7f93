//! `trace`: one planted fault in each scene, under the policy in `deploy/iam/trace.json` alone.

mod scenes;

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use ec2_simulator::{Client, Fault, Kind, Scene as Resources};
use environment::Operator;
use serde_json::{Value, json};

use self::scenes::{CLIENT, SCENES, SERVER, Scene};
use super::{Finished, run};
use crate::both_ends::BothEnds;
use crate::world::{OTHER_ACCOUNT, REGION, World, connection_id};

/// A ready peering with a client and a server, and the environment of `trace`.
struct Traced {
    ends: BothEnds,
    operator: Operator,
    /// The resources of the simulator without a fault.
    base: Value,
    connection: String,
    role: String,
}

impl Traced {
    /// The operator makes the peering ready and stops. Then only `trace.json` is attached to the credentials.
    async fn start(world: &World) -> Result<Self> {
        let operator = world.operator.start().await?;
        let mut ends = BothEnds::new(world, "peering", Some(OTHER_ACCOUNT), REGION).await?;
        for end in ["requester", "accepter"] {
            ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
        }
        ends.manifest["spec"]["requester"]["options"] = json!({"allowDnsResolutionFromRemoteVpc": true});
        for (ec2, vpc) in [(&ends.world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
            let on = aws_sdk_ec2::types::AttributeBooleanValue::builder().value(true).build();
            ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await?;
        }
        ends.apply().await?;
        let object = ends.world.until_ready().await?;
        let connection = connection_id(&object).context("no ID")?.to_owned();
        operator.terminate().await?;

        let simulator = world.simulator();
        let key = simulator.create_key("111111111111").await?.access_key_id;
        let role = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/peering/{}", world.namespace);
        world.policies.bind_trace_key(simulator, &key).await?;
        world.policies.bind_trace_role(simulator, &role).await?;
        let parts = scenes::parts(&ends.world.requester, &ends.accepter_vpc);
        simulator.add(&serde_json::from_value(parts)?).await?;
        let base = resources(simulator).await?;
        let kubeconfig = world.shared.control_plane.kubeconfig().to_string_lossy().into_owned();
        let operator = world.operator.clone().with("KUBECONFIG", &kubeconfig).with("AWS_ACCESS_KEY_ID", &key);
        Ok(Self { ends, operator, base, connection, role })
    }

    fn simulator(&self) -> &Client {
        self.ends.world.simulator()
    }

    async fn trace(&self, name: &str, arguments: &[&str]) -> Result<Finished> {
        let resource = format!("{}/{name}", self.ends.world.namespace);
        run(&self.operator, &[&["trace", resource.as_str()], arguments].concat()).await
    }

    /// Runs a scene, and compares the failed lines with the planted fault.
    async fn check(&self, scene: &Scene) -> Result<()> {
        let mut changed = self.base.clone();
        (scene.plant)(
            &mut changed,
            &scenes::Ids {
                requester: &self.ends.world.requester,
                accepter: &self.ends.accepter_vpc,
                connection: &self.connection,
            },
        );
        self.simulator().add(&serde_json::from_value(changed)?).await?;
        let flow = ["--from", scene.from, "--to", scene.to, "--output", "json"];
        let finished = self.trace("peering", if scene.from.is_empty() { &flow[4..] } else { &flow }).await?;
        self.simulator().add(&serde_json::from_value(self.base.clone())?).await?;
        judge(&finished, scene.failed)
    }
}

/// The resources of the simulator, without its settings, keys and roles.
async fn resources(simulator: &Client) -> Result<Value> {
    let scene: Resources = simulator.save().await?;
    let mut scene = serde_json::to_value(scene)?;
    let kinds = [
        "vpcs",
        "subnets",
        "route_tables",
        "network_acls",
        "security_groups",
        "network_interfaces",
        "prefix_lists",
        "peerings",
    ];
    scene.as_object_mut().context("no object")?.retain(|name, _| kinds.contains(&name.as_str()));
    Ok(scene)
}

/// Fails unless exactly these lines failed: `CHECK END` and a part of the message. Each has a remedy.
fn judge(finished: &Finished, expected: &[(&str, &str)]) -> Result<()> {
    ensure!(finished.stderr.is_empty(), "{finished:?}");
    ensure!(finished.code == i32::from(!expected.is_empty()), "{finished:?}");
    let report: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
    ensure!(report["ok"] == expected.is_empty(), "{report:#}");
    let text = |line: &Value, field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let lines: Vec<_> = report["lines"].as_array().into_iter().flatten().collect();
    let failed: Vec<_> = lines.iter().filter(|line| line["verdict"] == "fail").collect();
    let name = |line: &Value| format!("{} {}", text(line, "check"), text(line, "end")).trim().to_lowercase();
    let found: BTreeSet<_> = failed.iter().map(|line| name(line)).collect();
    let names: BTreeSet<_> = expected.iter().map(|(name, _)| (*name).to_owned()).collect();
    ensure!(found == names, "expected {names:?}: {report:#}");
    for (wanted, message) in expected {
        let mut of_name = failed.iter().filter(|line| name(line) == *wanted);
        ensure!(of_name.any(|line| text(line, "message").contains(message)), "no {message:?} in {report:#}");
    }
    ensure!(failed.iter().all(|line| !text(line, "remedy").is_empty()), "a line has no remedy: {report:#}");
    // One screen.
    ensure!(lines.len() <= 24, "{report:#}");
    Ok(())
}

pub async fn the_planted_fault_of_each_scene_is_found(world: World) -> Result<()> {
    let traced = Traced::start(&world).await?;
    for scene in SCENES {
        traced.check(scene).await.with_context(|| scene.name.to_owned())?;
    }
    missing_permissions_are_listed(&traced).await?;
    the_resource_and_its_identities_are_judged(&traced).await?;
    every_format_has_the_same_lines(&traced).await?;
    bad_input_is_one_sentence(&traced).await?;
    unreachable_ends_are_named(&traced).await
}

const FLOW: [&str; 6] = ["--from", CLIENT, "--to", "10.2.0.5:443", "--output", "json"];

/// The journal must show no denied call of the role, so that faults deny these calls.
async fn missing_permissions_are_listed(traced: &Traced) -> Result<()> {
    let denied = || Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: Some(403) };
    let deny =
        async |action: &str| traced.simulator().add_fault(&Fault::new(denied()).on(action).by(&traced.role)).await;
    for (actions, message) in [
        (&["DescribeNetworkAcls"][..], "may not call ec2:DescribeNetworkAcls"),
        (
            &["DescribeSubnets", "DescribeSecurityGroups"],
            "may not call ec2:DescribeSecurityGroups, ec2:DescribeSubnets",
        ),
        (&["GetManagedPrefixListEntries"], "may not call ec2:GetManagedPrefixListEntries"),
        (&["Describe*"], "ec2:DescribeSecurityGroups, ec2:DescribeSubnets, ec2:DescribeVpcAttribute"),
    ] {
        for action in actions {
            deny(action).await?;
        }
        let finished = traced.trace("peering", &FLOW).await?;
        traced.simulator().clear_faults().await?;
        judge(&finished, &[("permissions accepter", message)]).with_context(|| format!("{actions:?}"))?;
        ensure!(finished.stdout.contains("deploy/iam/trace.json"), "{finished:?}");
    }
    let refused = Kind::Error { code: "AccessDenied".into(), message: Some("not trusted".into()), status: Some(403) };
    traced.simulator().add_fault(&Fault::new(refused).on("AssumeRole")).await?;
    let finished = traced.trace("peering", &FLOW).await?;
    traced.simulator().clear_faults().await?;
    judge(&finished, &[("identity accepter", "AccessDenied: not trusted")])
}

async fn the_resource_and_its_identities_are_judged(traced: &Traced) -> Result<()> {
    let world = &traced.ends.world;
    let allow = |namespace: &str| json!({"allowedNamespaces": {"list": [namespace]}});
    world
        .apply_identity_named(&format!("{}-{OTHER_ACCOUNT}", world.namespace), OTHER_ACCOUNT, allow("another"))
        .await?;
    let finished = traced.trace("peering", &FLOW).await?;
    judge(&finished, &[("identity accepter", "does not allow the namespace")])?;
    world
        .apply_identity_named(&format!("{}-{OTHER_ACCOUNT}", world.namespace), OTHER_ACCOUNT, allow(&world.namespace))
        .await?;
    world.policies.bind_trace_role(world.simulator(), &traced.role).await?;

    // No operator reconciles these, so that their line on the resource fails, too.
    let other = world.with_name("wrong-account");
    let mut manifest = traced.ends.manifest.clone();
    manifest["metadata"]["name"] = json!("wrong-account");
    manifest["spec"]["accepter"]["ownerId"] = json!("333333333333");
    other.apply(&manifest).await?;
    let unreconciled = ("resource", "has not reconciled generation 1");
    let unsent = ("request", "has sent no request");
    let finished = traced.trace("wrong-account", &["--output", "json"]).await?;
    judge(&finished, &[unreconciled, unsent, ("identity", "spec.accepter.ownerId is 333333333333")])?;

    let other = world.with_name("wrong-vpc");
    let mut manifest = traced.ends.manifest.clone();
    manifest["metadata"]["name"] = json!("wrong-vpc");
    manifest["spec"]["accepter"]["vpcId"] = json!("vpc-0123456789abcdef0");
    other.apply(&manifest).await?;
    let finished = traced.trace("wrong-vpc", &["--output", "json"]).await?;
    let unknown = ("vpc accepter", "EC2 shows no vpc-0123456789abcdef0 in eu-central-1 of account 222222222222");
    judge(&finished, &[unreconciled, unsent, unknown])?;

    world.patch(json!({"spec": {"suspend": true}})).await?;
    let finished = traced.trace("peering", &FLOW).await?;
    judge(&finished, &[("resource", "spec.suspend stops all writes")])
}

async fn every_format_has_the_same_lines(traced: &Traced) -> Result<()> {
    for (format, start) in [
        ("text", "✗ resource: "),
        ("yaml", "resource: "),
        ("markdown", "| ✗ | resource | "),
        ("json", "\"resource\": "),
    ] {
        let finished = traced.trace("peering", &["--from", CLIENT, "--to", SERVER, "--output", format]).await?;
        ensure!(finished.code == 1 && finished.stderr.is_empty(), "{format}: {finished:?}");
        for text in [start, "spec.suspend", &traced.connection, "10.2.0.5"] {
            ensure!(finished.stdout.contains(text), "{format}: no {text}: {}", finished.stdout);
        }
        ensure!(!finished.stdout.contains('\u{1b}'), "{format}: colours in a pipe");
    }
    Ok(())
}

async fn bad_input_is_one_sentence(traced: &Traced) -> Result<()> {
    let nowhere = traced.ends.world.shared.control_plane.folder().join("no-such-kubeconfig");
    let nowhere = nowhere.to_string_lossy();
    for (name, arguments, code, message) in [
        ("no-such-resource", &[][..], 1, "there is no VpcPeering no-such-resource in the namespace"),
        ("peering", &["--from", "10.1.0", "--to", SERVER], 1, "--from is not an IP address"),
        ("peering", &["--from", CLIENT, "--to", "server"], 1, "--to \"server\" is neither"),
        ("peering", &["--from", CLIENT, "--to", "10.9.0.5"], 1, "--to 10.9.0.5 is in neither VPC"),
        ("peering", &["--from", CLIENT, "--to", "10.1.0.6"], 1, "are in one VPC"),
        ("peering", &["--protocol", "icmp", "--from", CLIENT, "--to", "10.2.0.5:80"], 1, "icmp has no ports"),
        ("peering", &["--context", "no-such-context"], 1, "no-such-context"),
        ("peering", &["--kubeconfig", &nowhere], 1, "--kubeconfig: cannot read"),
        ("", &[], 1, "write NAMESPACE/NAME"),
        ("peering", &["--from", CLIENT], 2, "--to"),
    ] {
        let failed = traced.trace(name, arguments).await?;
        ensure!(failed.code == code && failed.stdout.is_empty(), "{arguments:?}: {failed:?}");
        ensure!(failed.stderr.contains(message), "{arguments:?}: {failed:?}");
        ensure!(code == 2 || failed.stderr.trim().lines().count() == 1, "{arguments:?}: {failed:?}");
    }
    Ok(())
}

async fn unreachable_ends_are_named(traced: &Traced) -> Result<()> {
    let world = &traced.ends.world;
    // No server listens there.
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "a", "user": {}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    });
    let file = world.shared.control_plane.folder().join(format!("{}-unreachable", world.namespace));
    std::fs::write(&file, config.to_string())?;
    let failed = traced.trace("peering", &["--kubeconfig", &file.to_string_lossy()]).await?;
    ensure!(failed.code == 1 && failed.stderr.trim().lines().count() == 1, "{failed:?}");
    ensure!(failed.stderr.contains("cannot read the VpcPeering") && failed.stderr.contains("--context"), "{failed:?}");

    let operator = traced.operator.clone().with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let resource = format!("{}/peering", world.namespace);
    let finished = run(&operator, &[&["trace", resource.as_str()], &FLOW[..]].concat()).await?;
    let unreachable = "cannot be reached";
    judge(
        &finished,
        &[("resource", "spec.suspend"), ("identity requester", unreachable), ("identity accepter", unreachable)],
    )
}
