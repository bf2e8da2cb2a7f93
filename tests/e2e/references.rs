//! `vpcRef`: VPCs that objects of ACK, Crossplane and Cluster API describe, with their real CRDs, and the VPC of the nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{ec2, eventually, prepare};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use vpc_peering_operator::api::{VpcPeering, VpcPeeringAccepter};

use super::world::{Cloud, REGION, World, condition};

const ACCOUNT: &str = "111111111111";

/// A reference is looked at again after 60 s without an event. A watch makes it much faster.
const WATCHED: Duration = Duration::from_secs(20);

/// A world on a control plane of its own, with the CRDs.
async fn with_crds(world: &World, test: &str) -> Result<World> {
    let test = format!("references::{test}");
    let world = World::new(world.shared.with_own_control_plane().await?, &test, Cloud::Simulator).await?;
    let crds = prepare("tests/control-plane/build.sh reference-crds")?;
    let control_plane = &world.shared.control_plane;
    control_plane.kubectl(&["apply", "--server-side", "-f", &crds.to_string_lossy()]).await?;
    // Version 2 of the provider has the same schema in a namespaced group.
    let api = Api::<CustomResourceDefinition>::all(world.client.clone());
    let mut namespaced = api.get("vpcs.ec2.aws.upbound.io").await?;
    namespaced.metadata = serde_json::from_value(json!({"name": "vpcs.ec2.aws.m.upbound.io"}))?;
    namespaced.spec.group = "ec2.aws.m.upbound.io".into();
    namespaced.spec.scope = "Namespaced".into();
    namespaced.status = None;
    api.create(&PostParams::default(), &namespaced).await?;
    control_plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
    Ok(world)
}

