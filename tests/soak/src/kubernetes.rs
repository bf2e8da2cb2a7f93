//! The changes of the test in Kubernetes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::eventually;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::action::Lie;
use crate::aws::FOREIGN_TAG;
use crate::invariants::convergence::unverified_identity;
use crate::invariants::rest::Versions;
use crate::resources::{DOOMED, LEFT, RIGHT, Resource, STRANGER, TEAM_B, TEAM_C, Wish};
use crate::world::{World, role};

/// The finalizer of the test.
const HOLD: &str = "soak.example.com/hold";

/// The kinds of this project.
const KINDS: [&str; 3] = ["VpcPeering", "VpcPeeringAccepter", "AwsIdentity"];

fn api_resource(kind: &str) -> ApiResource {
    let plural = if kind == "AwsIdentity" { "awsidentities".to_owned() } else { format!("{}s", kind.to_lowercase()) };
    ApiResource {
        group: "vpcpeering.dev".into(),
        version: "v1alpha1".into(),
        api_version: "vpcpeering.dev/v1alpha1".into(),
        kind: kind.into(),
        plural,
    }
}

fn api(client: &Client, resource: Resource) -> Api<DynamicObject> {
    Api::namespaced_with(client.clone(), resource.namespace(), &api_resource(resource.kind()))
}

impl World {
    pub async fn create_namespace(&self, name: &str) -> Result<()> {
        let metadata = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        let api = Api::<Namespace>::all(self.admin.clone());
        eventually("the namespace", Duration::from_secs(60), async || {
            if let Some(old) = api.get_opt(name).await? {
                ensure!(old.metadata.deletion_timestamp.is_none(), "{name} is being deleted");
                return Ok(());
            }
            api.create(&PostParams::default(), &namespace).await?;
            Ok(())
        })
        .await
    }

    pub async fn delete_doomed_namespace(&self) -> Result<()> {
        Api::<Namespace>::all(self.admin.clone()).delete(DOOMED, &DeleteParams::default()).await?;
        Ok(())
    }

    /// Applies both identities. `tag` is a session tag that has no effect.
    pub async fn apply_identities(&self, with_team_c: bool, tag: usize) -> Result<()> {
        let api = Api::<DynamicObject>::all_with(self.admin.clone(), &api_resource("AwsIdentity"));
        let mut namespaces = vec![TEAM_B];
        namespaces.extend(with_team_c.then_some(TEAM_C));
        debug_assert!(!namespaces.contains(&STRANGER), "the stranger has no permission");
        for (account, name) in [(LEFT, "left"), (RIGHT, "right")] {
            let all = json!({"all": true});
            let manifest = json!({
                "apiVersion": "vpcpeering.dev/v1alpha1",
                "kind": "AwsIdentity",
                "metadata": {"name": name},
                "spec": {
                    "accountId": account,
                    "roleArn": role(account, name),
                    "sessionTags": [{"key": "soak", "value": tag.to_string()}],
                    "allowedNamespaces": {"list": namespaces},
                    "allowedVpcs": all,
                    "allowedRegions": all,
                    "allowedPeers": all,
                    "allowRoutes": true,
                    "allowOptions": true,
                },
            });
            api.patch(name, &PatchParams::apply("soak").force(), &Patch::Apply(manifest)).await?;
        }
        Ok(())
    }

    /// Applies the manifest of a resource.
    pub async fn apply(&self, resource: Resource, wish: Wish) -> Result<()> {
        let manifest = resource.manifest(wish);
        let parameters = PatchParams::apply("soak").force();
        api(&self.admin, resource).patch(&resource.name(), &parameters, &Patch::Apply(manifest)).await?;
        Ok(())
    }

    pub async fn delete(&self, resource: Resource) -> Result<()> {
        api(&self.admin, resource).delete(&resource.name(), &DeleteParams::default()).await?;
        Ok(())
    }

