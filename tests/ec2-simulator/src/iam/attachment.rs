//! Policies that are attached to principals, and the decision on one authorization request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::policy::{Policy, Statement};
use super::request::AuthorizationRequest;
use crate::world::Caller;
use crate::world::identity::principal_matches;

/// A policy and the principal that it is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// The ID of an access key, or the ARN of a user or role. For a guardrail: an account or `*`.
    pub principal: String,
    /// The name, unique for each principal.
    pub name: String,
    /// The kind of policy.
    #[serde(default)]
    pub kind: Kind,
    /// The policy document.
    pub document: Value,
}

/// The kind of policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An identity-based policy: allows or denies actions of its principal.
    #[default]
    Identity,
    /// A trust policy: limits who may assume the role, in addition to `Role::trusted`.
    Trust,
    /// A service control policy: denies actions to every principal of the account. It never needs to allow an action.
    Guardrail,
}

/// The decision on one authorization request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Allowed by this statement, as `POLICY/SID`. `None` if no policy applies to the caller.
    Allowed(Option<String>),
    /// Denied for this reason, in the words of AWS.
    Denied(String),
}

/// All attached policies, by principal and name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Policies(BTreeMap<(String, String), (Attachment, Policy)>);

impl Policies {
    /// Adds or replaces a policy. Fails if the document is invalid.
    pub(crate) fn attach(&mut self, attachment: Attachment) -> Result<(), String> {
        let policy = Policy::parse(&attachment.document)?;
        self.0.insert((attachment.principal.clone(), attachment.name.clone()), (attachment, policy));
        Ok(())
    }

    /// Removes a policy. Returns whether it existed.
    pub(crate) fn detach(&mut self, principal: &str, name: &str) -> bool {
        self.0.remove(&(principal.to_owned(), name.to_owned())).is_some()
    }

    pub(crate) fn list(&self) -> impl Iterator<Item = &Attachment> {
        self.0.values().map(|(attachment, _)| attachment)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Evaluates identity policies and guardrails. A deny overrides every allow. The default is deny.
    pub(crate) fn decide(&self, key_id: &str, caller: &Caller, request: &AuthorizationRequest) -> Decision {
        let role = caller.session.as_ref().map(|session| session.role.as_str());
        let applies_to_caller = |attachment: &Attachment| match attachment.kind {
            Kind::Guardrail => attachment.principal == "*" || attachment.principal == caller.account,
            Kind::Identity => {
                attachment.principal == key_id
                    || attachment.principal == caller.arn
                    || Some(attachment.principal.as_str()) == role
            }
            Kind::Trust => false,
        };
        let policies: Vec<_> = self.0.values().filter(|(attachment, _)| applies_to_caller(attachment)).collect();
        let applying = |is_deny: bool| {
            let statements = policies.iter().flat_map(|(attachment, policy)| {
                policy.statements.iter().map(move |statement| (attachment, statement))
            });
            let applies = move |statement: &Statement| {
                statement.is_deny == is_deny && statement.applies(&request.action, &request.resource, &request.context)
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
        if policies.iter().all(|(attachment, _)| attachment.kind == Kind::Guardrail) {
            return Decision::Allowed(None);
        }
        match applying(false).find(|(attachment, _)| attachment.kind == Kind::Identity) {
            Some((attachment, statement)) => Decision::Allowed(Some(format!("{}/{}", attachment.name, statement.sid))),
            None => Decision::Denied(format!("because no identity-based policy allows the {} action", request.action)),
        }
    }

    /// Evaluates the trust policies of the role that the request names. A role without a trust policy allows every
    /// caller.
    pub(crate) fn decide_trust(&self, caller: &Caller, request: &AuthorizationRequest) -> Decision {
        let of_role = self
            .0
            .values()
            .filter(|(attachment, _)| attachment.kind == Kind::Trust && attachment.principal == request.resource);
        let of_role: Vec<_> = of_role.collect();
        if of_role.is_empty() {
            return Decision::Allowed(None);
        }
        let mut allowed = None;
        for (attachment, policy) in of_role {
            for statement in &policy.statements {
                let is_named = statement.principals.iter().any(|principal| principal_matches(principal, caller));
                if is_named && statement.applies(&request.action, &request.resource, &request.context) {
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
            None => Decision::Denied(format!("because no resource-based policy allows the {} action", request.action)),
        }
    }
}
