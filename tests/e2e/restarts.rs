//! Restarts of the operator.

use std::time::Duration;

use anyhow::{Result, ensure};
use environment::eventually;
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use vpc_peering_operator::api::VpcPeering;

use super::world::{World, connection_id};

/// An admission policy that rejects every status with a connection ID. So the operator can be killed after EC2 has
/// created the peering and before the ID is written.
struct StatusWritesRejected<'a>(&'a World);

impl<'a> StatusWritesRejected<'a> {
    async fn begin(world: &'a World) -> Result<Self> {
        let name = &world.namespace;
        let policy = json!({
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
                    "resourceRules": [{
                        "apiGroups": ["vpcpeering.dev"],
                        "apiVersions": ["*"],
                        "operations": ["UPDATE"],
                        "resources": ["vpcpeerings/status"],
                    }],
                },
                "validations": [{"expression": "!has(object.status.vpcPeeringConnectionId)", "message": "not now"}],
            },
        });
        let binding = json!({"metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"]}});
        create::<ValidatingAdmissionPolicy>(world, policy).await?;
        create::<ValidatingAdmissionPolicyBinding>(world, binding).await?;
        let this = Self(world);
        eventually("the policy is in force", Duration::from_secs(60), async || {
            ensure!(this.record("pcx-00000000", true).await.is_err(), "the policy is not in force");
            Ok(())
        })
        .await?;
        Ok(this)
    }

    async fn end(self) -> Result<()> {
        let (client, name) = (&self.0.client, &self.0.namespace);
        let parameters = DeleteParams::default();
        Api::<ValidatingAdmissionPolicyBinding>::all(client.clone()).delete(name, &parameters).await?;
        Api::<ValidatingAdmissionPolicy>::all(client.clone()).delete(name, &parameters).await?;
        eventually("the policy is out of force", Duration::from_secs(60), async || {
            self.record("pcx-00000000", true).await
        })
        .await
    }

    async fn record(&self, id: &str, dry_run: bool) -> Result<()> {
        let client = self.0.shared.control_plane.admin_as_operator().await?;
        let api = Api::<VpcPeering>::namespaced(client, &self.0.namespace);
        let patch = Patch::Merge(json!({"status": {"vpcPeeringConnectionId": id}}));
        let parameters = PatchParams { dry_run, ..PatchParams::default() };
        api.patch_status(&self.0.name, &parameters, &patch).await?;
        Ok(())
    }
}

async fn create<K>(world: &World, object: Value) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Clone
        + DeserializeOwned
        + serde::Serialize
        + std::fmt::Debug,
{
    Api::<K>::all(world.client.clone()).create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

pub async fn a_crash_between_create_and_status_write_makes_no_second_peering(world: World) -> Result<()> {
    world.apply(&world.manifest()).await?;
    let policy = StatusWritesRejected::begin(&world).await?;
    let operator = world.operator.start().await?;
    eventually("EC2 has the peering", Duration::from_secs(60), async || {
        ensure!(world.peerings().await?.len() == 1, "{}", world.log());
        Ok(())
    })
    .await?;
    operator.kill().await?;
    let left = world.get().await?;
    ensure!(connection_id(&left).is_none(), "the ID was written, so this run tests nothing");
    ensure!(left.status.is_some_and(|status| status.creation_started_at.is_some()), "no intent was recorded");
    policy.end().await?;
    let _operator = world.operator.start().await?;
    let object = world.until_ready().await?;
    let peerings = world.peerings().await?;
    ensure!(peerings.len() == 1, "{peerings:?}");
    ensure!(peerings[0].vpc_peering_connection_id() == connection_id(&object));
    Ok(())
}

pub async fn sigterm_stops_in_time_and_a_restart_finds_the_peering(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    let before = world.until_ready().await?;
    let (status, took) = operator.terminate().await?;
    ensure!(status.success() && took < Duration::from_secs(5), "{status} after {took:?}\n{}", world.log());
    let _operator = world.operator.start().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = world.get().await?;
    ensure!(before.metadata.resource_version == after.metadata.resource_version, "the restart wrote something");
    ensure!(world.peerings().await?.len() == 1);
    world.delete().await?;
    world.until_gone().await
}
