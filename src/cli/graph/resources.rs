//! The graph of resources, of a cluster or of manifests. Pure.

use std::collections::BTreeSet;

use kube::ResourceExt;

use super::model::{Graph, Peering, blocks, position};
use crate::api::vpc_peering::{PeeringSide, VpcSelector};
use crate::api::{AwsIdentity, RequestedConnection, Side, VpcPeering, VpcPeeringAccepter, VpcReference};
use crate::peering::StatusCode;

/// Draws the resources. The identities name the account and the default region of an end.
pub(super) fn graph(peerings: &[VpcPeering], accepters: &[VpcPeeringAccepter], identities: &[AwsIdentity]) -> Graph {
    let mut graph = Graph::default();
    for peering in peerings {
        add_peering(&mut graph, peering, identities);
    }
    for accepter in accepters {
        add_accepter(&mut graph, accepter, identities);
    }
    graph.sorted()
}

fn add_peering(graph: &mut Graph, object: &VpcPeering, identities: &[AwsIdentity]) {
    let requester = add_end(graph, object, Side::Requester, identities);
    let accepter = add_end(graph, object, Side::Accepter, identities);
    let status = object.status.clone().unwrap_or_default();
    // Without any recorded route, users may keep the routes themselves.
    let has_route = |side| status.routes.iter().any(|route| route.side == side);
    let sides = Side::BOTH;
    let are_known = sides.into_iter().any(has_route);
    graph.add_peering(Peering {
        id: status.vpc_peering_connection_id.as_ref().map(ToString::to_string),
        resources: BTreeSet::from([name(object)]),
        requester,
        accepter,
        code: status.status.as_ref().map(|status| StatusCode::from(status.code.as_str())),
        expires: status.expiration_time.as_ref().map(|time| time.0),
        routes: sides.map(|side| are_known.then(|| has_route(side))),
    });
}

/// Adds the VPC of an end, and returns its key.
fn add_end(graph: &mut Graph, object: &VpcPeering, side: Side, identities: &[AwsIdentity]) -> String {
    let (spec, status) = (object.spec.side(side), object.status.as_ref());
    let end = status.and_then(|status| status.ends.as_ref()).map(|ends| match side {
        Side::Requester => &ends.requester,
        Side::Accepter => &ends.accepter,
    });
    let info = status.and_then(|status| match side {
        Side::Requester => status.requester_vpc_info.as_ref(),
        Side::Accepter => status.accepter_vpc_info.as_ref(),
    });
    let key = end.map(|end| end.vpc_id.to_string()).or_else(|| spec.vpc_id.as_ref().map(ToString::to_string));
    let key = key.unwrap_or_else(|| selected(spec.vpc_selector.as_ref(), spec.vpc_ref.as_deref()));
    let shown = |text: Option<&crate::api::Text>| text.map(ToString::to_string);
    let (written_account, written_region) = written(object, side, identities);
    let account = shown(info.and_then(|info| info.owner_id.as_ref())).or(written_account);
    let region = end.map(|end| end.region.to_string()).or(written_region);
    graph.add_vpc(&key, account.as_deref(), region.as_deref(), info.map(blocks).unwrap_or_default());
    key
}

/// The account and the region of an end by its spec and its identity. An accepter without both is in the account and
/// region of the requester.
fn written(object: &VpcPeering, side: Side, identities: &[AwsIdentity]) -> (Option<String>, Option<String>) {
    let of = |end: &PeeringSide| {
        let name = end.identity_ref.as_ref().map(|reference| &reference.name);
        let identity = name.and_then(|name| identities.iter().find(|identity| identity.name_any() == *name));
        let account = end.owner_id.as_ref().map(ToString::to_string);
        let region = end.region.as_ref().map(ToString::to_string);
        (
            account.or_else(|| identity.map(|identity| identity.spec.account_id.clone())),
            region.or_else(|| identity.and_then(|identity| identity.spec.default_region.clone())),
        )
    };
    let (account, region) = of(object.spec.side(side));
    if side == Side::Requester {
        return (account, region);
    }
    let requester = of(&object.spec.requester);
    let is_own = object.spec.accepter.identity_ref.is_none();
    (account.or_else(|| requester.0.filter(|_| is_own)), region.or_else(|| requester.1.filter(|_| is_own)))
}

fn add_accepter(graph: &mut Graph, object: &VpcPeeringAccepter, identities: &[AwsIdentity]) {
    let (spec, status) = (&object.spec, object.status.clone().unwrap_or_default());
    let reference = spec.identity_ref.as_ref().map(|reference| &reference.name);
    let identity = reference.and_then(|name| identities.iter().find(|identity| identity.name_any() == *name));
    let key = status.vpc.as_ref().map(|vpc| vpc.vpc_id.to_string()).or_else(|| spec.vpc_id.clone());
    let key = key.unwrap_or_else(|| selected(spec.vpc_selector.as_ref(), spec.vpc_ref.as_deref()));
    let account = status.owner_id.clone().or_else(|| identity.map(|identity| identity.spec.account_id.clone()));
    let region = status.vpc.as_ref().map(|vpc| vpc.region.to_string()).or_else(|| spec.region.clone());
    let region = region.or_else(|| identity.and_then(|identity| identity.spec.default_region.clone()));
    graph.add_vpc(&key, account.as_deref(), region.as_deref(), Vec::new());
    for connection in &status.connections {
        let has_route = status.routes.iter().any(|route| {
            route.side == Side::Accepter && route.vpc_peering_connection_id == connection.vpc_peering_connection_id
        });
        add_connection(graph, connection, name(object), &key, has_route);
    }
}