/// An object that names a VPC, in the state before its controller has made the VPC.
struct Kind {
    group: &'static str,
    kind: &'static str,
    resource: &'static str,
    version: &'static str,
    is_namespaced: bool,
    spec: fn() -> Value,
    /// Sets the VPC, as the controller of the object does: the subresource, and the patch.
    described: fn(&str) -> (Option<&'static str>, Value),
}

fn crossplane_spec() -> Value {
    json!({"forProvider": {"region": REGION, "cidrBlock": "10.0.0.0/16"}})
}

fn crossplane_status(vpc: &str) -> (Option<&'static str>, Value) {
    let ready =
        json!({"type": "Ready", "status": "True", "reason": "Available", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    (Some("status"), json!({"status": {"atProvider": {"id": vpc, "ownerId": ACCOUNT}, "conditions": [ready]}}))
}

const KINDS: [Kind; 4] = [
    Kind {
        group: "ec2.services.k8s.aws",
        kind: "VPC",
        resource: "vpcs.ec2.services.k8s.aws",
        version: "v1alpha1",
        is_namespaced: true,
        spec: || json!({"cidrBlocks": ["10.0.0.0/16"]}),
        described: |vpc| {
            let metadata = json!({"ownerAccountID": ACCOUNT, "region": REGION});
            let status = json!({"vpcID": vpc, "ownerID": ACCOUNT, "ackResourceMetadata": metadata, "conditions": []});
            (Some("status"), json!({"status": status}))
        },
    },
    Kind {
        group: "ec2.aws.upbound.io",
        kind: "VPC",
        resource: "vpcs.ec2.aws.upbound.io",
        version: "v1beta1",
        is_namespaced: false,
        spec: crossplane_spec,
        described: crossplane_status,
    },
    Kind {
        group: "ec2.aws.m.upbound.io",
        kind: "VPC",
        resource: "vpcs.ec2.aws.m.upbound.io",
        version: "v1beta1",
        is_namespaced: true,
        spec: crossplane_spec,
        described: crossplane_status,
    },
    Kind {
        group: "infrastructure.cluster.x-k8s.io",
        kind: "AWSCluster",
        resource: "awsclusters.infrastructure.cluster.x-k8s.io",
        version: "v1beta2",
        is_namespaced: true,
        spec: || json!({"region": REGION}),
        described: |vpc| (None, json!({"spec": {"network": {"vpc": {"id": vpc}}}})),
    },
];

impl Kind {
    /// The name of the object, and of the resource that refers to it.
    fn name(&self) -> String {
        self.group.replace('.', "-")
    }

    fn reference(&self) -> Value {
        json!({"group": self.group, "kind": self.kind, "name": self.name()})
    }

    async fn create(&self, world: &World, namespace: &str) -> Result<()> {
        let mut metadata = json!({"name": self.name()});
        if self.is_namespaced {
            metadata["namespace"] = json!(namespace);
        }
        let api_version = format!("{}/{}", self.group, self.version);
        let object = json!({
            "apiVersion": api_version, "kind": self.kind, "metadata": metadata, "spec": (self.spec)(),
        });
        let file = world.shared.control_plane.folder().join(format!("{}.json", self.name()));
        std::fs::write(&file, object.to_string())?;
        world.shared.control_plane.kubectl(&["create", "-f", &file.to_string_lossy()]).await.map(drop)
    }

    async fn kubectl(&self, world: &World, namespace: &str, verb: &[&str], rest: &[&str]) -> Result<()> {
        let name = self.name();
        let place = if self.is_namespaced { vec!["--namespace", namespace] } else { Vec::new() };
        let arguments = [verb, &[self.resource, &name], &place, rest].concat();
        world.shared.control_plane.kubectl(&arguments).await.map(drop)
    }

    async fn describe(&self, world: &World, namespace: &str, vpc: &str) -> Result<()> {
        let (subresource, patch) = (self.described)(vpc);
        let (patch, subresource) = (patch.to_string(), subresource.map(|name| format!("--subresource={name}")));
        let mut rest = vec!["--type=merge", "--patch", &patch];
        rest.extend(subresource.as_deref());
        self.kubectl(world, namespace, &["patch"], &rest).await
    }

    async fn permit(&self, world: &World, namespace: &str, namespaces: &str) -> Result<()> {
        let annotation = format!("vpcpeering.dev/allowed-namespaces={namespaces}");
        self.kubectl(world, namespace, &["annotate", "--overwrite"], &[&annotation]).await
    }
}

/// A `VpcPeering` whose requester is referenced. The region comes from the object.
fn manifest(world: &World, reference: &Value) -> Value {
    let mut manifest = world.manifest();
    manifest["spec"]["requester"] = json!({"vpcRef": reference});
    manifest
}

async fn until_reason(world: &World, reason: &str, part: &str) -> Result<VpcPeering> {
    world
        .until(&format!("{reason}: {part}"), |object| {
            condition(object, "Ready").is_some_and(|ready| ready.reason == reason && ready.message.contains(part))
        })
        .await
}

/// Waits for less than the interval between looks without an event.
async fn until_ready_by_the_watch(world: &World) -> Result<VpcPeering> {
    eventually("ready", WATCHED, async || {
        let object = world.get().await?;
        ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"), "{:?}", object.status);
        Ok(object)
    })
    .await
    .map_err(|error| world.with_log(error))
}

fn requester(object: &VpcPeering) -> Option<(&str, &str)> {
    let end = &object.status.as_ref()?.ends.as_ref()?.requester;
    Some((&end.vpc_id, &end.region))
}

pub async fn each_kind_of_object_selects_the_vpc(world: World) -> Result<()> {
    let world = with_crds(&world, "each_kind_of_object_selects_the_vpc").await?;
    let _operator = world.operator.start().await?;
    for (number, kind) in KINDS.iter().enumerate() {
        let vpc = ec2::create_vpc(&world.ec2, &format!("10.{}.0.0/16", number + 10)).await?;
        let peering = world.with_name(&kind.name());
        peering.apply(&manifest(&peering, &kind.reference())).await?;
        // Nobody learns whether an object outside the namespace exists.
        let missing = if kind.is_namespaced { "ReferenceNotFound" } else { "ReferenceNotAllowed" };
        until_reason(&peering, missing, "does not exist").await?;
        kind.create(&world, &world.namespace).await?;
        if !kind.is_namespaced {
            until_reason(&peering, "ReferenceNotAllowed", "vpcpeering.dev/allowed-namespaces").await?;
            kind.permit(&world, &world.namespace, &world.namespace).await?;
        }
        let object = until_reason(&peering, "AwaitingReference", &kind.name()).await?;
        let stalled = condition(&object, "Stalled").is_some_and(|stalled| stalled.status == "True");
        ensure!(!stalled, "{}: a VPC that is being created stalls", kind.group);
        kind.describe(&world, &world.namespace, &vpc).await?;
        let object = until_ready_by_the_watch(&peering).await.context(kind.group)?;
        ensure!(requester(&object) == Some((&vpc, REGION)), "{}: {:?}", kind.group, object.status);

        // The VPC is recorded: later changes of the object move nothing.
        let other = ec2::create_vpc(&world.ec2, &format!("10.{}.0.0/16", number + 20)).await?;
        kind.describe(&world, &world.namespace, &other).await?;
        world.clear_journal().await?;
        kind.kubectl(&world, &world.namespace, &["delete"], &[]).await?;
        peering.request_reconcile("after the object is gone").await?;
        eventually("looked at again", WATCHED, async || {
            let status = peering.get().await?.status.context("no status")?;
            ensure!(status.last_handled_reconcile_at.as_deref() == Some("after the object is gone"));
            Ok(())
        })
        .await?;
        let object = peering.get().await?;
        ensure!(requester(&object) == Some((&vpc, REGION)), "{}: moved", kind.group);
        ensure!(condition(&object, "Ready").is_some_and(|ready| ready.status == "True"), "{}: not ready", kind.group);
        ensure!(world.calls("CreateVpcPeeringConnection").await? == 0, "{}: requested again", kind.group);
    }
    Ok(())
}

pub async fn an_accepter_selects_its_vpc_by_an_object(world: World) -> Result<()> {
    let world = with_crds(&world, "an_accepter_selects_its_vpc_by_an_object").await?;
    let _operator = world.operator.start().await?;
    let ack = &KINDS[0];
    ack.create(&world, &world.namespace).await?;
    let accepters = Api::<VpcPeeringAccepter>::namespaced(world.client.clone(), &world.namespace);
    let manifest = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeeringAccepter",
        "metadata": {"name": "accepter"},
        "spec": {"vpcRef": ack.reference()},
    });
    accepters.patch("accepter", &PatchParams::apply("test"), &Patch::Apply(&manifest)).await?;
    let until = async |what: &str, is_so: &dyn Fn(&VpcPeeringAccepter) -> bool| {
        eventually(what, WATCHED, async || {
            let object = accepters.get("accepter").await?;
            ensure!(is_so(&object), "{:?}", object.status);
            Ok(object)
        })
        .await
        .map_err(|error| world.with_log(error))
    };
    let reason = |object: &VpcPeeringAccepter| {
        let conditions = object.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
        conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| (ready.reason, ready.message))
    };
    until("waiting", &|object| reason(object).is_some_and(|(reason, _)| reason == "AwaitingReference")).await?;
    ack.describe(&world, &world.namespace, &world.accepter).await?;
    let object = until("synced", &|object| reason(object).is_some_and(|(reason, _)| reason == "Synced")).await?;
    let vpc = object.status.and_then(|status| status.vpc).context("no VPC")?;
    ensure!((&*vpc.vpc_id, &*vpc.region) == (&*world.accepter, REGION), "{vpc:?}");
    Ok(())
}

