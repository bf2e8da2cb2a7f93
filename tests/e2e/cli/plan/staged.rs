//! A scene with its VPCs and its resource.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{AttributeBooleanValue, PeeringConnectionOptionsRequest, Tag};
use ec2_simulator::journal::Entry;
use environment::{ec2, eventually};
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{VpcPeering, VpcPeeringAccepter};

use super::calls;
use super::scenes::{Before, Change, End, Kind, Scene};
use crate::accepter::end::{ACCOUNT, accept_any};
use crate::both_ends::BothEnds;
use crate::prefix_lists;
use crate::world::{REGION, World};

pub const LIMIT: Duration = Duration::from_secs(60);

pub struct Staged {
    pub scene: Scene,
    ends: BothEnds,
    /// The connection before the change, if there is one.
    connection: Option<String>,
}

impl Staged {
    pub async fn new(world: &World, scene: Scene) -> Result<Self> {
        let (account, region) = scene.place;
        let mut ends = BothEnds::new(world, scene.name, account, region).await?;
        if scene.before == Before::Overlap {
            ends.accepter_vpc = ec2::create_vpc(&ends.accepter, "10.1.128.0/20").await?;
            ends.manifest["spec"]["accepter"]["vpcId"] = json!(ends.accepter_vpc);
        }
        // The list of the scenes with prefix lists.
        let blocks: &[&str] = &["10.2.0.0/16"];
        prefix_lists::put(world, &[("pl-0000000000000000a", ACCOUNT, REGION, blocks)]).await?;
        if scene.kind == Kind::Accepter {
            ends.manifest["kind"] = json!("VpcPeeringAccepter");
            let mut spec = ends.manifest["spec"]["accepter"].take();
            spec["accept"] = json!([accept_any(ACCOUNT, json!({}))]);
            ends.manifest["spec"] = spec;
        }
        if scene.before != Before::NoDns {
            for (ec2, vpc) in [(&world.ec2, &ends.world.requester), (&ends.accepter, &ends.accepter_vpc)] {
                let on = AttributeBooleanValue::builder().value(true).build();
                ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(on).send().await?;
            }
        }
        let mut staged = Self { scene, ends, connection: None };
        staged.request().await?;
        Ok(staged)
    }

    /// Requests the connection that the scene begins with, if the operator does not.
    async fn request(&mut self) -> Result<()> {
        let is_requested = self.scene.kind == Kind::Accepter && self.scene.before != Before::Nothing;
        if !is_requested && self.scene.before != Before::Foreign {
            return Ok(());
        }
        let (account, region) = self.scene.place;
        let call = self.ends.world.ec2.create_vpc_peering_connection().vpc_id(&self.ends.world.requester);
        let call = call.peer_vpc_id(&self.ends.accepter_vpc).set_peer_owner_id(account.map(str::to_owned));
        let call = call.set_peer_region((region != REGION).then(|| region.to_owned()));
        let created = call.send().await?.vpc_peering_connection;
        let id = created.and_then(|created| created.vpc_peering_connection_id).context("no ID")?;
        self.until_code(&self.ends.accepter, &id, "pending-acceptance").await?;
        if self.scene.before == Before::Foreign {
            self.ends.accepter.accept_vpc_peering_connection().vpc_peering_connection_id(&id).send().await?;
            self.until_code(&self.ends.world.ec2, &id, "active").await?;
            self.ends.manifest["spec"]["vpcPeeringConnectionId"] = json!(id);
        }
        self.connection = Some(id);
        Ok(())
    }

    async fn until_code(&self, ec2: &Ec2, id: &str, code: &str) -> Result<()> {
        eventually(code, LIMIT, async || {
            let answer = ec2.describe_vpc_peering_connections().vpc_peering_connection_ids(id).send().await?;
            let shown = answer.vpc_peering_connections.unwrap_or_default().pop().context("not shown")?;
            ensure!(ec2::code(&shown) == code, "{shown:?}");
            Ok(())
        })
        .await
    }

