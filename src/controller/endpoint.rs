//! The EC2 calls of one end of a connection. Both kinds use them.

use std::collections::BTreeSet;

use crate::api::{Side, StepEvent};
use crate::aws::{AwsError, DnsLookup, Ec2};
use crate::peering::routes::RouteChange;
use crate::peering::upkeep::UpkeepStep;

/// One end of a connection, and the client that acts there.
pub(super) struct Endpoint<'a> {
    pub ec2: &'a Ec2,
    pub dns: &'a DnsLookup,
    pub region: &'a str,
    pub side: Side,
}

/// The answer to the calls of a step, and the Event that reports their success.
pub(super) struct Answer {
    pub result: Result<(), AwsError>,
    pub event: StepEvent,
    pub note: String,
    /// The route calls, and whether each has succeeded.
    pub routes: Vec<(RouteChange, bool)>,
}

impl Answer {
    pub(super) fn new(result: Result<(), AwsError>, event: StepEvent, note: String) -> Self {
        Self { result, event, note, routes: Vec::new() }
    }

    /// The part of a step on routes that was refused.
    pub(super) fn refused_part(&self) -> Option<UpkeepStep> {
        let refused = self.routes.iter().filter(|(_, has_succeeded)| !has_succeeded);
        let changes: Vec<_> = refused.map(|(change, _)| change.clone()).collect();
        (!changes.is_empty()).then_some(UpkeepStep::ChangeRoutes { changes })
    }
}

impl Endpoint<'_> {
    pub(super) async fn accept(&self, id: &str) -> Answer {
        let result = self.ec2.accept_vpc_peering_connection(self.region, id).await;
        Answer::new(result, StepEvent::Accepted, format!("accepted {id} in {}", self.region))
    }

    pub(super) async fn reject(&self, id: &str) -> Answer {
        let result = self.ec2.reject_vpc_peering_connection(self.region, id).await;
        Answer::new(result, StepEvent::Rejected, format!("rejected {id} in {}", self.region))
    }

    /// Makes the calls of an upkeep step. `None` for a step that only records.
    pub(super) async fn keep(&self, step: &UpkeepStep) -> Option<Answer> {
        let Self { ec2, dns, region, side } = self;
        let (result, event, note) = match step {
            UpkeepStep::RecordTags { .. } | UpkeepStep::RecordRoutes { .. } => return None,
            UpkeepStep::Tag { id, tags } => {
                (ec2.create_tags(region, id, tags).await, StepEvent::Tagged, format!("set tags on {id}"))
            }
            UpkeepStep::Untag { id, keys } => {
                (ec2.delete_tags(region, id, keys).await, StepEvent::Untagged, format!("removed tags from {id}"))
            }
            UpkeepStep::SetOptions { id, allow_dns_resolution_from_remote_vpc: allow } => (
                ec2.modify_vpc_peering_connection_options(region, id, *side, *allow).await,
                StepEvent::OptionsSet,
                format!("set allowDnsResolutionFromRemoteVpc of the {side} of {id} to {allow}"),
            ),
            UpkeepStep::SetDnsAttribute { vpc_id, attribute, .. } => {
                let result = ec2.turn_on_dns_attribute(region, vpc_id, *attribute).await;
                dns.forget(region, vpc_id);
                (result, StepEvent::DnsAttributeSet, format!("turned on {attribute} of {vpc_id} in {region}"))
            }
            UpkeepStep::ChangeRoutes { changes } => {
                return Some(self.change_routes(changes).await);
            }
        };
        Some(Answer::new(result, event, note))
    }

    /// Makes each change, also after one that was refused. The result is the first error. If that is a quota, it names
    /// every table that is full.
    async fn change_routes(&self, changes: &[RouteChange]) -> Answer {
        let note = changes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let mut result = Ok(());
        let mut routes = Vec::new();
        let mut full_tables = BTreeSet::new();
        for change in changes {
            let answer = match change {
                RouteChange::Delete(route) => self.ec2.delete_route(self.region, route).await,
                RouteChange::Replace(route) => self.ec2.replace_route(self.region, route).await,
                RouteChange::Create(route) => self.ec2.create_route(self.region, route).await,
            };
            routes.push((change.clone(), answer.is_ok()));
            if answer.as_ref().err().is_some_and(is_full) {
                full_tables.insert(change.route().route_table_id.as_str());
            }
            result = result.and(answer);
        }
        if let Err(error) = &mut result
            && is_full(error)
        {
            let tables = full_tables.into_iter().collect::<Vec<_>>().join(", ");
            error.message = format!(
                "{} Route tables without room: {tables}. Remove routes from them, exclude them in the spec, or ask AWS \
                 for a higher quota (L-93826ACB, routes per route table)",
                error.message
            );
        }
        Answer { routes, ..Answer::new(result, StepEvent::RoutesChanged, note) }
    }
}

/// Whether EC2 refused a route because its table has as many as the quota allows.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
fn is_full(error: &AwsError) -> bool {
    error.code.as_deref() == Some("RouteLimitExceeded")
}
