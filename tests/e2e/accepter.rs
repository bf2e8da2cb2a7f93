//! The other half: a `VpcPeeringAccepter` accepts whom it names and nobody else, keeps its end, and leaves no trace but
//! the connections.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_ec2::Client as Ec2;
use aws_sdk_ec2::types::{AttributeBooleanValue, Filter, Tag, VpcPeeringConnection};
use ec2_simulator::Kind;
use ec2_simulator::journal::Query;
use environment::{Interceptor, Moment, Tripwire, ec2, eventually};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Api;
use kube::api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{AccepterDecision, RequestedConnection, VpcPeeringAccepter};

use super::world::{Cloud, OTHER_ACCOUNT, REGION, World, connection_id};

const ACCOUNT: &str = "111111111111";
const NAME: &str = "accepter";
const LIMIT: Duration = Duration::from_secs(60);

/// The end that is asked: a VPC, and the resource that decides for it.
struct Half {
    /// Where its resource is.
    world: World,
    ec2: Ec2,
    vpc: String,
    /// The `AwsIdentity`, if it does not act by the operator's own credentials.
    identity: Option<String>,
}

impl Half {
    /// The accepter's VPC of the test's own account.
    fn own(world: &World) -> Self {
        Self { world: world.clone(), ec2: world.ec2.clone(), vpc: world.accepter.clone(), identity: None }
    }

    /// A VPC of another account, which this namespace may act for by an identity.
    async fn of_another_account(world: &World) -> Result<Self> {
        let (ec2, vpc) = world.another_account().await?;
        let half = Self { ec2, vpc, identity: Some(world.namespace.clone()), ..Self::own(world) };
        half.allow(json!({"list": [world.namespace]})).await?;
        half.enable_dns_hostnames().await?;
        Ok(half)
    }

    /// What `allowDnsResolutionFromRemoteVpc` asks of both VPCs.
    async fn enable_dns_hostnames(&self) -> Result<()> {
        for (ec2, vpc) in [(&self.world.ec2, &self.world.requester), (&self.ec2, &self.vpc)] {
            let enabled = AttributeBooleanValue::builder().value(true).build();
            ec2.modify_vpc_attribute().vpc_id(vpc).enable_dns_hostnames(enabled).send().await?;
        }
        Ok(())
    }

    /// Says which namespaces may use the identity.
    async fn allow(&self, namespaces: Value) -> Result<()> {
        let name = self.identity.as_deref().context("it has no identity")?;
        self.world.identity_named(name, OTHER_ACCOUNT, json!({"allowedNamespaces": namespaces})).await
    }

    fn api(&self) -> Api<VpcPeeringAccepter> {
        Api::namespaced(self.world.client.clone(), &self.world.namespace)
    }

    async fn apply(&self, spec: Value) -> Result<VpcPeeringAccepter> {
        self.apply_as(NAME, spec).await
    }

