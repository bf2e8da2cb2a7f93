//! The rules of the schema of `VpcPeeringAccepter`.

use anyhow::{Context, Result, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::json;

use super::end::{ACCOUNT, AccepterEnd, NAME, accept_any};
use crate::world::World;

pub async fn every_rule_of_the_accepter_schema_rejects_invalid_values(world: World) -> Result<()> {
    let accepter = AccepterEnd::own(&world);
    let selector = json!({"tags": {"a": "b"}});
    let rows = [
        (json!({"vpcSelector": selector}), "set exactly one of vpcId, vpcSelector and vpcRef to select the VPC"),
        (json!({"vpcId": "subnet-1"}), "spec.vpcId"),
        (json!({"accept": [{}]}), "ownerId"),
        (json!({"accept": [accept_any("1", json!({}))]}), "spec.accept[0].ownerId"),
        (
            json!({"accept": [accept_any(ACCOUNT, json!({"cidrBlocks": {"list": ["10.0.0.0"]}}))]}),
            "cidrBlocks must be CIDR blocks",
        ),
        // Fields that are missing, null or empty must not allow everything.
        (json!({"accept": [{"ownerId": "111111111111"}]}), "spec.accept[0].vpcs"),
        (json!({"accept": [accept_any(ACCOUNT, json!({"vpcs": null}))]}), "spec.accept[0].vpcs"),
        (json!({"accept": [accept_any(ACCOUNT, json!({"regions": {}}))]}), "set all: true to allow every region"),
        (
            json!({"accept": [accept_any(ACCOUNT, json!({"cidrBlocks": {"list": null}}))]}),
            "spec.accept[0].cidrBlocks.list",
        ),
        (json!({"deny": [{}]}), "at least one of ownerId, vpcIds, regions and cidrBlocks"),
        (json!({"reject": true}), "list the requests to reject in deny"),
        (json!({"maxConnections": 126}), "spec.maxConnections"),
        (json!({"adopt": {"connectionIds": ["vpc-00000000"]}}), "spec.adopt.connectionIds[0]"),
        (json!({"tags": [{"key": "vpcpeering.dev/uid", "value": ""}]}), "choose another key"),
    ];
    for (spec, expected) in rows {
        let refusal = accepter.apply(spec.clone()).await.err().with_context(|| format!("{spec} is not rejected"))?;
        ensure!(format!("{refusal:#}").contains(expected), "{spec} is rejected with {refusal:#}");
    }
    accepter.apply(json!({})).await?;
    let fixed = [
        (json!({"region": "eu-west-1"}), "spec.region: Invalid value: \"eu-west-1\": region cannot be changed"),
        (json!({"vpcId": "vpc-00000000"}), "vpcId cannot be changed"),
        (json!({"vpcId": null, "vpcSelector": {"tags": {"a": "b"}}}), "cannot be added or removed"),
    ];
    for (spec, expected) in fixed {
        let patch = Patch::Merge(json!({"spec": spec}));
        let refusal = accepter.api().patch(NAME, &PatchParams::default(), &patch).await;
        let refusal = refusal.err().with_context(|| format!("{spec} is not rejected"))?.to_string();
        ensure!(refusal.contains(expected), "{spec} is rejected with {refusal}");
    }
    Ok(())
}