pub async fn bad_references_are_reported(world: World) -> Result<()> {
    let world = with_crds(&world, "bad_references_are_reported").await?;
    let kinds = r#"[{"group": "example.org", "kind": "Network", "resource": "networks", "vpcId": "/spec/id"}]"#;
    let _operator = world.operator.clone().with("REFERENCE_KINDS", kinds).start().await?;
    let control_plane = &world.shared.control_plane;
    control_plane.kubectl(&["create", "namespace", "network"]).await?;
    let ack = &KINDS[0];
    let expect = async |name: &str, end: Value, reason: &str, part: &str| -> Result<()> {
        let peering = world.with_name(name);
        let mut manifest = peering.manifest();
        manifest["spec"]["requester"] = end;
        peering.apply(&manifest).await?;
        until_reason(&peering, reason, part).await.with_context(|| name.to_owned())?;
        // A later correction must not make it ready.
        peering.delete().await?;
        peering.until_gone().await
    };
    let network = json!({"group": "example.org", "kind": "Network", "name": "main"});
    let unknown = json!({"vpcRef": {"group": "example.org", "kind": "Vpc", "name": "main"}});
    expect("unknown-kind", unknown, "ReferenceNotFound", "--reference-kinds").await?;
    expect("no-crd", json!({"vpcRef": network}), "ReferenceNotFound", "install its CustomResourceDefinition").await?;
    control_plane.kubectl(&["create", "-f", &networks(&world)?]).await?;
    control_plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
    expect("no-rights", json!({"vpcRef": network}), "ReferenceNotFound", "get, list and watch on networks.example.org")
        .await?;

    ack.create(&world, "network").await?;
    ack.describe(&world, "network", &world.requester).await?;
    let mut elsewhere = ack.reference();
    elsewhere["namespace"] = json!("network");
    let foreign = |end: Value| {
        let mut end = end;
        end["vpcRef"] = elsewhere.clone();
        end
    };
    expect("forbidden", foreign(json!({})), "ReferenceNotAllowed", "network/ec2-services-k8s-aws").await?;
    ack.permit(&world, "network", "team-z").await?;
    expect("another-team", foreign(json!({})), "ReferenceNotAllowed", &world.namespace).await?;
    ack.permit(&world, "network", &format!("team-z, {}", world.namespace)).await?;
    expect("another-region", foreign(json!({"region": "us-west-2"})), "InvalidRequest", "of region eu-central-1")
        .await?;
    let status = json!({"status": {"ownerID": "222222222222"}}).to_string();
    ack.kubectl(&world, "network", &["patch"], &["--type=merge", "--subresource=status", "--patch", &status]).await?;
    expect("another-account", foreign(json!({})), "IdentityMismatch", "of account 222222222222").await?;
    let status = json!({"status": {"ownerID": ACCOUNT, "vpcID": "10.0.0.0/8"}}).to_string();
    ack.kubectl(&world, "network", &["patch"], &["--type=merge", "--subresource=status", "--patch", &status]).await?;
    expect("malformed", foreign(json!({})), "InvalidRequest", "malformed value at /status/vpcID").await?;
    ensure!(world.peerings().await?.is_empty(), "a bad reference led to a request");

    for (end, problem) in [
        (json!({"vpcRef": {"thisCluster": true, "name": "main"}}), "thisCluster"),
        (json!({"vpcRef": {"group": "example.org", "name": "main"}}), "group, kind and name"),
        (json!({"vpcRef": {}}), "group, kind and name"),
        (json!({"vpcRef": network, "vpcId": world.requester}), "exactly one of vpcId, vpcSelector and vpcRef"),
        (json!({}), "exactly one of vpcId, vpcSelector and vpcRef"),
    ] {
        let peering = world.with_name("invalid");
        let mut manifest = peering.manifest();
        manifest["spec"]["requester"] = end;
        let error = peering.apply(&manifest).await.err().context("accepted")?.to_string();
        ensure!(error.contains(problem), "{error}");
    }

    ack.describe(&world, "network", &world.requester).await?;
    let peering = world.with_name("permitted");
    peering.apply(&manifest(&peering, &elsewhere)).await?;
    peering.until_ready().await.map(drop)
}

