//! Fuzzing of the objects of the API server: all kinds, with specs, records and permissions that anybody may have
//! written. While EC2 shows nothing, no record leads to a call except the request of a new connection. An empty
//! permission permits nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use serde::Serialize;

use super::decode::{Wire, is_large};
use crate::api::{AwsIdentity, VpcPeering, VpcPeeringAccepter};
use crate::controller::identity_grants::admits_namespace;
use crate::controller::kind::{Kind, is_deleted, is_reconcile_requested};
use crate::fuzzing::{self, Verdict};
use crate::peering::plan::Step;
use crate::peering::{Endpoint, Endpoints, Limits, Plan, Settings, testing, vpc_peering, vpc_peering_accepter};

const SETTINGS: Settings = Settings {
    consistency_window: Duration::from_secs(60),
    recreation_pause: Duration::from_secs(60),
    is_cluster_unique: true,
};

#[test]
fn fuzz_objects() {
    fuzzing::run("objects", None, |input| {
        if let Some(object) = decoded::<VpcPeering>(input)? {
            peering(&object)?;
        }
        if let Some(object) = decoded::<VpcPeeringAccepter>(input)? {
            accepter(&object)?;
        }
        if let Ok(Wire::<AwsIdentity>(Ok(object))) = serde_json::from_slice(input) {
            identity(&object)?;
        }
        Ok(())
    });
}

/// The object, if it can be decoded. Its own text must give the same object.
fn decoded<K: Kind>(input: &[u8]) -> Result<Option<K>, String> {
    let object = match serde_json::from_slice::<Wire<K>>(input) {
        Ok(Wire(Ok(object))) => object,
        Ok(Wire(Err(undecodable))) => {
            let text = undecodable.to_string();
            let is_short = !text.is_empty() && text.len() < 1_024;
            return if is_short { Ok(None) } else { Err(format!("the reason has {} bytes", text.len())) };
        }
        Err(_) => return Ok(None),
    };
    let text = text(&object)?;
    let again: Wire<K> = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
    let again = again.0.map_err(|undecodable| format!("{undecodable}: {text}"))?;
    if self::text(&again)? != text {
        return Err(format!("not the same object after its text: {text}"));
    }
    _ = (is_large(&object), is_deleted(&object), is_reconcile_requested(&object), object.identities());
    _ = object.recorded_in_aws();
    Ok(Some(object))
}

fn text(object: &impl Serialize) -> Result<String, String> {
    serde_json::to_string(object).map_err(|error| error.to_string())
}

fn peering(object: &VpcPeering) -> Verdict {
    let end = |end: &crate::api::PeeringSide| Endpoint {
        vpc_id: end.vpc_id.as_deref().unwrap_or_default().to_owned(),
        region: end.region.as_deref().unwrap_or_default().to_owned(),
        owner_id: None,
    };
    let ends = Endpoints { requester: end(&object.spec.requester), accepter: end(&object.spec.accepter) };
    let recorded = vpc_peering::Recorded::of(object.status.as_ref(), object.metadata.generation);
    for deleted in [false, true] {
        let desired = vpc_peering::Desired {
            owner: &testing::owner(),
            spec: &object.spec,
            ends: &ends,
            permissions: &testing::permissions(),
            defaults: &testing::defaults(),
            is_cluster_unique: true,
            deleted,
            finalizer: true,
            reconcile_requested: false,
            reconcile_at: object.annotations().values().next().map(String::as_str),
            generation: object.metadata.generation.unwrap_or_default(),
            status: object.status.as_ref(),
        };
        let observed = vpc_peering::Observation {
            accepter: vpc_peering::AccepterView::Same,
            missing_for: Duration::from_secs(3_600),
            ..vpc_peering::Observation::default()
        };
        let decision = vpc_peering::decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS);
        text(&decision.status)?;
        match &decision.plan {
            Plan::Act(vpc_peering::Step::Create | vpc_peering::Step::DryRun) if !deleted => {}
            plan => calls_nothing(plan)?,
        }
    }
    Ok(())
}

fn accepter(object: &VpcPeeringAccepter) -> Verdict {
    let end = Endpoint { vpc_id: "vpc-22222222".into(), region: "eu-central-1".into(), owner_id: None };
    let recorded = vpc_peering_accepter::Recorded::of(object.status.as_ref());
    for deleted in [false, true] {
        let desired = vpc_peering_accepter::Desired {
            owner: &testing::owner(),
            spec: &object.spec,
            end: &end,
            permissions: &testing::permissions(),
            defaults: &testing::defaults(),
            is_cluster_unique: true,
            deleted,
            finalizer: true,
            reconcile_at: None,
            generation: object.metadata.generation.unwrap_or_default(),
            status: object.status.as_ref(),
        };
        let observed = vpc_peering_accepter::Observation { is_settled: true, ..Default::default() };
        let decision = vpc_peering_accepter::decide(desired, &recorded, &observed, Timestamp::UNIX_EPOCH, SETTINGS);
        text(&decision.status)?;
        calls_nothing(&decision.plan)?;
    }
    Ok(())
}

fn calls_nothing<S: Step>(plan: &Plan<S>) -> Verdict {
    match plan {
        Plan::Act(step) if step.calls().is_some() || step.is_destructive() => {
            Err(format!("EC2 shows nothing, and the step is: {}", step.summary()))
        }
        _ => Ok(()),
    }
}

fn identity(object: &AwsIdentity) -> Verdict {
    let spec = &object.spec;
    let limits = Limits::of("an identity".into(), spec);
    let labels = BTreeMap::new();
    let names_somebody = spec.allowed_namespaces.as_ref().is_some_and(|allowed| {
        allowed.all || allowed.list.iter().flatten().any(|name| name == "team") || allowed.selector.is_some()
    });
    if !names_somebody && admits_namespace(spec, "team", Some(&labels)) {
        return Err(format!("the namespace team may use {:?}", spec.allowed_namespaces));
    }
    let names_region = spec.allowed_regions.as_ref().is_some_and(|allowed| allowed.all || allowed.list.is_some());
    if !names_region && limits.region("region", "eu-central-1", true).is_ok() {
        return Err(format!("the region is allowed by {:?}", spec.allowed_regions));
    }
    let names_vpc = spec.allowed_vpcs.as_ref().is_some_and(|allowed| allowed.all || allowed.list.is_some());
    if !names_vpc && limits.vpc("vpcId", "vpc-11111111").is_ok() {
        return Err(format!("the VPC is allowed by {:?}", spec.allowed_vpcs));
    }
    Ok(())
}
