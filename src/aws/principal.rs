//! Who calls AWS: the operator itself, or a role that it assumes.

use std::collections::BTreeMap;
use std::fmt;

use crate::peering::Owner;

/// Who calls AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The operator's own credentials.
    Own,
    /// A role that is assumed from them.
    Role(Role),
}

/// A role, as an `AwsIdentity` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name of the `AwsIdentity`.
    pub identity: String,
    /// The account that the role is of.
    pub account_id: String,
    /// The role's ARN.
    pub arn: String,
    /// What the role's trust policy may ask for.
    pub external_id: Option<String>,
    /// Tags of every session.
    pub session_tags: BTreeMap<String, String>,
    /// The region whose STS gives the sessions; the operator's own where there is none.
    pub region: Option<String>,
}

/// One session of a role: what it is called, and the tags that IAM's conditions can bind it by.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// `RoleSessionName`, which CloudTrail shows.
    pub name: String,
    /// The session's tags.
    pub tags: BTreeMap<String, String>,
}

/// The longest `RoleSessionName`. <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const SESSION_NAME: usize = 64;

impl Principal {
    /// The name of the `AwsIdentity`, if it is one.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Role(role) => Some(&role.identity),
        }
    }
}

impl Role {
    /// The session that looks at an account for all resources together.
    #[must_use]
    pub fn shared_session(&self, cluster: &str) -> Session {
        let cluster = [(Owner::CLUSTER.to_owned(), cluster.to_owned())];
        Session {
            name: "vpc-peering-operator".into(),
            tags: self.session_tags.clone().into_iter().chain(cluster).collect(),
        }
    }

    /// The session that changes AWS for one resource. No user has a say in it: its tags are those by which the resource
    /// owns its peering.
    #[must_use]
    pub fn session_for(&self, owner: &Owner) -> Session {
        let names = format!("{}.{}", owner.namespace, owner.name);
        let ours = owner.tags().map(|(key, value)| (key.to_owned(), value.to_owned()));
        Session {
            name: names.chars().take(SESSION_NAME).collect(),
            tags: self.session_tags.clone().into_iter().chain(ours).collect(),
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("the operator's own credentials"),
            Self::Role(role) => write!(f, "AwsIdentity {} ({})", role.identity, role.arn),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peering::testing::owner;

    #[test]
    fn a_session_is_named_and_tagged_after_its_resource() {
        let role = Role {
            identity: "team".into(),
            account_id: "222222222222".into(),
            arn: "arn:aws:iam::222222222222:role/peering".into(),
            external_id: None,
            session_tags: BTreeMap::from([("cost".into(), "7".into()), (Owner::CLUSTER.into(), "forged".into())]),
            region: None,
        };
        let owner = Owner { name: "x".repeat(100), ..owner() };
        let session = role.session_for(&owner);
        assert_eq!(session.name.len(), SESSION_NAME);
        assert!(session.name.starts_with("team.xxx"));
        assert_eq!(session.tags.get("cost").map(String::as_str), Some("7"));
        assert_eq!(session.tags.get(Owner::CLUSTER), Some(&owner.cluster));
        assert_eq!(session.tags.get(Owner::UID), Some(&owner.uid));
        assert_eq!(role.shared_session("cluster").tags.get(Owner::CLUSTER).map(String::as_str), Some("cluster"));
    }
}