    async fn apply_as(&self, name: &str, spec: Value) -> Result<VpcPeeringAccepter> {
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
        Ok(self.api().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(manifest)).await?)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&VpcPeeringAccepter) -> bool) -> Result<VpcPeeringAccepter> {
        self.until_of(NAME, what, is_so).await
    }

    async fn until_of(
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
        .with_context(|| self.world.log())
    }

    /// The resource, once it is ready and has accepted this connection.
    async fn until_accepted(&self, id: &str) -> Result<VpcPeeringAccepter> {
        self.until("accepted", |object| {
            is(object, "Ready", "True")
                && entry(object, id).is_some_and(|entry| {
                    entry.decision == AccepterDecision::Accepted && entry.code.as_deref() == Some("active")
                })
        })
        .await
    }

    /// The resource, once it says so of this request, which still waits.
    async fn until_left(&self, id: &str, decision: AccepterDecision, why: &str) -> Result<VpcPeeringAccepter> {
        let object = self
            .until(why, |object| {
                entry(object, id).is_some_and(|entry| {
                    entry.decision == decision && entry.message.as_ref().is_some_and(|message| message.contains(why))
                })
            })
            .await?;
        let shown = self.connection(id).await?;
        ensure!(ec2::code(&shown) == "pending-acceptance", "{why}: {shown:?}");
        ensure!(is(&object, "Ready", "True"), "a request that waits is no trouble: {:?}", object.status);
        Ok(object)
    }

    async fn delete(&self) -> Result<()> {
        self.api().delete(NAME, &DeleteParams::default()).await?;
        Ok(())
    }

    async fn until_gone(&self) -> Result<()> {
        eventually("gone", LIMIT, async || match self.api().get_opt(NAME).await? {
            None => Ok(()),
            Some(object) => bail!("status is {}", serde_json::to_string_pretty(&object.status)?),
        })
        .await
        .with_context(|| self.world.log())
    }

    /// The connection, as this end's account shows it.
    async fn connection(&self, id: &str) -> Result<VpcPeeringConnection> {
        let answer = self.ec2.describe_vpc_peering_connections().send().await?;
        let mut shown = answer.vpc_peering_connections.unwrap_or_default().into_iter();
        shown.find(|connection| connection.vpc_peering_connection_id() == Some(id)).context("no such connection")
    }

    /// The connection's tags at this end.
    async fn tags(&self, id: &str) -> Result<BTreeMap<String, String>> {
        let connection = self.connection(id).await?;
        let tags = connection.tags().iter().filter_map(|tag| Some((tag.key()?.to_owned(), tag.value()?.to_owned())));
        Ok(tags.collect())
    }

    /// The destinations of this VPC's routes that lead through a peering.
    async fn routes(&self) -> Result<Vec<String>> {
        let of_vpc = Filter::builder().name("vpc-id").values(&self.vpc).build();
        let tables = self.ec2.describe_route_tables().filters(of_vpc).send().await?;
        let tables = tables.route_tables.unwrap_or_default();
        let routes = tables.iter().flat_map(|table| table.routes());
        let through_peerings = routes.filter(|route| route.vpc_peering_connection_id().is_some());
        Ok(through_peerings.filter_map(|route| route.destination_cidr_block().map(str::to_owned)).collect())
    }

    async fn main_table(&self) -> Result<String> {
        let filter = |name: &str, value: &str| Filter::builder().name(name).values(value).build();
        let tables = self.ec2.describe_route_tables().filters(filter("vpc-id", &self.vpc));
        let tables = tables.filters(filter("association.main", "true")).send().await?.route_tables.unwrap_or_default();
        tables.first().and_then(|table| table.route_table_id()).map(str::to_owned).context("no main route table")
    }

    /// Waits until this end is as `spec` of [`everything`] wants it.
    async fn until_kept(&self, id: &str) -> Result<()> {
        eventually("kept", LIMIT, async || {
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
        .with_context(|| self.world.log())
    }
}

/// An entry of `accept` that lets every request of an account in, with these fields instead.
fn any_of(account: &str, fields: Value) -> Value {
    let all = json!({"all": true});
    let mut entry = json!({"ownerId": account, "vpcs": all, "regions": all, "cidrBlocks": all});
    for (key, value) in fields.as_object().into_iter().flatten() {
        entry[key] = value.clone();
    }
    entry
}

/// Everything that an accepter may keep, of one account.
fn everything() -> Value {
    json!({
        "accept": [any_of(ACCOUNT, json!({}))],
        "options": {"allowDnsResolutionFromRemoteVpc": true},
        "tags": [{"key": "Name", "value": "payments"}],
        "routes": {"routeTables": {"main": true}},
    })
}

fn entry<'a>(object: &'a VpcPeeringAccepter, id: &str) -> Option<&'a RequestedConnection> {
    object.status.as_ref()?.connections.iter().find(|entry| entry.vpc_peering_connection_id == id)
}

