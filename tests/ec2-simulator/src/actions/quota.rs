//! The action of Service Quotas.

use serde_json::json;

use super::Context;
use crate::error::{Error, Result};
use crate::protocol::{Content, Params};
use crate::world::World;

/// <https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html>
pub(super) fn get(mut params: Params, world: &mut World, context: &Context<'_>) -> Result<Content> {
    let (service, code) = (params.required("ServiceCode")?, params.required("QuotaCode")?);
    params.finish()?;
    let quotas = &world.settings().quotas;
    // <https://docs.aws.amazon.com/general/latest/gr/vpc-service.html>
    let (name, value) = match (&*service, &*code) {
        ("vpc", "L-7E9ECCDB") => ("Active VPC peering connections per VPC", quotas.active_per_vpc),
        ("vpc", "L-DC9F7029") => ("Outstanding VPC peering connection requests", quotas.outstanding),
        ("vpc", "L-93826ACB") => ("Routes per route table", quotas.routes_per_table),
        _ => return Err(Error::new("NoSuchResourceException", "The request failed because the quota does not exist.")),
    };
    let location = &context.call.location;
    let arn = format!("arn:aws:servicequotas:{}:{}:{service}/{code}", location.region, location.account);
    Ok(Content::Json(json!({"Quota": {
        "ServiceCode": service,
        "QuotaCode": code,
        "QuotaArn": arn,
        "QuotaName": name,
        "Value": value as f64,
        "Adjustable": true,
        "GlobalQuota": false,
    }})))
}
