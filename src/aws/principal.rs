//! The principals that call AWS: the operator itself, or a role that it assumes.

use std::collections::BTreeMap;
use std::fmt;

use crate::peering::Owner;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The operator's own credentials.
    Own,
    /// A role that the operator assumes with its own credentials.
    Role(Role),
}

/// A role, as an `AwsIdentity` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    /// The name of the `AwsIdentity`.
    pub identity: String,
    pub account_id: String,
    pub arn: String,
    /// The `ExternalId` that the role's trust policy may require.
    pub external_id: Option<String>,
    pub session_tags: BTreeMap<String, String>,
    /// The region of the STS endpoint; the operator's own region by default.
    pub region: Option<String>,
}

/// The name and the tags of a role session. IAM policies can have conditions on the tags.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The `RoleSessionName`; CloudTrail shows it.
    pub name: String,
    pub tags: BTreeMap<String, String>,
}

/// Maximum length of a `RoleSessionName`. <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const SESSION_NAME: usize = 64;

impl Role {
    /// The session for read-only calls, shared by all resources.
    pub fn shared_session(&self, cluster: &str) -> Session {
        let cluster = [(Owner::CLUSTER.to_owned(), cluster.to_owned())];
        Session {
            name: "vpc-peering-operator".into(),
            tags: self.session_tags.clone().into_iter().chain(cluster).collect(),
        }
    }

    /// The session for calls that change AWS for one resource. It carries the resource's ownership tags, which override
    /// session tags of the same keys from the `AwsIdentity`.
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
    fn a_session_has_the_name_and_the_ownership_tags_of_its_resource() {
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