fn of<'a>(object: &'a VpcPeeringAccepter, type_: &str) -> Option<&'a Condition> {
    object.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == type_)
}

fn is(object: &VpcPeeringAccepter, type_: &str, status: &str) -> bool {
    of(object, type_).is_some_and(|condition| condition.status == status)
}

fn is_stalled(object: &VpcPeeringAccepter, reason: &str) -> bool {
    of(object, "Stalled").is_some_and(|stalled| stalled.reason == reason)
}

/// Asks for a peering with the half's VPC, as anybody may; returns the connection's ID once the half can see it.
async fn request(world: &World, half: &Half, vpc: &str) -> Result<String> {
    let request = world.ec2.create_vpc_peering_connection().vpc_id(vpc).peer_vpc_id(&half.vpc);
    let request = request.set_peer_owner_id(half.identity.as_ref().map(|_| OTHER_ACCOUNT.to_owned()));
    let answer = request.send().await?;
    let id = answer.vpc_peering_connection.and_then(|connection| connection.vpc_peering_connection_id);
    let id = id.context("no ID")?;
    eventually("pending", LIMIT, async || half.connection(&id).await).await?;
    Ok(id)
}

/// The `VpcPeering` that asks for it.
async fn ask(world: &World, half: &Half) -> Result<String> {
    let accepter = json!({"vpcId": half.vpc, "ownerId": OTHER_ACCOUNT});
    world.apply(&world.manifest_with(json!({"accepter": accepter, "acceptance": "Manual"}))).await?;
    // It may be accepted before anybody has seen it wait.
    let object = world.until("requested", |object| connection_id(object).is_some()).await?;
    object.status.and_then(|status| status.vpc_peering_connection_id).map(String::from).context("no ID")
}

/// On any EC2: a request within the account, with the operator's own credentials.
pub async fn a_request_is_accepted_and_its_end_kept(world: World) -> Result<()> {
    let half = Half::own(&world);
    half.enable_dns_hostnames().await?;
    let _operator = world.operator.start().await?;
    half.apply(json!({})).await?;
    let id = request(&world, &half, &world.requester).await?;
    half.until_left(&id, AccepterDecision::Pending, "no entry of spec.accept is for account").await?;
    let account = half.connection(&id).await?.requester_vpc_info.and_then(|end| end.owner_id).context("no owner")?;
    let mut spec = everything();
    spec["accept"] =
        json!([any_of(&account, json!({"vpcs": {"list": [world.requester]}, "regions": {"list": [REGION]}}))]);
    half.apply(spec).await?;
    half.until_accepted(&id).await?;
    half.until_kept(&id).await?;
    half.delete().await?;
    half.until_gone().await?;
    ensure!(half.tags(&id).await?.is_empty() && half.routes().await?.is_empty(), "something is left behind");
    ensure!(ec2::code(&half.connection(&id).await?) == "active", "the connection is the requester's");
    Ok(())
}

