//! The accepter's end in these tests: a VPC, and the `VpcPeeringAccepter` that decides for it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, VpcPeeringConnection};
use environment::{ec2, eventually};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{AccepterDecision, RequestedConnection, VpcPeeringAccepter};

use crate::world::{OTHER_ACCOUNT, REGION, World, connection_id};

pub const ACCOUNT: &str = "111111111111";

pub const NAME: &str = "accepter";

pub const LIMIT: Duration = Duration::from_secs(60);

/// The end that is asked: a VPC, and the resource that decides for it.
pub struct AccepterEnd {
    /// The environment of the resource.
    pub world: World,
    pub ec2: Ec2,
    pub vpc: String,
    /// The `AwsIdentity`. Without one, the operator uses its own credentials.
    pub identity: Option<String>,
}

impl AccepterEnd {
    /// The accepter's VPC of the test's own account.
    pub fn own(world: &World) -> Self {
        Self { world: world.clone(), ec2: world.ec2.clone(), vpc: world.accepter.clone(), identity: None }
    }

    /// A VPC of another account, with an identity that this namespace may use.
    pub async fn of_another_account(world: &World) -> Result<Self> {
        let (ec2, vpc) = world.another_account().await?;
        let accepter = Self { ec2, vpc, identity: Some(world.namespace.clone()), ..Self::own(world) };
        accepter.allow(json!({"list": [world.namespace]})).await?;
        accepter.enable_dns_hostnames().await?;
        Ok(accepter)
    }

    /// `allowDnsResolutionFromRemoteVpc` needs this in both VPCs.
    pub async fn enable_dns_hostnames(&self) -> Result<()> {
        for (ec2, vpc) in [(&self.world.ec2, &self.world.requester), (&self.ec2, &self.vpc)] {
            let enabled = AttributeBooleanValue::builder().value(true).build();
            ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(enabled).send().await?;
        }
        Ok(())
    }

    /// Sets the namespaces that may use the identity.
    pub async fn allow(&self, namespaces: Value) -> Result<()> {
        let name = self.identity.as_deref().context("the accepter has no identity")?;
        self.world.apply_identity_named(name, OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces})).await
    }

    pub fn api(&self) -> Api<VpcPeeringAccepter> {
        Api::namespaced(self.world.client.clone(), &self.world.namespace)
    }

    pub async fn apply(&self, spec: Value) -> Result<VpcPeeringAccepter> {
        self.apply_as(NAME, spec).await
    }

    pub async fn apply_as(&self, name: &str, spec: Value) -> Result<VpcPeeringAccepter> {
        let mut manifest = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1",
            "kind": "VpcPeeringAccepter",
            "metadata": {"name": name, "namespace": self.world.namespace},
            "spec": {"vpcId": self.vpc, "region": REGION},
        });
        if let Some(identity) = &self.identity {
            manifest["spec"]["identityRef"] = json!({"name": identity});
        }
        for (key, value) in spec.as_object().into_iter().flatten() {
            manifest["spec"][key] = value.clone();
        }
        // `null` removes a field.
        manifest["spec"].as_object_mut().context("no spec")?.retain(|_, value| !value.is_null());
        Ok(self.api().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?)
    }

    pub async fn until(&self, what: &str, is_so: impl Fn(&VpcPeeringAccepter) -> bool) -> Result<VpcPeeringAccepter> {
        self.until_of(NAME, what, is_so).await
    }

    pub async fn until_of(
        &self,
        name: &str,
        what: &str,
        is_so: impl Fn(&VpcPeeringAccepter) -> bool,
    ) -> Result<VpcPeeringAccepter> {
        eventually(what, LIMIT, async || {
            let object = self.api().get(name).await?;
            let is_current =
                object.status.as_ref().and_then(|status| status.observed_generation) == object.metadata.generation;
            ensure!(is_current && is_so(&object), "status is {}", serde_json::to_string_pretty(&object.status)?);
            Ok(object)
        })
        .await
        .map_err(|error| self.world.with_log(error))
    }

    /// Waits until the resource is ready and has accepted this connection.
    pub async fn until_accepted(&self, id: &str) -> Result<VpcPeeringAccepter> {
        self.until("accepted", |object| {
            has_condition(object, "Ready", "True")
                && entry(object, id).is_some_and(|entry| {
                    entry.decision == AccepterDecision::Accepted && entry.code.as_deref() == Some("active")
                })
        })
        .await
    }

    /// Waits until the resource shows this decision and message for a request that is still pending.
    pub async fn until_not_accepted(
        &self,
        id: &str,
        decision: AccepterDecision,
        why: &str,
    ) -> Result<VpcPeeringAccepter> {
        let object = self
            .until(why, |object| {
                entry(object, id).is_some_and(|entry| {
                    entry.decision == decision && entry.message.as_ref().is_some_and(|message| message.contains(why))
                })
            })
            .await?;
        let shown = self.connection(id).await?;
        ensure!(ec2::code(&shown) == "pending-acceptance", "{why}: {shown:?}");
        ensure!(
            has_condition(&object, "Ready", "True"),
            "a pending request must not affect Ready: {:?}",
            object.status
        );
        Ok(object)
    }

    pub async fn delete(&self) -> Result<()> {
        self.api().delete(NAME, &DeleteParams::default()).await?;
        Ok(())
    }

    pub async fn until_gone(&self) -> Result<()> {
        eventually("gone", LIMIT, async || match self.api().get_opt(NAME).await? {
            None => Ok(()),
            Some(object) => bail!("status is {}", serde_json::to_string_pretty(&object.status)?),
        })
        .await
        .map_err(|error| self.world.with_log(error))
    }

    /// The connection, as this end's account shows it.
    pub async fn connection(&self, id: &str) -> Result<VpcPeeringConnection> {
        let answer = self.ec2.describe_vpc_peering_connections().send().await?;
        let mut shown = answer.vpc_peering_connections.unwrap_or_default().into_iter();
        shown.find(|connection| connection.vpc_peering_connection_id() == Some(id)).context("no such connection")
    }

    /// The connection's tags at this end.
    pub async fn tags(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let connection = self.connection(id).await?;
        let tags = connection.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        Ok(tags.collect())
    }

    /// The destinations of this VPC's routes that lead through a peering.
    pub async fn routes(&self) -> Result<Vec<String>> {
        let of_vpc = Filter::builder().name("vpc-id").values(&self.vpc).build();
        let tables = self.ec2.describe_route_tables().filters(of_vpc).send().await?;
        let tables = tables.route_tables.unwrap_or_default();
        let routes = tables.iter().flat_map(|table| table.routes());
        let through_peerings = routes.filter(|route| route.vpc_peering_connection_id().is_some());
        Ok(through_peerings.filter_map(|route| route.destination_cidr_block().map(str::to_owned)).collect())
    }

    pub async fn main_table(&self) -> Result<String> {
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let tables = self.ec2.describe_route_tables().filters(filter("vpc-id", &self.vpc));
        let tables = tables.filters(filter("association.main", "true")).send().await?.route_tables.unwrap_or_default();
        tables.first().and_then(|table| table.route_table_id()).map(str::to_owned).context("no main route table")
    }

    /// Waits until this end has the options, tags and routes of [`everything`].
    pub async fn until_configured(&self, id: &str) -> Result<()> {
        eventually("options, tags and routes", LIMIT, async || {
            let connection = self.connection(id).await?;
            let options = connection.accepter_vpc_info().and_then(|end| end.peering_options());
            let allows = options.and_then(|options| options.allow_dns_resolution_from_remote_vpc());
            ensure!(allows == Some(true), "options: {connection:?}");
            let tags = self.tags(id).await?;
            ensure!(tags.get("Name").is_some_and(|name| name == "payments"), "tags: {tags:?}");
            ensure!(tags.get("vpcpeering.dev/accepter-name").is_some_and(|name| name == NAME), "tags: {tags:?}");
            let routes = self.routes().await?;
            ensure!(routes == ["10.1.0.0/16"], "routes: {routes:?}");
            Ok(())
        })
        .await
        .map_err(|error| self.world.with_log(error))
    }
}

