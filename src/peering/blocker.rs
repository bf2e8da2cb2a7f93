//! A blocker: the reason why a resource, or one aspect of it, is not as its spec asks.

use std::time::Duration;

use super::settings::STALLED_REQUEUE;
use crate::api::Reason;

/// How many blockers a message lists before it only counts the rest.
const LISTED: usize = 5;

/// Whether work is under way, in the terms of kstatus.
/// <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// No work is left.
    Settled,
    /// The operator or EC2 is working. No person has to act.
    Reconciling,
    /// A person has to act.
    Stalled,
}

/// A blocker and its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Blocker {
    /// Whether it passes by itself.
    pub progress: Progress,
    /// The reason of the condition.
    pub reason: Reason,
    /// The message of the condition: the problem and the remedy.
    pub message: String,
    /// The longest time until the next reconcile, if no event reports a change.
    pub requeue_after: Option<Duration>,
}

impl Blocker {
    /// A blocker that a person has to remove.
    pub(crate) fn stalled(reason: Reason, message: String) -> Self {
        Self { progress: Progress::Stalled, reason, message, requeue_after: None }
    }

    /// A blocker that a person has to remove, and whose end no event reports: it is looked at again after a while.
    pub(crate) fn rechecked(reason: Reason, message: String) -> Self {
        Self { requeue_after: Some(STALLED_REQUEUE), ..Self::stalled(reason, message) }
    }

    /// Whether waiting does not help: a person has to act.
    pub(crate) fn is_stalled(&self) -> bool {
        self.progress == Progress::Stalled
    }

    /// A blocker that passes by itself.
    pub(crate) fn passing(reason: Reason, message: String, requeue_after: Duration) -> Self {
        Self { progress: Progress::Reconciling, reason, message, requeue_after: Some(requeue_after) }
    }

    /// Joins blockers into one. Those that a person has to remove come first and give the reason.
    pub(crate) fn join<'a>(blockers: impl IntoIterator<Item = &'a Self>) -> Option<Self> {
        let mut blockers: Vec<_> = blockers.into_iter().collect();
        blockers.sort_by_key(|blocker| blocker.progress != Progress::Stalled);
        let first = blockers.first()?;
        // Two aspects may share one blocker.
        let mut messages: Vec<_> = blockers.iter().map(|blocker| blocker.message.clone()).collect();
        messages.dedup();
        let unlisted = messages.len().saturating_sub(LISTED);
        messages.truncate(LISTED);
        if unlisted > 0 {
            messages.push(format!("and {unlisted} more"));
        }
        Some(Self {
            progress: first.progress,
            reason: first.reason,
            message: messages.join("; "),
            requeue_after: blockers.iter().filter_map(|blocker| blocker.requeue_after).min(),
        })
    }
}