pub async fn the_other_half_of_a_peering_across_accounts(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    half.apply(everything()).await?;
    half.until("ready", |object| is(object, "Ready", "True")).await?;
    let id = ask(&world, &half).await?;
    half.until_accepted(&id).await?;
    world.until_ready().await?;
    half.until_kept(&id).await?;
    let object = half.until_accepted(&id).await?;
    for type_ in ["OptionsSynced", "RoutesReady"] {
        ensure!(is(&object, type_, "True"), "{type_}: {:?}", object.status);
    }
    ensure!(entry(&object, &id).is_some_and(|entry| entry.accepted_at.is_some()), "{:?}", object.status);
    world.until_told(&["Accepted", "Tagged", "OptionsSet", "RoutesChanged"]).await?;

    // What drifts is repaired.
    let name = Tag::builder().key("Name").value("drifted").build();
    half.ec2.create_tags().resources(&id).tags(name).send().await?;
    let table = half.main_table().await?;
    half.ec2.delete_route().route_table_id(&table).destination_cidr_block("10.1.0.0/16").send().await?;
    let off = aws_sdk_ec2::types::PeeringConnectionOptionsRequest::builder();
    let off = off.allow_dns_resolution_from_remote_vpc(false).build();
    let options = half.ec2.modify_vpc_peering_connection_options().vpc_peering_connection_id(&id);
    options.accepter_peering_connection_options(off).send().await?;
    half.until_kept(&id).await?;
    let at_rest = half.until_accepted(&id).await?;

    // And then it costs nothing but the listings.
    world.simulator().clear_journal().await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = half.api().get(NAME).await?;
    ensure!(after.metadata.resource_version == at_rest.metadata.resource_version, "a write at rest");
    let calls = world.simulator().journal(&Query::default()).await?.counters;
    let listings = ["DescribeVpcPeeringConnections", "DescribeRouteTables"];
    ensure!(calls.keys().all(|action| listings.contains(&action.as_str())), "{calls:?}");

    half.delete().await?;
    half.until_gone().await?;
    ensure!(half.tags(&id).await?.is_empty() && half.routes().await?.is_empty(), "something is left behind");
    ensure!(ec2::code(&half.connection(&id).await?) == "active", "the connection is the requester's");
    ensure!(world.until_ready().await?.status.is_some());
    Ok(())
}

pub async fn the_other_half_on_another_api_server(world: World) -> Result<()> {
    let shared = world.shared.apart().await?;
    let mut payments = world.of_another_cluster("payments", "another");
    payments.client = shared.control_plane.admin().await?;
    let metadata = ObjectMeta { name: Some(payments.namespace.clone()), ..ObjectMeta::default() };
    let object = Namespace { metadata, ..Namespace::default() };
    Api::all(payments.client.clone()).create(&PostParams::default(), &object).await?;
    let kubeconfig = shared.control_plane.operator_kubeconfig().await?;
    let operator = payments.operator.clone().with("KUBECONFIG", &kubeconfig.to_string_lossy()).with_log("payments");
    let half = Half::of_another_account(&payments).await?;
    let _operators = (world.operator.start().await?, operator.start().await?);
    let id = ask(&world, &half).await?;
    half.apply(everything()).await?;
    half.until_accepted(&id).await?;
    half.until_kept(&id).await?;
    world.until_ready().await?;
    // When the requester deletes it, nothing of ours is left to lead nowhere.
    world.delete().await?;
    world.until_gone().await?;
    half.until("deleted", |object| {
        entry(object, &id).is_some_and(|entry| entry.code.as_deref() == Some("deleted"))
            && object.status.as_ref().is_some_and(|status| status.routes.is_empty() && status.accepted == Some(0))
    })
    .await?;
    ensure!(half.routes().await?.is_empty());
    half.delete().await?;
    half.until_gone().await
}

pub async fn nobody_is_accepted_by_default_nor_by_half(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    half.apply(json!({})).await?;
    let id = request(&world, &half, &world.requester).await?;
    let left = async |accept: Value, why: &str| {
        half.apply(json!({"accept": accept})).await?;
        half.until_left(&id, AccepterDecision::Pending, why).await
    };
    left(json!([]), "no entry of spec.accept is for account 111111111111").await?;
    left(json!([any_of("333333333333", json!({}))]), "no entry of spec.accept is for account 111111111111").await?;
    let entry = |fields: Value| json!([any_of(ACCOUNT, fields)]);
    left(entry(json!({"vpcs": {"list": ["vpc-00000000"]}})), "spec.accept[0].vpcs does not name").await?;
    left(entry(json!({"regions": {"list": ["eu-west-1"]}})), "spec.accept[0].regions does not name").await?;
    left(entry(json!({"cidrBlocks": {"list": ["10.0.0.0/8"]}})), "EC2 does not show").await?;
    world.simulator().set(&json!({"cidr_blocks_of_requests": true})).await?;
    left(entry(json!({"cidrBlocks": {"list": ["10.1.0.0/24"]}})), "lies in none of").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    half.apply(json!({"accept": entry(json!({"cidrBlocks": {"list": ["10.0.0.0/8"]}}))})).await?;
    half.until_accepted(&id).await?;
    // What has been accepted stays, whatever the list says later.
    half.apply(json!({"accept": []})).await?;
    half.until_accepted(&id).await?;
    Ok(())
}

