//! The policies that are attached to principals, and the decision for one request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Policy, Statement};
use super::request::Asked;
use crate::world::Caller;
use crate::world::identity::is_named;

/// A policy and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// An access key's ID, a user's or a role's ARN; for a guardrail an account or `*`.
    pub principal: String,
    /// What it is called; another of this name and principal is replaced.
    pub name: String,
    /// What kind of policy it is.
    #[serde(default)]
    pub kind: Kind,
    /// The JSON.
    pub document: Value,
}

/// What kind of policy it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Allows and denies actions of its principal.
    #[default]
    Identity,
    /// Limits who may assume the role, in addition to `Role::trusted`.
    Trust,
    /// Denies actions to everybody in the account: a service control policy next to one that allows everything.
    Guardrail,
}

/// The decision of the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Allowed by this statement; `None` if the caller has no policy.
    Allowed(Option<String>),
    /// Denied, and why.
    Denied(String),
}

/// All policies.
#[derive(Clone, Debug, Default)]
pub struct Policies(BTreeMap<(String, String), (Attachment, Policy)>);

impl Policies {
    /// Adds or replaces a policy.
    ///
    /// # Errors
    /// When the document makes no sense.
    pub fn attach(&mut self, attachment: Attachment) -> Result<(), String> {
        let policy = Policy::parse(&attachment.document)?;
        self.0.insert((attachment.principal.clone(), attachment.name.clone()), (attachment, policy));
        Ok(())
    }

    /// Removes a policy. Tells whether there was one.
    pub fn detach(&mut self, principal: &str, name: &str) -> bool {
        self.0.remove(&(principal.to_owned(), name.to_owned())).is_some()
    }

    /// All of them.
    pub fn list(&self) -> impl Iterator<Item = &Attachment> {
        self.0.values().map(|(attachment, _)| attachment)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this caller may do this. A deny wins over every allow. Without an allow, the default is deny.
    #[must_use]
    pub fn decide(&self, key_id: &str, caller: &Caller, asked: &Asked) -> Decision {
        let role = caller.session.as_ref().map(|session| session.role.as_str());
        let is_callers = |attachment: &Attachment| match attachment.kind {
            Kind::Guardrail => attachment.principal == "*" || attachment.principal == caller.account,
            Kind::Identity => {
                attachment.principal == key_id
                    || attachment.principal == caller.arn
                    || Some(attachment.principal.as_str()) == role
            }
            Kind::Trust => false,
        };
        let callers: Vec<_> = self.0.values().filter(|(attachment, _)| is_callers(attachment)).collect();
        let applying = |is_deny: bool| {
            let statements = callers.iter().flat_map(|(attachment, policy)| {
                policy.statements.iter().map(move |statement| (attachment, statement))
            });
            let applies = move |statement: &Statement| {
                statement.is_deny == is_deny && statement.applies(&asked.action, &asked.resource, &asked.context)
            };
            statements.filter(move |(_, statement)| applies(statement))
        };
        if let Some((attachment, statement)) = applying(true).next() {
            let kind = match attachment.kind {
                Kind::Guardrail => "a service control policy",
                Kind::Identity | Kind::Trust => "an identity-based policy",
            };
            return Decision::Denied(format!(
                "with an explicit deny in {kind} ({}/{})",
                attachment.name, statement.sid
            ));
        }
        if callers.iter().all(|(attachment, _)| attachment.kind == Kind::Guardrail) {
            return Decision::Allowed(None);
        }
        match applying(false).find(|(attachment, _)| attachment.kind == Kind::Identity) {
            Some((attachment, statement)) => Decision::Allowed(Some(format!("{}/{}", attachment.name, statement.sid))),
            None => Decision::Denied(format!("because no identity-based policy allows the {} action", asked.action)),
        }
    }

    /// Whether the trust policy of the role that is asked for lets this caller in; a role without a trust policy allows everybody here.
    #[must_use]
    pub fn decide_trust(&self, caller: &Caller, asked: &Asked) -> Decision {
        let of_role = self
            .0
            .values()
            .filter(|(attachment, _)| attachment.kind == Kind::Trust && attachment.principal == asked.resource);
        let of_role: Vec<_> = of_role.collect();
        if of_role.is_empty() {
            return Decision::Allowed(None);
        }
        let mut allowed = None;
        for (attachment, policy) in of_role {
            for statement in &policy.statements {
                let names = statement.principals.iter().any(|principal| is_named(principal, caller));
                if names && statement.applies(&asked.action, &asked.resource, &asked.context) {
                    let name = format!("{}/{}", attachment.name, statement.sid);
                    if statement.is_deny {
                        return Decision::Denied(format!("with an explicit deny in a resource-based policy ({name})"));
                    }
                    allowed.get_or_insert(name);
                }
            }
        }
        match allowed {
            Some(name) => Decision::Allowed(Some(name)),
            None => Decision::Denied(format!("because no resource-based policy allows the {} action", asked.action)),
        }
    }
}
