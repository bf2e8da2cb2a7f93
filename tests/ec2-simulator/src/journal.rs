//! A journal of every call, for tests to read.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::identity::RoleSession;

/// How many calls are kept; the oldest go first. The counters forget nothing.
const KEPT: usize = 100_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was done, by the simulator's clock.
    pub time: Timestamp,
    /// The caller's account; absent, when nobody knows the access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The access key that signed it, whether or not anybody knows it; absent without a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The caller's ARN; absent with the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// What the caller's session was opened with, if it is one of a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RoleSession>,
    /// The region.
    pub region: String,
    /// The action.
    pub action: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, String>,
    /// The HTTP status of the answer, whether or not it arrived; 0 of a call that hung.
    pub status: u16,
    /// The error's code, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The statements of policies that allowed it, as `POLICY/SID`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<String>,
    /// Why policies denied it, if they did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The kinds of the faults that hit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The request's ID, as the caller was told.
    pub request_id: String,
}

/// How often an action was called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// All calls.
    pub calls: u64,
    /// Those that were refused, by code.
    pub errors: BTreeMap<String, u64>,
}

/// Which calls to show: what is absent matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// The action.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The caller's account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The request's ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What is shown of the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The calls that were asked for, the oldest first.
    pub entries: Vec<Entry>,
    /// How often each action was called in all.
    pub counters: BTreeMap<String, Counter>,
}

/// The journal.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    entries: VecDeque<Entry>,
    counters: BTreeMap<String, Counter>,
}

impl Journal {
    /// Notes a call.
    pub fn add(&mut self, entry: Entry) {
        let counter = self.counters.entry(entry.action.clone()).or_default();
        counter.calls += 1;
        if let Some(code) = &entry.code {
            *counter.errors.entry(code.clone()).or_default() += 1;
        }
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    /// Shows the calls that match.
    #[must_use]
    pub fn read(&self, query: &Query) -> Excerpt {
        let is = |wanted: &Option<String>, value: Option<&str>| wanted.is_none() || wanted.as_deref() == value;
        let entries = self.entries.iter().filter(|entry| {
            is(&query.action, Some(&entry.action))
                && is(&query.account, entry.account.as_deref())
                && is(&query.region, Some(&entry.region))
                && is(&query.code, entry.code.as_deref())
                && is(&query.request_id, Some(&entry.request_id))
        });
        Excerpt { entries: entries.cloned().collect(), counters: self.counters.clone() }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