pub async fn what_is_denied_is_rejected_when_asked_to(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    let id = ask(&world, &half).await?;
    let spec = |reject: bool| json!({"accept": [any_of(ACCOUNT, json!({}))], "deny": [{"vpcIds": [world.requester]}], "reject": reject});
    half.apply(spec(false)).await?;
    half.until_left(&id, AccepterDecision::Denied, "spec.deny[0] matches it").await?;
    ensure!(world.calls("RejectVpcPeeringConnection").await? == 0);
    half.apply(spec(true)).await?;
    half.until("rejected", |object| {
        entry(object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Rejected)
    })
    .await?;
    world.until_stalled("Rejected").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    ensure!(world.calls("RejectVpcPeeringConnection").await? == 1);
    Ok(())
}

pub async fn no_more_than_max_connections(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    let spec = |number: i32| json!({"accept": [any_of(ACCOUNT, json!({}))], "maxConnections": number});
    half.apply(spec(1)).await?;
    let first = request(&world, &half, &world.requester).await?;
    half.until_accepted(&first).await?;
    let vpc = ec2::create_vpc(&world.ec2, "10.9.0.0/16").await?;
    let second = request(&world, &half, &vpc).await?;
    let object = half.until_left(&second, AccepterDecision::Pending, "as many connections live").await?;
    ensure!(of(&object, "AtCapacity").is_some_and(|condition| condition.message.contains(&second)), "{object:?}");
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 1);
    half.apply(spec(2)).await?;
    let object = half.until_accepted(&second).await?;
    ensure!(of(&object, "AtCapacity").is_none(), "{object:?}");
    ensure!(object.status.is_some_and(|status| status.accepted == Some(2)));
    Ok(())
}

pub async fn the_older_accepter_decides(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let _operator = world.operator.start().await?;
    half.apply(json!({})).await?;
    half.until("ready", |object| is(object, "Ready", "True")).await?;
    // The API server's clock has seconds; the order must not hang on them.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    half.apply_as("younger", json!({"accept": [any_of(ACCOUNT, json!({}))]})).await?;
    let object = half.until_of("younger", "stalled", |object| is_stalled(object, "ConnectionNotOwned")).await?;
    let message = &of(&object, "Ready").context("no condition")?.message;
    ensure!(message.contains(&format!("VpcPeeringAccepter {}/{NAME}", half.world.namespace)), "{message}");
    let id = request(&world, &half, &world.requester).await?;
    half.until_left(&id, AccepterDecision::Pending, "no entry of spec.accept").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    half.delete().await?;
    half.until_gone().await?;
    half.until_of("younger", "accepted", |object| {
        entry(object, &id).is_some_and(|entry| entry.decision == AccepterDecision::Accepted)
            && is(object, "Ready", "True")
    })
    .await?;
    Ok(())
}

/// A `VpcPeering` that acts for both ends and an accepter of the same VPC: what the one owns, the other leaves alone.
pub async fn what_a_vpc_peering_owns_is_left_alone(world: World) -> Result<()> {
    let half = Half::own(&world);
    let _operator = world.operator.start().await?;
    half.apply(everything()).await?;
    world.apply(&world.manifest_with(json!({"acceptance": "Manual"}))).await?;
    let object = world.until_code("pending-acceptance").await?;
    let id = object.status.and_then(|status| status.vpc_peering_connection_id).context("no ID")?;
    half.until_left(&id, AccepterDecision::Ignored, "it belongs to VpcPeering").await?;
    ensure!(world.calls("AcceptVpcPeeringConnection").await? == 0);
    Ok(())
}

