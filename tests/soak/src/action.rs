//! The actions of the test. A plan is a list of them.

use crate::resources::{Resource, Wish};

/// One action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Create(Resource),
    Delete(Resource),
    Edit(Resource, Wish),
    Lie(Resource, Lie),
    /// Removes the operator's finalizer.
    RemoveFinalizer(Resource),
    /// Adds a finalizer of the test, which holds the object back when it is deleted.
    Hold(Resource),
    /// Sets a label and an annotation.
    Mark(Resource, usize),
    DeleteNamespace,
    RecreateNamespace,
    /// Takes the permission for both identities from `team-c`.
    Withdraw,
    Grant,
    /// Changes the session tags of both identities.
    EditIdentities(usize),
    Foreign(Resource, Foreign),
    /// Adds a fault of EC2, by its number.
    Ec2Fault(usize),
    /// Replaces the faults of the API server, by their number.
    ApiFault(usize),
    /// Ends all faults.
    Calm,
    /// Moves EC2's clock forward by hours.
    Clock(u64),
    Replica(usize, Blow),
    RestartApiServer,
    CompactEtcd,
    RestartEtcd,
    SaveEtcd,
    RestoreEtcd,
}

/// A false status, written in the operator's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The ID of the connection of another resource.
    Connection(Resource),
    /// `Ready` is True with a false message.
    Ready,
    /// The record has a route of another resource.
    Routes(Resource),
    /// The record has a tag that the operator did not set.
    Tags,
    /// The status is empty.
    Nothing,
}

/// A change that others make in AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    Accept,
    Reject,
    DeleteConnection,
    DeleteRoute,
    /// Replaces the operator's route by one with another target.
    ReplaceRoute,
    /// Deletes the route of `ReplaceRoute`.
    RestoreRoute,
    /// Adds a route to another destination.
    AddRoute,
    RemoveTag,
    ChangeTag,
    /// Adds a tag with a key that the spec does not have.
    AddTag,
    RemoveOwnership,
    FlipOptions,
    /// Makes a connection to another VPC, with a route and a tag.
    Peering,
    /// Asks a `VpcPeeringAccepter`, which accepts.
    Request(usize),
    /// Asks a `VpcPeeringAccepter`, which must not accept.
    Unwanted,
}

/// A fault of a replica of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Kill,
    Terminate,
    Stop,
    Continue,
}

/// The part of the report that counts an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    Kubernetes,
    Aws,
    Fault,
    Process,
}

impl Group {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kubernetes => "change in Kubernetes",
            Self::Aws => "foreign change in AWS",
            Self::Fault => "fault",
            Self::Process => "process",
        }
    }
}

impl Action {
    /// The group and the name in the report.
    pub fn kind(&self) -> (Group, String) {
        let text = format!("{self:?}");
        let word = |text: &str| text.split(['(', ',', ' ']).next().unwrap_or_default().to_owned();
        let (group, name) = match self {
            Self::Foreign(_, foreign) => (Group::Aws, word(&format!("{foreign:?}"))),
            Self::Clock(_) => (Group::Aws, word(&text)),
            Self::Lie(_, lie) => (Group::Kubernetes, format!("Lie about {}", word(&format!("{lie:?}")))),
            Self::Ec2Fault(number) => (Group::Fault, format!("EC2: {}", crate::faults::of_ec2(*number).0)),
            Self::ApiFault(number) => (Group::Fault, format!("API server: {}", crate::faults::of_api(*number).0)),
            Self::Calm => (Group::Fault, "Calm".to_owned()),
            Self::Replica(_, blow) => (Group::Process, format!("{blow:?} a replica")),
            Self::RestartApiServer | Self::CompactEtcd | Self::RestartEtcd | Self::SaveEtcd | Self::RestoreEtcd => {
                (Group::Process, word(&text))
            }
            _ => (Group::Kubernetes, word(&text)),
        };
        (group, name)
    }
}
