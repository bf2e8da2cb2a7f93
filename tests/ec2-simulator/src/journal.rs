//! The journal: a record of every call, for tests to read.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::world::identity::RoleSession;

/// Maximum entries. The oldest entries are dropped. The counters still include them.
const MAX_ENTRIES: usize = 100_000;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The time of the call, by the simulator's clock.
    pub time: Timestamp,
    /// The caller's account. Absent if the access key is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The access key of the signature, known or not. Absent without a signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_key_id: Option<String>,
    /// The caller's ARN. Absent if the access key is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// The role session of the caller, if the caller has assumed a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RoleSession>,
    /// The region.
    pub region: String,
    /// The name of the action.
    pub action: String,
    /// The parameters of the action.
    pub parameters: BTreeMap<String, String>,
    /// The HTTP status of the response, even if a fault kept it from the caller. 0 if the call hung.
    pub status: u16,
    /// The error code, if the call failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The policy statements that allowed the call, as `POLICY/SID`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_by: Vec<String>,
    /// The reason if a policy denied the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<String>,
    /// The kinds of the faults that affected the call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The request ID that the caller received.
    pub request_id: String,
}

/// Counts the calls of one action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// All calls.
    pub calls: u64,
    /// Failed calls by error code.
    pub errors: BTreeMap<String, u64>,
}

/// Selects journal entries. An absent field matches every call.
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
    /// The error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The request ID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The response of `GET journal`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The matching calls, oldest first.
    pub entries: Vec<Entry>,
    /// The counters of all calls, by action.
    pub counters: BTreeMap<String, Counter>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Journal {
    entries: VecDeque<Entry>,
    counters: BTreeMap<String, Counter>,
}

impl Journal {
    pub(crate) fn add(&mut self, entry: Entry) {
        let counter = self.counters.entry(entry.action.clone()).or_default();
        counter.calls += 1;
        if let Some(code) = &entry.code {
            *counter.errors.entry(code.clone()).or_default() += 1;
        }
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(crate) fn read(&self, query: &Query) -> Excerpt {
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

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
