//! The lines on the resource, its request and its connection. Pure.

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use super::line::{Line, Subject, action};
use crate::api::{ConditionType, Reason, VpcPeering};
use crate::peering::conditions;
use crate::peering::{Connection, StatusCode};

/// Whether the operator has reconciled the resource, and its result.
pub(super) fn of_resource(object: &VpcPeering) -> Line {
    let subject = Subject::Resource;
    let status = object.status.as_ref();
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let observed = status.and_then(|status| status.observed_generation);
    if object.metadata.deletion_timestamp.is_some() {
        let message = "the resource is being deleted, and its connection with it";
        return Line::fail(subject, message, "wait, or create the VpcPeering again");
    }
    if object.spec.suspend {
        let message = "spec.suspend stops all writes to AWS";
        return Line::fail(subject, message, "set spec.suspend to false");
    }
    if observed.is_none_or(|observed| Some(observed) < object.metadata.generation) {
        let generation = object.metadata.generation.unwrap_or_default();
        let message = format!("the operator has not reconciled generation {generation} of the spec");
        let remedy = "check with kubectl pcx check that the operator runs and reconciles this namespace";
        return Line::fail(subject, message, remedy);
    }
    let Some(ready) = conditions::find(conditions, ConditionType::Ready) else {
        return Line::fail(
            subject,
            "the status has no condition Ready",
            "check with kubectl pcx check that the operator runs",
        );
    };
    if ready.status == "True" {
        return Line::pass(subject, format!("Ready is True: {}", ready.message));
    }
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == ready.reason);
    let remedy = reason.map_or("see docs/conditions.md", |reason| action(*reason));
    Line::fail(subject, format!("Ready is {} ({}): {}", ready.status, ready.reason, ready.message), remedy)
}

/// The request, its acceptance and the status of the connection. `connection` is EC2's view: `None` if EC2 shows no
/// connection with the recorded ID.
pub(super) fn of_connection(
    object: &VpcPeering,
    connection: Option<&Connection>,
    vpcs: [Option<&str>; 2],
) -> Vec<Line> {
    let Some(id) = id(object) else {
        let remedy = "correct the failed lines above; the operator then sends the request";
        let message = "the operator has sent no request: the status has no vpcPeeringConnectionId";
        return vec![Line::fail(Subject::Request, message, remedy)];
    };
    let Some(connection) = connection else {
        let message = format!("EC2 shows no {id}, which the status of {} records", object.name_any());
        return vec![Line::fail(Subject::Request, message, action(Reason::Deleted))];
    };
    let shown = [&connection.requester, &connection.accepter].map(|end| end.vpc_id.as_deref());
    let differs = |(shown, wanted): (&Option<&str>, &Option<&str>)| wanted.is_some() && shown != wanted;
    if shown.iter().zip(&vpcs).any(differs) {
        let [requester, accepter] = shown.map(|id| id.unwrap_or("an unknown VPC").to_owned());
        let message = format!("{id} joins {requester} and {accepter}, not the VPCs of the spec");
        return vec![Line::fail(Subject::Request, message, action(Reason::ConnectionMismatch))];
    }
    let [requester, accepter] = shown.map(|id| id.unwrap_or("an unknown VPC").to_owned());
    let requested = Line::pass(Subject::Request, format!("{id} joins {requester} and {accepter}"));
    lines_of(connection, requested)
}

fn lines_of(connection: &Connection, requested: Line) -> Vec<Line> {
    let id = &connection.id;
    let message = connection.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
    let fail = |subject, reason: Reason| {
        Line::fail(subject, format!("{id} is {}{message}", connection.code.as_str()), action(reason))
    };
    let accepted = Line::pass(Subject::Acceptance, format!("{id} has been accepted"));
    match connection.code {
        StatusCode::InitiatingRequest => vec![fail(Subject::Request, Reason::InitiatingRequest)],
        StatusCode::Failed => vec![fail(Subject::Request, Reason::Failed)],
        StatusCode::PendingAcceptance => vec![requested, pending(connection)],
        StatusCode::Rejected => vec![requested, fail(Subject::Acceptance, Reason::Rejected)],
        StatusCode::Expired => vec![requested, fail(Subject::Acceptance, Reason::Expired)],
        StatusCode::Provisioning => vec![requested, accepted, fail(Subject::Status, Reason::Provisioning)],
        StatusCode::Active => {
            let active = Line::pass(Subject::Status, format!("{id} is active"));
            vec![requested, accepted, active]
        }
        StatusCode::Deleting => vec![requested, fail(Subject::Status, Reason::Deleting)],
        StatusCode::Deleted => vec![requested, fail(Subject::Status, Reason::Deleted)],
        StatusCode::Unknown(_) => vec![requested, fail(Subject::Status, Reason::UnknownStatusCode)],
    }
}

fn pending(connection: &Connection) -> Line {
    let (id, accepter) = (&connection.id, &connection.accepter);
    let owner = accepter.owner_id.as_deref().unwrap_or("of the accepter");
    let until =
        connection.expiration_time.map(|time: Timestamp| format!(" until {}", time.strftime("%Y-%m-%dT%H:%MZ")));
    let message = format!("{id} waits for account {owner} to accept it{}", until.unwrap_or_default());
    let region = accepter.region.as_deref().map(|region| format!(" --region {region}")).unwrap_or_default();
    let remedy = format!(
        "set spec.accepter.identityRef, or accept it with account {owner}: aws ec2 accept-vpc-peering-connection{region} --vpc-peering-connection-id {id}"
    );
    Line::fail(Subject::Acceptance, message, remedy)
}

/// The recorded ID of the connection.
pub(super) fn id(object: &VpcPeering) -> Option<&str> {
    object.status.as_ref()?.vpc_peering_connection_id.as_deref()
}