    fn manifest(&self, spec: &str) -> Result<Value> {
        let mut manifest = self.ends.manifest.clone();
        merge(&mut manifest["spec"], serde_json::from_str(spec)?);
        Ok(manifest)
    }

    fn api(&self) -> Api<DynamicObject> {
        let resource = match self.scene.kind {
            Kind::Peering => ApiResource::erase::<VpcPeering>(&()),
            Kind::Accepter => ApiResource::erase::<VpcPeeringAccepter>(&()),
        };
        Api::namespaced_with(self.ends.world.client.clone(), &self.ends.world.namespace, &resource)
    }

    async fn apply(&self, spec: &str) -> Result<()> {
        let (params, patch) = (PatchParams::apply("test").force(), self.manifest(spec)?);
        self.api().patch(self.scene.name, &params, &Patch::Apply(patch)).await?;
        Ok(())
    }

    pub async fn prepare(&self) -> Result<()> {
        match self.scene.before {
            Before::Spec(spec) | Before::Shows(spec, _) => self.apply(spec).await.context(self.scene.name),
            _ => Ok(()),
        }
    }

    pub async fn until_prepared(&mut self) -> Result<()> {
        let code = match self.scene.before {
            Before::Spec(_) => "active",
            Before::Shows(_, code) => code,
            _ => return Ok(()),
        };
        let object = eventually("prepared", LIMIT, async || {
            let object = self.api().get(self.scene.name).await?;
            ensure!(is_prepared(&object, code), "{}: {}", self.scene.name, object.data["status"]);
            Ok(object)
        })
        .await?;
        let recorded = object.data["status"]["vpcPeeringConnectionId"].as_str().map(str::to_owned);
        self.connection = self.connection.take().or(recorded);
        Ok(())
    }

    /// Makes the change, except for a manifest. Returns the argument of `plan`.
    pub async fn change(&self) -> Result<String> {
        let world = &self.ends.world;
        if let Change::Apply(spec) = self.scene.change {
            let file = world.shared.control_plane.folder().join(format!("{}-plan.json", self.scene.name));
            std::fs::write(&file, self.manifest(spec)?.to_string())?;
            return Ok(file.to_string_lossy().into_owned());
        }
        if self.scene.change == Change::Delete {
            self.api().delete(self.scene.name, &DeleteParams::default()).await?;
        } else {
            self.drift(self.connection.as_deref().context("no connection")?).await.context(self.scene.name)?;
        }
        Ok(self.target())
    }

    async fn drift(&self, id: &str) -> Result<()> {
        let tag = |key: &str| Tag::builder().key(key);
        match self.scene.change {
            Change::Apply(_) | Change::Delete => {}
            Change::RemoveTag(end, key) => {
                self.ec2(end).delete_tags().resources(id).tags(tag(key).build()).send().await?;
            }
            Change::EditTag(end, key) => {
                self.ec2(end).create_tags().resources(id).tags(tag(key).value("drift").build()).send().await?;
            }
            Change::DropRoute(end) => {
                let (vpc, destination) = match end {
                    End::Requester => (&self.ends.world.requester, "10.2.0.0/16"),
                    End::Accepter => (&self.ends.accepter_vpc, "10.1.0.0/16"),
                };
                let table = tables(self.ec2(end), vpc).await?.into_iter().next().context("no table")?;
                let call = self.ec2(end).delete_route().route_table_id(table).destination_cidr_block(destination);
                call.send().await?;
            }
            Change::ClearOption(end) => {
                let off = PeeringConnectionOptionsRequest::builder().allow_dns_resolution_from_remote_vpc(false);
                let call = self.ec2(end).modify_vpc_peering_connection_options().vpc_peering_connection_id(id);
                let call = match end {
                    End::Requester => call.requester_peering_connection_options(off.build()),
                    End::Accepter => call.accepter_peering_connection_options(off.build()),
                };
                call.send().await?;
            }
            Change::DeleteConnection => {
                let ec2 = &self.ends.world.ec2;
                ec2.delete_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                self.until_code(ec2, id, "deleted").await?;
                self.until_code(&self.ends.accepter, id, "deleted").await?;
            }
            Change::Accept => {
                self.ends.accepter.accept_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                self.until_code(&self.ends.world.ec2, id, "active").await?;
            }
            Change::Expire => self.until_code(&self.ends.world.ec2, id, "expired").await?,
            Change::Reject => {
                self.ends.accepter.reject_vpc_peering_connection().vpc_peering_connection_id(id).send().await?;
                self.until_code(&self.ends.world.ec2, id, "rejected").await?;
            }
        }
        Ok(())
    }

