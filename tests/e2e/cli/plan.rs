//! `plan`: the calls that it prints are those that the operator then makes, for many scenes.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{AttributeBooleanValue, PeeringConnectionOptionsRequest, Tag};
use ec2_simulator::iam::{Attachment, Kind};
use ec2_simulator::journal::{Entry, Query};
use environment::{Operator, ec2, eventually};
use futures::future::try_join_all;
use serde_json::{Map, Value, json};

use super::{Finished, run};
use crate::both_ends::BothEnds;
use crate::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, TEST_SESSION, World, connection_id};

const LIMIT: Duration = Duration::from_secs(30);

/// The state before the plan.
#[derive(Clone, Copy, Debug)]
enum Before {
    Nothing,
    /// Active, with this spec.
    Spec(&'static str),
    /// A connection that the operator did not create, and that the spec names.
    Foreign,
    /// The CIDR blocks of the two VPCs overlap.
    Overlap,
}

/// The change that the plan is about.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The manifest with this spec.
    Apply(&'static str),
    Delete,
    RemoveTag(&'static str),
    EditTag(&'static str),
    DropRoute,
    ClearOption,
    DeleteConnection,
}

struct Scene {
    name: &'static str,
    account: Option<&'static str>,
    region: &'static str,
    before: Before,
    change: Change,
    /// The exit code after the operator is done.
    code: i32,
}

const FAR: (Option<&str>, &str) = (Some(OTHER_ACCOUNT), OTHER_REGION);
const NEAR: (Option<&str>, &str) = (None, REGION);
const ROUTES: &str = r#"{"requester": {"routes": {"routeTables": {"main": true}}},
    "accepter": {"routes": {"routeTables": {"all": true}}}}"#;
const TAGS: &str = r#"{"tags": [{"key": "team", "value": "a"}], "accepter": {"tags": [{"key": "end", "value": "b"}]}}"#;
const OPTIONS: &str = r#"{"requester": {"options": {"allowDnsResolutionFromRemoteVpc": true}},
    "accepter": {"options": {"allowDnsResolutionFromRemoteVpc": true}}}"#;
const ALL: &str = r#"{"tags": [{"key": "team", "value": "a"}], "recreateOn": ["Deleted"],
    "requester": {"routes": {"routeTables": {"main": true}}, "options": {"allowDnsResolutionFromRemoteVpc": true}},
    "accepter": {"routes": {"routeTables": {"main": true}}, "options": {"allowDnsResolutionFromRemoteVpc": true},
        "tags": [{"key": "end", "value": "b"}]}}"#;

