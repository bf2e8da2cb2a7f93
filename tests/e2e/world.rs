//! What a test has to itself: a namespace, two VPCs, and an operator that looks after that namespace alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::VpcPeeringConnection;
use environment::{Operator, ec2, eventually};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::Shared;

pub const REGION: &str = "eu-central-1";

/// Long enough on a slow and busy machine; a test that passes never waits for it.
const LIMIT: Duration = Duration::from_secs(60);

pub struct World {
    pub shared: Arc<Shared>,
    pub client: Client,
    pub namespace: String,
    pub ec2: Ec2,
    pub requester: String,
    pub accepter: String,
    /// Not started yet.
    pub operator: Operator,
}

impl World {
    pub async fn new(shared: Arc<Shared>, test: &str) -> Result<Self> {
        let client = shared.control_plane.admin().await?;
        let short = test.rsplit("::").next().unwrap_or_default().replace('_', "-");
        let namespace: String = short.chars().take(60).collect::<String>().trim_end_matches('-').to_owned();
        let object = Namespace {
            metadata: ObjectMeta { name: Some(namespace.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        Api::all(client.clone()).create(&PostParams::default(), &object).await?;
        let ec2 = ec2::client(&shared.moto.url, REGION);
        let requester = ec2::create_vpc(&ec2, "10.1.0.0/16").await?;
        let accepter = ec2::create_vpc(&ec2, "10.2.0.0/16").await?;
        let program = Path::new(env!("CARGO_BIN_EXE_vpc-peering-operator"));
        let log = format!("{namespace}.log");
        let operator = Operator::new(program, &shared.control_plane, &shared.moto.url, &log)
            .await?
            .with("WATCH_NAMESPACE", &namespace)
            .with("POLL_INTERVAL", "500ms")
            .with("CONSISTENCY_WINDOW", "2s")
            .with("LOG_LEVEL", "info,vpc_peering_operator=debug");
        Ok(Self { shared, client, namespace, ec2, requester, accepter, operator })
    }

    /// A resource for the test's two VPCs.
    pub fn manifest(&self) -> Value {
        json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeering",
            "metadata": {"name": "peering", "namespace": self.namespace},
            "spec": {
                "requester": {"vpcId": self.requester, "region": REGION},
                "accepter": {"vpcId": self.accepter},
            },
        })
    }

    /// The same with other fields in its spec.
    pub fn manifest_with(&self, spec: Value) -> Value {
        let mut manifest = self.manifest();
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        manifest
    }

    pub fn api(&self) -> Api<VpcPeering> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Applies a manifest as GitOps tools do. Sent as it is, so that no type of ours stands between.
    pub async fn apply(&self, manifest: &Value) -> Result<VpcPeering, kube::Error> {
        self.api().patch("peering", &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await
    }

    pub async fn get(&self) -> Result<VpcPeering> {
        Ok(self.api().get("peering").await?)
    }

    pub async fn delete(&self) -> Result<()> {
        self.api().delete("peering", &DeleteParams::default()).await?;
        Ok(())
    }

    /// The resource, once it is as described.
    pub async fn until(&self, what: &str, is_so: impl Fn(&VpcPeering) -> bool) -> Result<VpcPeering> {
        eventually(what, LIMIT, async || {
            let object = self.get().await?;
            ensure!(is_so(&object), "status is {}", serde_json::to_string_pretty(&object.status)?);
            Ok(object)
        })
        .await
        .with_context(|| self.log())
    }

    pub async fn until_ready(&self) -> Result<VpcPeering> {
        self.until("ready", |object| condition(object, "Ready").is_some_and(|ready| ready.status == "True")).await
    }

    /// The resource, once it is stalled for this reason.
    pub async fn until_stalled(&self, reason: &str) -> Result<VpcPeering> {
        let is_so = |object: &VpcPeering| condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason);
        let object = self.until(&format!("stalled: {reason}"), is_so).await?;
        let ready = condition(&object, "Ready").context("no condition Ready")?;
        ensure!(ready.status == "False" && ready.reason == reason, "Ready is {ready:?}");
        ensure!(condition(&object, "Reconciling").is_none(), "both Stalled and Reconciling");
        Ok(object)
    }

    pub async fn until_gone(&self) -> Result<()> {
        eventually("gone", LIMIT, async || match self.api().get_opt("peering").await? {
            None => Ok(()),
            Some(object) => bail!("status is {}", serde_json::to_string_pretty(&object.status)?),
        })
        .await
        .with_context(|| self.log())
    }

    /// Every connection that EC2 shows for the test's VPCs, in either direction.
    pub async fn peerings(&self) -> Result<Vec<VpcPeeringConnection>> {
        let mut peerings = ec2::peerings_of(&self.ec2, &self.requester).await?;
        peerings.extend(ec2::peerings_of(&self.ec2, &self.accepter).await?);
        Ok(peerings)
    }

    /// The reasons of the Events on the resource, oldest first.
    pub async fn events(&self) -> Result<Vec<String>> {
        let events =
            Api::<Event>::namespaced(self.client.clone(), &self.namespace).list(&ListParams::default()).await?;
        let mut events = events.items;
        events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
        Ok(events.into_iter().filter_map(|event| event.reason).collect())
    }

    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(&self.operator.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        format!("the operator's log ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }
}

pub fn condition<'a>(object: &'a VpcPeering, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

pub fn connection_id(object: &VpcPeering) -> Option<&str> {
    object.status.as_ref()?.vpc_peering_connection_id.as_deref()
}

pub fn status_code(object: &VpcPeering) -> Option<&str> {
    Some(object.status.as_ref()?.status.as_ref()?.code.as_str())
}
