//! The state of EC2, as far as the invariants need it.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use ec2_simulator::Scene;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Tags by their keys.
pub type Tags = BTreeMap<String, String>;

/// The state of EC2 at one time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub peerings: Vec<Peering>,
    pub routes: Vec<Route>,
    /// The tags of each resource, of all accounts and regions together.
    pub tags: BTreeMap<String, Tags>,
}

/// A peering connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peering {
    pub id: String,
    /// The VPC of each end.
    pub requester: String,
    pub accepter: String,
    pub code: String,
    /// Whether EC2 shows the connection to both ends.
    pub is_shown: bool,
}

impl Peering {
    /// Whether it is neither ended nor ending.
    pub fn is_living(&self) -> bool {
        ["initiating-request", "pending-acceptance", "provisioning", "active"].contains(&self.code.as_str())
    }

    pub fn joins(&self, requester: &str, accepter: &str) -> bool {
        self.requester == requester && self.accepter == accepter
    }
}

/// A route that is not local.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub table: String,
    pub destination: String,
    /// The ID of a connection or of a gateway.
    pub target: String,
}

impl Snapshot {
    /// Reads the state from a scene of the simulator.
    pub fn of(scene: &Scene) -> Result<Self> {
        let scene = serde_json::to_value(scene)?;
        let mut snapshot = Self::default();
        for peering in list(&scene, "peerings") {
            snapshot.peerings.push(Peering {
                id: text(&peering["id"])?,
                requester: text(&peering["requester"]["vpc_id"])?,
                accepter: text(&peering["accepter"]["vpc_id"])?,
                code: text(&peering["phase"]["code"])?,
                is_shown: is_shown(&peering["phase"], scene["now"].as_str())?,
            });
        }
        for table in list(&scene, "route_tables") {
            for route in list(table, "routes") {
                let target = route["target"].as_object().and_then(|target| target.values().next());
                snapshot.routes.push(Route {
                    table: text(&table["id"])?,
                    destination: text(&route["destination"])?,
                    target: text(target.context("a route without a target")?)?,
                });
            }
        }
        for set in list(&scene, "tags") {
            let tags = snapshot.tags.entry(text(&set["resource"])?).or_default();
            for (key, value) in set["tags"].as_object().into_iter().flatten() {
                tags.insert(key.clone(), text(value)?);
            }
        }
        Ok(snapshot)
    }

    /// The living connections of a pair of VPCs.
    pub fn living<'a>(&'a self, requester: &'a str, accepter: &'a str) -> impl Iterator<Item = &'a Peering> {
        self.peerings.iter().filter(move |peering| peering.is_living() && peering.joins(requester, accepter))
    }

    pub fn route(&self, table: &str, destination: &str) -> Option<&Route> {
        self.routes.iter().find(|route| route.table == table && route.destination == destination)
    }
}

/// For this time EC2 shows an ended connection to both ends. It shows it longer to one of them:
/// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html#vpc-peering-lifecycle>.
const SHOWN: SignedDuration = SignedDuration::from_hours(2);

fn is_shown(phase: &Value, now: Option<&str>) -> Result<bool> {
    let Some((since, now)) = phase["since"].as_str().zip(now) else { return Ok(true) };
    Ok(now.parse::<Timestamp>()?.duration_since(since.parse()?) < SHOWN)
}

fn list<'a>(value: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    value[field].as_array().into_iter().flatten()
}

fn text(value: &Value) -> Result<String> {
    Ok(value.as_str().with_context(|| format!("not a string: {value}"))?.to_owned())
}