fn scenes() -> Vec<Scene> {
    use Before::{Foreign, Nothing, Overlap, Spec};
    use Change::{Apply, ClearOption, Delete, DeleteConnection, DropRoute, EditTag, RemoveTag};
    let rows = [
        ("new", NEAR, Nothing, Apply("{}"), 0),
        ("new-two-regions", (None, OTHER_REGION), Nothing, Apply("{}"), 0),
        ("new-two-accounts", (Some(OTHER_ACCOUNT), REGION), Nothing, Apply("{}"), 0),
        ("new-far", FAR, Nothing, Apply("{}"), 0),
        ("new-routes", NEAR, Nothing, Apply(ROUTES), 0),
        ("new-routes-far", FAR, Nothing, Apply(ROUTES), 0),
        ("new-tags", NEAR, Nothing, Apply(TAGS), 0),
        ("new-tags-far", FAR, Nothing, Apply(TAGS), 0),
        ("new-options", NEAR, Nothing, Apply(OPTIONS), 0),
        ("new-options-far", FAR, Nothing, Apply(OPTIONS), 0),
        ("new-all", NEAR, Nothing, Apply(ALL), 0),
        ("new-all-far", FAR, Nothing, Apply(ALL), 0),
        ("new-manual", NEAR, Nothing, Apply(r#"{"acceptance": "Manual"}"#), 0),
        ("new-suspended", NEAR, Nothing, Apply(r#"{"suspend": true}"#), 0),
        ("new-dry-run", NEAR, Nothing, Apply(r#"{"dryRun": true}"#), 0),
        ("observe-nothing", NEAR, Nothing, Apply(r#"{"managementPolicy": "Observe"}"#), 1),
        ("overlap", NEAR, Overlap, Apply(ROUTES), 1),
        ("adopt", NEAR, Foreign, Apply("{}"), 0),
        ("adopt-routes", NEAR, Foreign, Apply(ROUTES), 0),
        ("adopt-tags", NEAR, Foreign, Apply(TAGS), 0),
        ("adopt-dry-run", NEAR, Foreign, Apply(r#"{"dryRun": true}"#), 1),
        ("observe", NEAR, Foreign, Apply(r#"{"managementPolicy": "Observe"}"#), 0),
        ("unchanged", FAR, Spec(ALL), Apply(ALL), 0),
        ("add-routes", FAR, Spec("{}"), Apply(ROUTES), 0),
        ("remove-routes", FAR, Spec(ROUTES), Apply("{}"), 0),
        ("add-tags", FAR, Spec("{}"), Apply(TAGS), 0),
        ("remove-tags", FAR, Spec(TAGS), Apply("{}"), 0),
        ("edit-tag", NEAR, Spec(TAGS), Apply(r#"{"tags": [{"key": "team", "value": "z"}]}"#), 0),
        ("add-options", FAR, Spec("{}"), Apply(OPTIONS), 0),
        ("add-all", NEAR, Spec("{}"), Apply(ALL), 0),
        ("suspended-routes", NEAR, Spec("{}"), Apply(r#"{"suspend": true, "tags": [{"key": "a", "value": "b"}]}"#), 0),
        ("drift-tag", NEAR, Spec(TAGS), RemoveTag("team"), 0),
        ("drift-edited-tag", FAR, Spec(TAGS), EditTag("team"), 0),
        ("drift-owner-tag", FAR, Spec("{}"), RemoveTag("vpcpeering.dev/name"), 0),
        ("drift-route", NEAR, Spec(ROUTES), DropRoute, 0),
        ("drift-route-far", FAR, Spec(ALL), DropRoute, 0),
        ("drift-option", NEAR, Spec(OPTIONS), ClearOption, 0),
        ("drift-option-far", FAR, Spec(ALL), ClearOption, 0),
        ("drift-foreign-tag", NEAR, Spec("{}"), EditTag("other"), 0),
        ("recreate", NEAR, Spec(r#"{"recreateOn": ["Deleted"]}"#), DeleteConnection, 0),
        ("recreate-all", NEAR, Spec(ALL), DeleteConnection, 0),
        ("recreate-all-far", FAR, Spec(ALL), DeleteConnection, 0),
        ("no-recreate", NEAR, Spec("{}"), DeleteConnection, 1),
        ("delete", NEAR, Spec("{}"), Delete, 0),
        ("delete-routes", NEAR, Spec(ROUTES), Delete, 0),
        ("delete-all-far", FAR, Spec(ALL), Delete, 0),
        ("retain", NEAR, Spec(r#"{"deletionPolicy": "Retain"}"#), Delete, 0),
        ("retain-far", FAR, Spec(r#"{"deletionPolicy": "Retain"}"#), Delete, 0),
        ("delete-suspended", NEAR, Spec(r#"{"suspend": false, "acceptance": "Auto"}"#), Delete, 0),
    ];
    let scene = |(name, (account, region), before, change, code)| Scene { name, account, region, before, change, code };
    rows.into_iter().map(scene).collect()
}

/// A scene with its VPCs.
struct Staged {
    scene: Scene,
    ends: BothEnds,
    planned: Value,
    /// The IDs that belong to the scene.
    ids: BTreeSet<String>,
}

impl Staged {
    async fn new(world: &World, scene: Scene) -> Result<Self> {
        let mut ends = BothEnds::new(world, scene.name, scene.account, scene.region).await?;
        if matches!(scene.before, Before::Overlap) {
            let vpc = ec2::create_vpc(&ends.accepter, "10.1.128.0/20").await?;
            ends.manifest["spec"]["accepter"]["vpcId"] = json!(vpc);
            ends.accepter_vpc = vpc;
        }
        for (ec2, vpc) in [(&world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
            let on = AttributeBooleanValue::builder().value(true).build();
            ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await?;
        }
        if matches!(scene.before, Before::Foreign) {
            let create = world.ec2.create_vpc_peering_connection().vpc_id(&ends.world.requester);
            let created = create.peer_vpc_id(&ends.accepter_vpc).send().await?.vpc_peering_connection;
            let id = created.and_then(|created| created.vpc_peering_connection_id).context("no ID")?;
            eventually("acceptable", LIMIT, async || {
                world.ec2.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
                Ok(())
            })
            .await?;
            ends.manifest["spec"]["vpcPeeringConnectionId"] = json!(id);
        }
        Ok(Self { scene, ends, planned: Value::Null, ids: BTreeSet::new() })
    }

    fn manifest(&self, spec: &str) -> Result<Value> {
        let mut manifest = self.ends.manifest.clone();
        merge(&mut manifest["spec"], serde_json::from_str(spec)?);
        Ok(manifest)
    }

    fn target(&self) -> String {
        format!("{}/{}", self.ends.world.namespace, self.scene.name)
    }

    async fn prepare(&self) -> Result<()> {
        let Before::Spec(spec) = self.scene.before else { return Ok(()) };
        self.ends.world.apply(&self.manifest(spec)?).await?;
        Ok(())
    }

    async fn until_prepared(&self) -> Result<()> {
        if matches!(self.scene.before, Before::Spec(_)) {
            self.ends.world.until_ready().await.with_context(|| self.scene.name)?;
        }
        Ok(())
    }

    /// Makes the change, and plans.
    async fn change(&mut self, operator: &Operator) -> Result<()> {
        if let Change::Apply(spec) = self.scene.change {
            let manifest = self.manifest(spec)?;
            let world = &self.ends.world;
            let file = world.shared.control_plane.folder().join(format!("{}-plan.json", self.scene.name));
            std::fs::write(&file, manifest.to_string())?;
            let finished = run(operator, &["plan", "-o", "json", &file.to_string_lossy()]).await?;
            self.planned = self.parse(&finished)?;
            world.apply(&manifest).await?;
            return Ok(());
        }
        let (world, ec2) = (&self.ends.world, &self.ends.world.ec2);
        let object = world.get().await?;
        let id = connection_id(&object).context("no ID")?.to_owned();
        let tag = |key: &str| Tag::builder().key(key);
        match self.scene.change {
            Change::Apply(_) => {}
            Change::Delete => world.delete().await?,
            Change::RemoveTag(key) => {
                ec2.delete_tags().resources(&id).tags(tag(key).build()).send().await?;
            }
            Change::EditTag(key) => {
                ec2.create_tags().resources(&id).tags(tag(key).value("drift").build()).send().await?;
            }
            Change::DropRoute => {
                let table = tables(ec2, &world.requester).await?.into_iter().next().context("no table")?;
                let call = ec2.delete_route().route_table_id(table).destination_cidr_block("10.2.0.0/16");
                call.send().await?;
            }
            Change::ClearOption => {
                let off = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false);
                let call = ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
                call.requester_peering_connection_options(off.build()).send().await?;
            }
            Change::DeleteConnection => {
                ec2.delete_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
                eventually("deleted", LIMIT, async || {
                    let shown = ec2::peerings_of(ec2, &world.requester).await?;
                    ensure!(shown.iter().all(|shown| ec2::code(shown) == "deleted"));
                    Ok(())
                })
                .await?;
            }
        }
        self.planned = self.parse(&run(operator, &["plan", "-o", "json", &self.target()]).await?)?;
        Ok(())
    }

    fn parse(&self, finished: &Finished) -> Result<Value> {
        let json: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
        let stalls = json["resources"][0]["end"]["state"] == "stalled";
        let expected = if stalls { 1 } else { i32::from(json["changes"] == true) * 2 };
        ensure!(finished.code == expected, "{}: exit code {}: {json:#}", self.scene.name, finished.code);
        ensure!(json["resources"][0]["problems"] == json!([]), "{}: {json:#}", self.scene.name);
        Ok(json)
    }

    /// A second plan, after the operator is done.
    async fn until_unchanged(&self, operator: &Operator) -> Result<()> {
        let name = self.scene.name;
        if matches!(self.scene.change, Change::Delete) {
            return self.ends.world.until_gone().await.with_context(|| name);
        }
        eventually("no change", LIMIT, async || {
            let finished = run(operator, &["plan", &self.target()]).await?;
            ensure!(finished.stdout.contains("no change") && finished.code == self.scene.code, "{name}: {finished:?}");
            Ok(())
        })
        .await
    }

    async fn collect_ids(&mut self) -> Result<()> {
        let world = &self.ends.world;
        self.ids.extend([world.requester.clone(), self.ends.accepter_vpc.clone()]);
        self.ids.extend(tables(&world.ec2, &world.requester).await?);
        self.ids.extend(tables(&self.ends.accepter, &self.ends.accepter_vpc).await?);
        let shown = ec2::peerings_of(&world.ec2, &world.requester).await?;
        self.ids.extend(shown.into_iter().filter_map(|shown| shown.vpc_peering_connection_id));
        Ok(())
    }

    /// Compares the plan with the journal.
    fn compare(&self, entries: &[Entry]) -> Result<()> {
        let is_ours = |entry: &&Entry| entry.parameters.values().any(|value| self.ids.contains(value));
        let made: Vec<_> = entries.iter().filter(is_ours).map(made).collect();
        let steps = self.planned["resources"][0]["steps"].as_array().context("no steps")?;
        let steps = steps.iter().filter(|step| step["afterAcceptance"] == false);
        let calls = steps.flat_map(|step| step["calls"].as_array().into_iter().flatten());
        let planned: Vec<_> = calls.filter(|call| call["parameters"]["DryRun"] != "true").map(planned).collect();
        // A connection that is replaced has another ID than the new one.
        let name = self.scene.name;
        ensure!(made == planned, "{name}\nplanned: {planned:#?}\nmade: {made:#?}");
        Ok(())
    }
}

/// The IDs of the route tables of a VPC.
async fn tables(ec2: &Ec2, vpc: &str) -> Result<Vec<String>> {
    let tables = ec2.describe_route_tables().send().await?.route_tables.unwrap_or_default();
    let ours = tables.into_iter().filter(|table| table.vpc_id() == Some(vpc));
    Ok(ours.filter_map(|table| table.route_table_id).collect())
}

/// Merges objects, and replaces everything else.
fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// A text without what EC2 and the API server choose: the ID of a connection and the UID.
fn normal(key: &str, value: &str) -> String {
    if value.starts_with("pcx-") {
        return "pcx".to_owned();
    }
    if key == "vpcpeering.dev/uid" { "uid".to_owned() } else { value.to_owned() }
}

fn planned(call: &Value) -> Value {
    let texts = |field: &str| -> Map<String, Value> {
        let texts = call[field].as_object().into_iter().flatten();
        texts
            .map(|(key, value)| (key.clone(), value.as_str().map_or(Value::Null, |text| json!(normal(key, text)))))
            .collect()
    };
    json!({
        "action": call["action"], "account": call["account"], "region": call["region"],
        "parameters": texts("parameters"), "tags": texts("tags"),
    })
}

fn made(entry: &Entry) -> Value {
    let (mut parameters, mut tags) = (Map::new(), Map::new());
    for (name, value) in &entry.parameters {
        if let Some(tag) = name.strip_suffix(".Key").filter(|name| name.contains("Tag.")) {
            let set = entry.parameters.get(&format!("{tag}.Value"));
            tags.insert(value.clone(), set.map_or(Value::Null, |set| json!(normal(value, set))));
        } else if name == "ResourceId.1" {
            parameters.insert("ResourceId".into(), json!(normal("", value)));
        } else if !name.starts_with("Tag") {
            parameters.insert(name.clone(), json!(normal("", value)));
        }
    }
    json!({
        "action": entry.action, "account": entry.account, "region": entry.region,
        "parameters": parameters, "tags": tags,
    })
}

/// The calls of the operator that changed something.
async fn writes(world: &World) -> Result<Vec<Entry>> {
    let is_write = |entry: &Entry| {
        let reads = ["Describe", "Get", "Assume"];
        let is_test = entry.session.as_ref().is_some_and(|session| session.name == TEST_SESSION);
        !reads.iter().any(|read| entry.action.starts_with(read))
            && !entry.parameters.contains_key("DryRun")
            && entry.access_key_id.as_deref() != Some("test")
            && !is_test
    };
    let entries = world.simulator().journal(&Query::default()).await?.entries;
    Ok(entries.into_iter().filter(is_write).collect())
}

fn planner(world: &World) -> Operator {
    let kubeconfig = world.shared.control_plane.kubeconfig().to_string_lossy().into_owned();
    world.operator.clone().with("KUBECONFIG", &kubeconfig)
}

/// The message of a failed scene. The other scenes go on, so that one run shows all failures.
fn failure(scene: &str, outcome: Result<()>) -> Option<String> {
    outcome.err().map(|error| format!("{scene}: {error:#}"))
}

pub async fn the_operator_makes_the_planned_calls(world: World) -> Result<()> {
    let planner = planner(&world);
    let mut staged = Vec::new();
    for scene in scenes() {
        staged.push(Staged::new(&world, scene).await?);
    }
    let operator = world.operator.start().await?;
    try_join_all(staged.iter().map(Staged::prepare)).await?;
    try_join_all(staged.iter().map(Staged::until_prepared)).await?;
    operator.kill().await?;
    let mut failures = Vec::new();
    for one in &mut staged {
        failures.extend(failure(one.scene.name, one.change(&planner).await));
    }
    world.simulator().clear_journal().await?;
    let operator = world.operator.clone().with_log("second").start().await?;
    for one in &staged {
        failures.extend(failure(one.scene.name, one.until_unchanged(&planner).await));
    }
    operator.kill().await?;
    let entries = writes(&world).await?;
    for one in &mut staged {
        one.collect_ids().await?;
        failures.extend(failure(one.scene.name, one.compare(&entries)));
    }
    ensure!(failures.is_empty(), "{} of {}:\n{}", failures.len(), staged.len(), failures.join("\n"));
    Ok(())
}

pub async fn a_missing_permission_is_planned(world: World) -> Result<()> {
    let planner = planner(&world);
    let file = world.shared.control_plane.folder().join(format!("{}-plan.json", world.namespace));
    std::fs::write(&file, world.manifest().to_string())?;
    let file = file.to_string_lossy();
    let allowed = run(&planner, &["plan", "-o", "markdown", &file]).await?;
    ensure!(allowed.code == 2 && allowed.stdout.contains("`CreateVpcPeeringConnection in "), "{allowed:?}");
    let actions = ["ec2:CreateVpcPeeringConnection"];
    let statement = json!({"Sid": "Deny", "Effect": "Deny", "Action": actions, "Resource": "*"});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let (principal, name, kind) = (world.key().to_owned(), "deny".to_owned(), Kind::Identity);
    world.simulator().attach_policy(&Attachment { principal, name, kind, document }).await?;
    let denied = run(&planner, &["plan", &file]).await?;
    ensure!(denied.code == 1 && denied.stdout.contains("UnauthorizedOperation"), "{denied:?}");
    ensure!(world.api().get_opt(&world.name).await?.is_none(), "plan created the object");
    let absent = run(&planner, &["plan", "team/absent"]).await?;
    ensure!(absent.code == 1 && absent.stderr.contains("there is no VpcPeering team/absent"), "{absent:?}");
    world.simulator().clear_journal().await
}