    fn ec2(&self, end: End) -> &Ec2 {
        match end {
            End::Requester => &self.ends.world.ec2,
            End::Accepter => &self.ends.accepter,
        }
    }

    /// Applies the manifest that was planned.
    pub async fn carry_out(&self) -> Result<()> {
        match self.scene.change {
            Change::Apply(spec) => self.apply(spec).await.context(self.scene.name),
            _ => Ok(()),
        }
    }

    /// The name of the resource as an argument of `plan`.
    pub fn target(&self) -> String {
        format!("{}/{}", self.ends.world.namespace, self.scene.name)
    }

    pub async fn is_gone(&self) -> Result<bool> {
        Ok(self.api().get_opt(self.scene.name).await?.is_none())
    }

    /// The plan of this resource in a report.
    pub fn find<'a>(&self, report: &'a Value) -> Result<&'a Value> {
        let resources = report["resources"].as_array().context("no resources")?;
        resources.iter().find(|resource| resource["name"] == self.scene.name).context("not planned")
    }

    /// Compares the plan with the journal. Returns the number of calls.
    pub async fn compare(&self, report: &Value, entries: &[Entry]) -> Result<usize> {
        let planned = self.find(report)?;
        ensure!(planned["problems"] == json!([]), "{planned:#}");
        let ids = self.ids().await?;
        let is_ours = |entry: &&Entry| entry.parameters.values().any(|value| ids.contains(value));
        let made: Vec<_> = entries.iter().filter(is_ours).map(calls::made).collect();
        let steps = planned["steps"].as_array().context("no steps")?;
        let steps = steps.iter().filter(|step| step["afterAcceptance"] == false);
        let calls = steps.flat_map(|step| step["calls"].as_array().into_iter().flatten());
        let calls = calls.filter(|call| call["parameters"]["DryRun"] != "true");
        let calls: Vec<_> = calls.map(calls::planned).collect();
        ensure!(made == calls, "planned: {calls:#?}\nmade: {made:#?}\n{}", planned["end"]);
        Ok(made.len())
    }

    /// The IDs that belong to the scene.
    async fn ids(&self) -> Result<BTreeSet<String>> {
        let world = &self.ends.world;
        let mut ids = BTreeSet::from([world.requester.clone(), self.ends.accepter_vpc.clone()]);
        ids.extend(tables(&world.ec2, &world.requester).await?);
        ids.extend(tables(&self.ends.accepter, &self.ends.accepter_vpc).await?);
        let shown = ec2::peerings_of(&world.ec2, &world.requester).await?;
        ids.extend(shown.into_iter().filter_map(|shown| shown.vpc_peering_connection_id));
        Ok(ids)
    }
}

/// Whether the operator is done with the spec, and EC2 shows this code.
fn is_prepared(object: &DynamicObject, code: &str) -> bool {
    let status = &object.data["status"];
    let conditions = status["conditions"].as_array().into_iter().flatten();
    let mut ready = conditions.filter(|condition| condition["type"] == "Ready");
    let is_current = status["observedGeneration"].as_i64() == object.metadata.generation;
    let shown = [&status["status"]["code"], &status["connections"][0]["code"]];
    let is_ready = ready.any(|condition| condition["status"] == "True");
    is_current && shown.iter().any(|shown| *shown == code) && (is_ready || code != "active")
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