/// An entry of `accept` for every request of an account, with some fields replaced.
pub fn accept_any(account: &str, fields: Value) -> Value {
    let all = json!({"all": true});
    let mut entry = json!({"ownerId": account, "vpcs": all, "regions": all, "cidrBlocks": all});
    for (key, value) in fields.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    entry
}

/// A spec that accepts an account's requests, and sets options, tags and routes.
pub fn everything() -> Value {
    json!({
        "accept": [accept_any(ACCOUNT, json!({}))],
        "options": {"allowDnsResolutionFromRemoteVpc": true},
        "tags": [{"key": "Name", "value": "payments"}],
        "routes": {"routeTables": {"main": true}},
    })
}

pub fn entry<'a>(object: &'a VpcPeeringAccepter, id: &str) -> Option<&'a RequestedConnection> {
    object.status.as_ref()?.connections.iter().find(|entry| entry.vpc_peering_connection_id == id)
}

pub fn condition<'a>(object: &'a VpcPeeringAccepter, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

pub fn has_condition(object: &VpcPeeringAccepter, type_: &str, status: &str) -> bool {
    condition(object, type_).is_some_and(|condition| condition.status == status)
}

pub fn is_stalled(object: &VpcPeeringAccepter, reason: &str) -> bool {
    condition(object, "Stalled").is_some_and(|stalled| stalled.reason == reason)
}

/// Asks for a peering with the accepter's VPC, as anybody may; returns the connection's ID once the accepter can see
/// it.
pub async fn request(world: &World, accepter: &AccepterEnd, vpc: &str) -> Result<String> {
    let request = world.ec2.create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(&accepter.vpc);
    let request = request.set_peer_owner_id(accepter.identity.as_ref().map(|_| OTHER_ACCOUNT.to_owned()));
    let answer = request.send().await?;
    let id = answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id);
    let id = id.context("no ID")?;
    eventually("pending", LIMIT, async || accepter.connection(&id).await).await?;
    Ok(id)
}

/// Requests a peering by a `VpcPeering` that does not accept it.
pub async fn request_by_resource(world: &World, accepter: &AccepterEnd) -> Result<String> {
    let accepter = json!({"vpcId": accepter.vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&world.manifest_with(json!({"accepter": accepter, "acceptance": "Manual"}))).await?;
    // The request may be accepted before a poll sees it as pending.
    let object = world.until("requested", |object| connection_id(object).is_some()).await?;
    object.status.and_then(|status| status.vpc_peering_connection_id).map(String::from).context("no ID")
}