fn add_connection(graph: &mut Graph, shown: &RequestedConnection, resource: String, accepter: &str, has_route: bool) {
    let requester = &shown.requester;
    let unknown = || format!("requester of {}", shown.vpc_peering_connection_id);
    let key = requester.vpc_id.clone().unwrap_or_else(unknown);
    let (account, region) = (requester.owner_id.as_deref(), requester.region.as_deref());
    graph.add_vpc(&key, account, region, shown.accepted_cidr_blocks.clone());
    let mut routes = [None, None];
    routes[position(Side::Accepter)] = has_route.then_some(true);
    graph.add_peering(Peering {
        id: Some(shown.vpc_peering_connection_id.clone()),
        resources: BTreeSet::from([resource]),
        requester: key,
        accepter: accepter.to_owned(),
        code: shown.code.as_deref().map(StatusCode::from),
        expires: None,
        routes,
    });
}

/// The key of a VPC that is selected by tags or by an object, and not resolved yet.
fn selected(selector: Option<&VpcSelector>, reference: Option<&VpcReference>) -> String {
    if let Some(reference) = reference {
        let text = |text: &Option<crate::api::Text>| text.as_deref().unwrap_or_default().to_owned();
        return match reference.this_cluster {
            Some(true) => "VPC of this cluster".to_owned(),
            _ => format!("VPC of {} {}", text(&reference.kind), text(&reference.name)),
        };
    }
    let tags = selector.iter().flat_map(|selector| &selector.tags).map(|(key, value)| format!("{key}={value}"));
    format!("VPC with {}", tags.collect::<Vec<_>>().join(", "))
}

fn name(object: &impl ResourceExt) -> String {
    object.namespace().map_or_else(|| object.name_any(), |namespace| format!("{namespace}/{}", object.name_any()))
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::{Value, json};

    use super::*;

    fn object<T: DeserializeOwned>(kind: &str, name: &str, spec: Value, status: Value) -> T {
        let object = json!({
            "apiVersion": "vpcpeering.dev/v1alpha1", "kind": kind, "metadata": {"name": name, "namespace": "team"},
            "spec": spec, "status": status,
        });
        serde_json::from_value(object).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_manifest_without_status_is_planned() {
        let identity = object::<AwsIdentity>(
            "AwsIdentity",
            "partner",
            json!({
                "accountId": "222222222222", "roleArn": "arn:aws:iam::222222222222:role/a",
                "defaultRegion": "us-west-2",
            }),
            Value::Null,
        );
        let spec = json!({
            "requester": {"vpcId": "vpc-1", "region": "eu-central-1", "ownerId": "111111111111"},
            "accepter": {"vpcSelector": {"tags": {"team": "a"}}, "identityRef": {"name": "partner"}},
        });
        let graph = graph(&[object("VpcPeering", "a", spec, Value::Null)], &[], &[identity]);
        let accepter = graph.vpcs.get("VPC with team=a");
        assert!(accepter.is_some_and(|vpc| vpc.account.as_deref() == Some("222222222222")));
        assert!(accepter.is_some_and(|vpc| vpc.region.as_deref() == Some("us-west-2")));
        assert_eq!(graph.peerings[0].label(), ["team/a", "planned"]);
    }

    #[test]
    fn both_kinds_share_a_connection() {
        let info = |vpc: &str, block: &str| json!({"vpcId": vpc, "ownerId": "111111111111", "region": "eu-central-1", "cidrBlock": block});
        let route = json!({
            "side": "Requester", "routeTableId": "rtb-1", "destinationCidrBlock": "10.0.0.0/8",
            "vpcPeeringConnectionId": "pcx-1",
        });
        let peering = object(
            "VpcPeering",
            "a",
            json!({"requester": {"vpcId": "vpc-1", "region": "eu-central-1"}, "accepter": {"vpcId": "vpc-2"}}),
            json!({
                "vpcPeeringConnectionId": "pcx-1", "status": {"code": "active"}, "routes": [route],
                "requesterVpcInfo": info("vpc-1", "10.1.0.0/16"), "accepterVpcInfo": info("vpc-2", "10.2.0.0/16"),
            }),
        );
        let accepter = object(
            "VpcPeeringAccepter",
            "b",
            json!({"vpcId": "vpc-2", "region": "eu-central-1"}),
            json!({"connections": [
                {"vpcPeeringConnectionId": "pcx-1", "requester": {"vpcId": "vpc-1"}, "code": "active",
                 "decision": "Ignored"},
                {"vpcPeeringConnectionId": "pcx-2", "requester": {"vpcId": "vpc-9", "ownerId": "333333333333"},
                 "code": "pending-acceptance", "decision": "Pending"},
            ]}),
        );
        let graph = graph(&[peering], &[accepter], &[]);
        assert_eq!(graph.peerings.len(), 2);
        assert_eq!(graph.peerings[0].label(), ["team/a", "team/b", "pcx-1 active", "no return route from vpc-2"]);
        assert_eq!(graph.peerings[1].label(), ["team/b", "pcx-2 pending-acceptance"]);
        assert_eq!(graph.groups().len(), 2);
    }
}