    async fn merge(&self, resource: Resource, patch: Value) -> Result<()> {
        let api = api(&self.admin, resource);
        api.patch(&resource.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Asks the operator to reconcile, as a person does who reads the condition.
    pub async fn nudge(&self, resource: Resource) -> Result<()> {
        let value = format!("{:.3}", self.now());
        self.merge(resource, json!({"metadata": {"annotations": {"vpcpeering.dev/reconcile-at": value}}})).await
    }

    /// Sets a label and an annotation that nobody reads.
    pub async fn mark(&self, resource: Resource, value: usize) -> Result<()> {
        let value = json!({"soak": value.to_string()});
        self.merge(resource, json!({"metadata": {"labels": value, "annotations": value}})).await
    }

    pub async fn remove_finalizer(&self, resource: Resource) -> Result<()> {
        let api = api(&self.as_operator, resource);
        let patch = json!({"metadata": {"finalizers": null}});
        api.patch(&resource.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// Adds or removes the finalizer of the test. Returns whether that changed the object.
    pub async fn hold(&self, resource: Resource, is_held: bool) -> Result<bool> {
        let api = api(&self.admin, resource);
        let object = api.get(&resource.name()).await?;
        let mut finalizers: Vec<_> = object.finalizers().iter().filter(|name| *name != HOLD).cloned().collect();
        if is_held {
            finalizers.push(HOLD.to_owned());
        }
        if finalizers == object.finalizers() {
            return Ok(false);
        }
        let metadata = json!({"finalizers": finalizers, "resourceVersion": object.resource_version()});
        self.merge(resource, json!({"metadata": metadata})).await?;
        Ok(true)
    }

    pub async fn lie(&self, resource: Resource, lie: Lie) -> Result<()> {
        let status = match lie {
            Lie::Connection(other) => {
                let connection = self.connection(other).await?.context("the other resource has no connection")?;
                json!({"vpcPeeringConnectionId": connection.id, "ownership": "Owned"})
            }
            Lie::Ready => {
                let time = k8s_openapi::jiff::Timestamp::now().to_string();
                let time = format!("{}Z", &time[..19]);
                json!({"conditions": [{
                    "type": "Ready", "status": "True", "reason": "Active", "message": "false",
                    "lastTransitionTime": time,
                }]})
            }
            Lie::Routes(other) => json!({"routes": [{
                "side": "Requester",
                "routeTableId": other.home().table,
                "destinationCidrBlock": format!("172.16.{}.0/24", other.0 % 256),
                "vpcPeeringConnectionId": "pcx-0123456789abcdef0",
            }]}),
            Lie::Tags => json!({
                "managedTags": [{"key": FOREIGN_TAG, "value": "ours"}],
                "managedTagKeys": [FOREIGN_TAG],
            }),
            Lie::Nothing => Value::Null,
        };
        self.patch_status(resource, json!({"status": status})).await
    }

    /// Removes a false connection ID from the status, as a person does who reads `ConnectionMismatch`.
    pub async fn repair_connection_id(&self, resource: Resource) -> Result<()> {
        self.patch_status(resource, json!({"status": {"vpcPeeringConnectionId": null}})).await
    }

    async fn patch_status(&self, resource: Resource, patch: Value) -> Result<()> {
        let api = api(&self.as_operator, resource);
        api.patch_status(&resource.name(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    /// All objects of one kind, by namespace and name.
    async fn objects_of(&self, kind: &str) -> Result<Vec<DynamicObject>> {
        let api = Api::<DynamicObject>::all_with(self.admin.clone(), &api_resource(kind));
        Ok(api.list(&ListParams::default()).await?.items)
    }

    /// The resources that exist, by their names.
    pub async fn objects(&self) -> Result<BTreeMap<String, Value>> {
        let mut objects = BTreeMap::new();
        for kind in &KINDS[..2] {
            for object in self.objects_of(kind).await? {
                objects.insert(object.name_any(), serde_json::to_value(&object)?);
            }
        }
        Ok(objects)
    }

    /// The identities that the operator has not verified since the last fault, with their conditions. It checks each again
    /// within a minute.
    pub async fn unverified_identities(&self) -> Result<Vec<(String, String)>> {
        let mut unverified = Vec::new();
        for object in self.objects_of("AwsIdentity").await? {
            let name = object.name_any();
            unverified.extend(unverified_identity(&serde_json::to_value(&object)?).map(|ready| (name, ready)));
        }
        Ok(unverified)
    }

    /// The resource version of every object of this project.
    pub async fn versions(&self) -> Result<Versions> {
        let mut versions = Versions::new();
        for kind in KINDS {
            for object in self.objects_of(kind).await? {
                let name = format!("{kind}/{}/{}", object.namespace().unwrap_or_default(), object.name_any());
                versions.insert(name, object.resource_version().unwrap_or_default());
            }
        }
        Ok(versions)
    }
}

/// Whether an object has the finalizer of the test.
pub fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|all| all.iter().any(|name| name == HOLD))
}
