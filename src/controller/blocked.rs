//! The reasons for which a reconcile ends before its decision, and their way into the status.

use std::time::Duration;

use crate::aws::{AwsError, Class};
use crate::peering::{Blocker, Plan, Progress, Readiness};

/// Time until AWS is asked again for its answer about an account. All resources of the account share the answer.
const ASK_AGAIN: Duration = Duration::from_secs(10);

/// The reason for which a reconcile ends early.
#[derive(Debug)]
pub(crate) enum Blocked {
    /// A permission or a part of the spec is missing.
    Blocker(Blocker),
    /// AWS could not be read. The state of the peering is unknown.
    Unreadable { error: AwsError, retry_after: Duration },
}

impl Blocked {
    pub(super) fn blocker(&self) -> Blocker {
        match self {
            Self::Blocker(blocker) => blocker.clone(),
            Self::Unreadable { error, retry_after } => {
                Blocker { requeue_after: Some(*retry_after), ..blocker_of(error) }
            }
        }
    }

    /// The summary of the resource. `None` keeps a ready resource ready while AWS only asks to wait.
    pub(super) fn readiness<S>(&self, plan: &Plan<S>, is_ready: bool) -> Option<Readiness> {
        match self {
            Self::Unreadable { error, .. } if error.class == Class::Wait && is_ready => None,
            Self::Unreadable { error, .. } => {
                let blocker = blocker_of(error);
                // The plan of a deleted resource adds the way out.
                let message = match plan {
                    Plan::Wait { message, .. } | Plan::Stalled { message, .. } => message.clone(),
                    _ => blocker.message.clone(),
                };
                Some(Readiness::blocked(Blocker { message, ..blocker }, None))
            }
            Self::Blocker(_) => Readiness::under(plan),
        }
    }

    /// Whether the status answers a person who asked for an immediate reconcile.
    pub(super) fn is_answer(&self) -> bool {
        matches!(self, Self::Blocker(_))
    }
}

impl From<Blocker> for Blocked {
    fn from(blocker: Blocker) -> Self {
        Self::Blocker(blocker)
    }
}

impl From<AwsError> for Blocked {
    fn from(error: AwsError) -> Self {
        Self::Unreadable { error, retry_after: ASK_AGAIN }
    }
}

/// An AWS error as a blocker.
pub(super) fn blocker_of(error: &AwsError) -> Blocker {
    let progress = match error.class {
        Class::Wait | Class::Gone | Class::Broken => Progress::Reconciling,
        Class::FixSpec | Class::FixPermissions => Progress::Stalled,
    };
    Blocker { progress, reason: error.reason(), message: error.to_string(), requeue_after: None }
}