/// One concern that AWS refuses is told, and holds up no other.
pub async fn a_missing_permission_holds_up_nothing_else(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    let refusal = Kind::Error { code: "UnauthorizedOperation".into(), message: None, status: None };
    let fault = world.fault("CreateTags", None, refusal).await?;
    let _operator = world.operator.start().await?;
    half.apply(everything()).await?;
    let id = request(&world, &half, &world.requester).await?;
    let object = half
        .until("the rest done", |object| {
            is_stalled(object, "Unauthorized")
                && is(object, "OptionsSynced", "True")
                && is(object, "RoutesReady", "True")
        })
        .await?;
    let message = &of(&object, "Ready").context("no condition")?.message;
    for part in ["CreateTags", "UnauthorizedOperation", "role/peering"] {
        ensure!(message.contains(part), "{message}");
    }
    // Before there is a connection, nothing is out of order either.
    eventually("the route is made", Duration::from_secs(30), async || {
        ensure!(half.routes().await? == ["10.1.0.0/16"]);
        Ok(())
    })
    .await?;
    world.simulator().remove_fault(fault).await?;
    let look = json!({"metadata": {"annotations": {"vpcpeering.dev/reconcile-at": "granted"}}});
    half.api().patch(NAME, &PatchParams::default(), &Patch::Merge(look)).await?;
    half.until_accepted(&id).await?;
    half.until_kept(&id).await
}