/// Writes the CRD of a kind that an administrator adds.
fn networks(world: &World) -> Result<String> {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": any}});
    let names = json!({"kind": "Network", "plural": "networks"});
    let crd = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "networks.example.org"},
        "spec": {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]},
    });
    let file = world.shared.control_plane.folder().join("networks.json");
    std::fs::write(&file, crd.to_string())?;
    Ok(file.to_string_lossy().into_owned())
}

pub async fn the_vpc_of_the_nodes_is_this_cluster(world: World) -> Result<()> {
    let world = with_crds(&world, "the_vpc_of_the_nodes_is_this_cluster").await?;
    let instance = "i-0a1b2c3d4e5f67890";
    let scene = json!({
        "subnets": [{
            "id": "subnet-0000000000000000a", "account": ACCOUNT, "region": REGION, "vpc_id": world.requester,
            "cidr_block": "10.1.0.0/24",
        }],
        "network_interfaces": [{
            "id": "eni-0000000000000000a", "account": ACCOUNT, "region": REGION,
            "subnet_id": "subnet-0000000000000000a", "ipv4_addresses": ["10.1.0.10"], "group_ids": [],
            "instance_id": instance,
        }],
    });
    world.simulator().add(&serde_json::from_value(scene)?).await?;
    let _operator = world.operator.start().await?;
    world.apply(&manifest(&world, &json!({"thisCluster": true}))).await?;
    until_reason(&world, "ReferenceNotFound", "references.thisCluster").await?;

    let control_plane = &world.shared.control_plane;
    control_plane.kubectl(&["create", "clusterrole", "nodes", "--verb=list", "--resource=nodes"]).await?;
    let account = "--serviceaccount=vpc-peering-system:vpc-peering-operator";
    control_plane.kubectl(&["create", "clusterrolebinding", "nodes", "--clusterrole=nodes", account]).await?;
    world.request_reconcile("granted").await?;
    until_reason(&world, "ReferenceNotFound", "no node of this cluster is an EC2 instance").await?;
    let nodes = Api::<Node>::all(world.client.clone());
    for (name, provider) in [
        ("fargate", "aws:///eu-central-1a/1234/fargate-ip-10-1-0-11.internal".to_owned()),
        ("instance", format!("aws:///eu-central-1a/{instance}")),
    ] {
        let metadata = json!({"name": name, "labels": {"topology.kubernetes.io/region": REGION}});
        let node = serde_json::from_value(json!({"metadata": metadata, "spec": {"providerID": provider}}))?;
        nodes.create(&PostParams::default(), &node).await?;
    }
    world.request_reconcile("with nodes").await?;
    let object = world.until_ready().await?;
    ensure!(requester(&object) == Some((&world.requester, REGION)), "{:?}", object.status);
    // The outer world of the test does not see these calls.
    world.record_calls().await
}