/// Not one call for a namespace that is not allowed: at first, later, or when it is deleted.
pub async fn a_namespace_that_is_not_allowed_makes_no_call(world: World) -> Result<()> {
    let half = Half::of_another_account(&world).await?;
    half.allow(json!({"list": ["another"]})).await?;
    let id = request(&world, &half, &world.requester).await?;
    world.simulator().clear_journal().await?;
    let _operator = world.operator.clone().with("OWN_CREDENTIALS_NAMESPACES", "none").start().await?;
    half.apply(everything()).await?;
    half.until("not allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    let own = Half { identity: None, ..Half::own(&world) };
    own.apply_as("own", everything()).await?;
    own.until_of("own", "not allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    half.delete().await?;
    half.until_gone().await?;
    ensure!(world.ec2_calls().await? == 0);

    half.allow(json!({"list": [half.world.namespace]})).await?;
    half.apply(everything()).await?;
    half.until_accepted(&id).await?;
    half.until_kept(&id).await?;
    half.allow(json!({"list": ["another"]})).await?;
    half.until("no longer allowed", |object| is_stalled(object, "IdentityNotAllowed")).await?;
    // What is in flight has arrived.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.simulator().clear_journal().await?;
    half.delete().await?;
    half.until("kept", |object| {
        of(object, "Ready").is_some_and(|ready| ready.message.contains("not removed before that is mended"))
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ensure!(world.ec2_calls().await? == 0);
    half.allow(json!({"list": [half.world.namespace]})).await?;
    half.until_gone().await?;
    ensure!(half.tags(&id).await?.is_empty() && half.routes().await?.is_empty(), "something is left behind");
    Ok(())
}

/// A life with a crash before, or after, each request that changes something: no connection is left unmanaged, and
/// nothing of ours is left in the end.
pub async fn killed_around_each_request(world: World) -> Result<()> {
    let requests = life(&world, None).await.context("without a crash")?;
    for expected in ["AcceptVpcPeeringConnection", "CreateTags", "DeleteTags"] {
        ensure!(requests.iter().any(|request| request == expected), "{expected} is not in {requests:?}");
    }
    let accept = requests.iter().position(|request| request == "AcceptVpcPeeringConnection");
    let intent = requests.iter().position(|request| request.ends_with("/status"));
    ensure!(intent < accept, "the acceptance is asked for before it is recorded: {requests:?}");
    let moments = [Moment::Before, Moment::After];
    let trips = moments.into_iter().flat_map(|moment| (0..requests.len()).map(move |number| (number, moment)));
    let lives = trips.map(|(number, moment)| {
        let (shared, name) = (world.shared.clone(), format!("{}-{moment:?}-{number}", world.namespace).to_lowercase());
        async move {
            let world = World::new(shared, &name, Cloud::Simulator).await?;
            life(&world, Some((number, moment))).await.with_context(|| format!("request {number}, {moment:?}"))
        }
    });
    let outcomes: Vec<Result<Vec<String>>> = stream::iter(lives).buffer_unordered(4).collect().await;
    outcomes.into_iter().collect::<Result<Vec<_>>>()?;
    Ok(())
}

/// Lives through one resource's life, and returns its requests.
async fn life(world: &World, trip: Option<(usize, Moment)>) -> Result<Vec<String>> {
    let tripwire = Tripwire::new(trip, true);
    let control_plane = &world.shared.control_plane;
    let kubernetes = Interceptor::of_kubernetes(control_plane.operator().await?, tripwire.clone()).await?;
    let ec2 = Interceptor::of_ec2(&world.endpoint, tripwire.clone()).await?;
    let kubeconfig = control_plane.open_kubeconfig(&world.namespace, &kubernetes.url)?;
    let operator = world
        .operator
        .clone()
        .with("KUBECONFIG", &kubeconfig.to_string_lossy())
        .with("AWS_ENDPOINT_URL", &ec2.url)
        .with("CONSISTENCY_WINDOW", "1s");
    let mut running = operator.start().await?;
    let restart = async {
        loop {
            tripwire.tripped().await;
            running.kill().await?;
            running = operator.start().await?;
        }
    };
    tokio::select! {
        outcome = lived(world) => outcome,
        outcome = restart => { let _: Result<()> = outcome; bail!("the operator cannot be restarted") }
    }
    .with_context(|| format!("{trip:?} in {:?}", tripwire.seen()))?;
    Ok(tripwire.seen())
}

async fn lived(world: &World) -> Result<()> {
    let half = Half::own(world);
    let id = request(world, &half, &world.requester).await?;
    half.apply(json!({"accept": [any_of(ACCOUNT, json!({}))], "routes": {"routeTables": {"main": true}}})).await?;
    let object = half.until_accepted(&id).await?;
    ensure!(entry(&object, &id).is_some_and(|entry| entry.accepted_at.is_some()), "{:?}", object.status);
    eventually("kept", LIMIT, async || {
        let (tags, routes) = (half.tags(&id).await?, half.routes().await?);
        ensure!(tags.len() == 4 && routes == ["10.1.0.0/16"], "{tags:?}, {routes:?}");
        Ok(())
    })
    .await?;
    half.delete().await?;
    half.until_gone().await?;
    ensure!(half.tags(&id).await?.is_empty() && half.routes().await?.is_empty(), "something is left behind");
    ensure!(ec2::code(&half.connection(&id).await?) == "active");
    Ok(())
}

pub async fn every_rule_of_an_accepter_refuses(world: World) -> Result<()> {
    let half = Half::own(&world);
    let selector = json!({"tags": {"a": "b"}});
    let rows = [
        (json!({"vpcSelector": selector}), "set either vpcId or vpcSelector to select the VPC"),
        (json!({"vpcId": "subnet-1"}), "spec.vpcId"),
        (json!({"accept": [{}]}), "ownerId"),
        (json!({"accept": [any_of("1", json!({}))]}), "spec.accept[0].ownerId"),
        (
            json!({"accept": [any_of(ACCOUNT, json!({"cidrBlocks": {"list": ["10.0.0.0"]}}))]}),
            "cidrBlocks must be CIDR blocks",
        ),
        // What opened everything before: a field that is missing, null, or empty.
        (json!({"accept": [{"ownerId": "111111111111"}]}), "spec.accept[0].vpcs"),
        (json!({"accept": [any_of(ACCOUNT, json!({"vpcs": null}))]}), "spec.accept[0].vpcs"),
        (json!({"accept": [any_of(ACCOUNT, json!({"regions": {}}))]}), "set all: true to allow every region"),
        (json!({"accept": [any_of(ACCOUNT, json!({"cidrBlocks": {"list": null}}))]}), "spec.accept[0].cidrBlocks.list"),
        (json!({"deny": [{}]}), "at least one of ownerId, vpcIds, regions and cidrBlocks"),
        (json!({"reject": true}), "list the requests to reject in deny"),
        (json!({"maxConnections": 126}), "spec.maxConnections"),
        (json!({"tags": [{"key": "vpcpeering.dev/uid", "value": ""}]}), "choose another key"),
    ];
    for (spec, expected) in rows {
        let refusal = half.apply(spec.clone()).await.err().with_context(|| format!("{spec} is not refused"))?;
        ensure!(format!("{refusal:#}").contains(expected), "{spec} is refused with {refusal:#}");
    }
    half.apply(json!({})).await?;
    let fixed = [
        (json!({"region": "eu-west-1"}), "spec.region: Invalid value: \"eu-west-1\": region cannot be changed"),
        (json!({"vpcId": "vpc-00000000"}), "vpcId cannot be changed"),
        (json!({"vpcId": null, "vpcSelector": {"tags": {"a": "b"}}}), "cannot be added or removed"),
    ];
    for (spec, expected) in fixed {
        let patch = Patch::Merge(json!({"spec": spec}));
        let refusal = half.api().patch(NAME, &PatchParams::default(), &patch).await;
        let refusal = refusal.err().with_context(|| format!("{spec} is not refused"))?.to_string();
        ensure!(refusal.contains(expected), "{spec} is refused with {refusal}");
    }
    let no_region = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeeringAccepter",
        "metadata": {"name": "no-region", "namespace": half.world.namespace},
        "spec": {"vpcId": half.vpc},
    });
    let refusal = half.api().patch("no-region", &PatchParams::apply("test"), &Patch::Apply(no_region)).await.err();
    ensure!(refusal.context("it is not refused")?.to_string().contains("region is required"));
    Ok(())
}

pub async fn requests_beyond_ec2s_rate_are_accepted_in_turns(world: World) -> Result<()> {
    const ACCEPTERS: usize = 24;
    world.simulator().set(&json!({"quotas": {"outstanding": 1_000}})).await?;
    let mut halves = Vec::new();
    for number in 0..ACCEPTERS {
        let vpc = ec2::create_vpc(&world.ec2, &format!("10.{}.0.0/16", 100 + number)).await?;
        let half = Half { vpc, ..Half::own(&world) };
        request(&world, &half, &world.requester).await?;
        halves.push((format!("accepter-{number}"), half));
    }
    world.simulator().set(&json!({"throttling": {"mutating": {"capacity": 4, "refill": 4}}})).await?;
    world.simulator().clear_journal().await?;
    let _operator = world.operator.start().await?;
    for (name, half) in &halves {
        half.apply_as(name, json!({"accept": [any_of("111111111111", json!({}))]})).await?;
    }
    for (name, half) in &halves {
        half.until_of(name, "accepted", |object| {
            is(object, "Ready", "True") && object.status.as_ref().and_then(|status| status.accepted) == Some(1)
        })
        .await?;
    }
    let counters = world.simulator().journal(&Query::default()).await?.counters;
    let refused: u64 = counters.get("AcceptVpcPeeringConnection").map_or(0, |calls| calls.errors.values().sum());
    // Those that were under way when the limit showed, and one now and then that tries whether it still holds.
    ensure!((1..=12).contains(&refused), "{refused} refused: {counters:?}");
    Ok(())
}
