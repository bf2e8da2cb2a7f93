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
    /// The region of the STS endpoint. Defaults to the operator's own region, because an opt-in region must be enabled
    /// in both accounts, and tokens of every regional endpoint are valid in all regions.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
    pub sts_region: Option<String>,
}

/// Whether the operator adds session tags of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionTags {
    /// Sessions carry the cluster and the namespace. The conditions of `deploy/iam` compare them with the tags of
    /// connections.
    Automatic,
    /// Sessions carry only `spec.sessionTags` of the `AwsIdentity`.
    OfIdentity,
}

impl SessionTags {
    /// The tags under the flag `--disable-session-tags`.
    pub fn from_flag(is_disabled: bool) -> Self {
        if is_disabled { Self::OfIdentity } else { Self::Automatic }
    }
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

/// The prefix of the operator's own tags, on which IAM policies rely.
const RESERVED: &str = "vpcpeering.dev/";

impl Role {
    /// The session for read-only calls, shared by all resources.
    pub fn shared_session(&self, tags: SessionTags, cluster: &str) -> Session {
        Session { name: "vpc-peering-operator".into(), tags: self.tags(tags, &[(Owner::CLUSTER, cluster)]) }
    }

    /// The session for calls that change AWS for one resource.
    pub fn session_for(&self, tags: SessionTags, owner: &Owner) -> Session {
        let ours = [(Owner::CLUSTER, owner.cluster.as_str()), (Owner::NAMESPACE, owner.namespace.as_str())];
        let names = format!("{}.{}", owner.namespace, owner.name);
        Session { name: names.chars().take(SESSION_NAME).collect(), tags: self.tags(tags, &ours) }
    }

    /// The session tags. Those of the operator are the fewest that the conditions of `deploy/iam` need, because STS
    /// limits the size of all tags together. An `AwsIdentity` cannot set any tag under their prefix, even if it was
    /// stored before the schema refused that.
    fn tags(&self, tags: SessionTags, ours: &[(&str, &str)]) -> BTreeMap<String, String> {
        let ours = ours.iter().filter(|_| tags == SessionTags::Automatic);
        let ours = ours.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let theirs = self.session_tags.iter().filter(|(key, _)| !key.to_lowercase().starts_with(RESERVED));
        theirs.map(|(key, value)| (key.clone(), value.clone())).chain(ours).collect()
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
    use std::collections::BTreeSet;
    use std::path::Path;

    use regex::Regex;

    use super::*;
    use crate::peering::testing::owner;

    fn role() -> Role {
        Role {
            identity: "team".into(),
            account_id: "222222222222".into(),
            arn: "arn:aws:iam::222222222222:role/peering".into(),
            external_id: None,
            session_tags: BTreeMap::from([("cost".into(), "7".into()), (Owner::CLUSTER.into(), "forged".into())]),
            sts_region: None,
        }
    }

    #[test]
    fn a_session_has_the_name_of_its_resource_and_the_tags_of_its_cluster_and_namespace() {
        let owner = Owner { name: "x".repeat(100), ..owner() };
        let session = role().session_for(SessionTags::Automatic, &owner);
        assert_eq!(session.name.len(), SESSION_NAME);
        assert!(session.name.starts_with("team.xxx"));
        let tags = |tags: &[(&str, &str)]| -> BTreeMap<String, String> {
            tags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (cluster, namespace) = ((Owner::CLUSTER, &*owner.cluster), (Owner::NAMESPACE, &*owner.namespace));
        assert_eq!(session.tags, tags(&[("cost", "7"), cluster, namespace]));
        let shared = role().shared_session(SessionTags::Automatic, &owner.cluster);
        assert_eq!(shared.tags, tags(&[("cost", "7"), cluster]));
        // IAM ignores the case of tag keys.
        let forged = [(Owner::NAMESPACE.to_uppercase(), "forged".to_owned()), ("cost".into(), "7".into())];
        let forging = Role { session_tags: BTreeMap::from(forged), ..role() };
        assert_eq!(forging.session_for(SessionTags::Automatic, &owner).tags, session.tags);
        for role in [role(), forging] {
            assert_eq!(role.session_for(SessionTags::OfIdentity, &owner).tags, tags(&[("cost", "7")]));
            assert_eq!(role.shared_session(SessionTags::OfIdentity, &owner.cluster).tags, tags(&[("cost", "7")]));
        }
    }

    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    #[test]
    fn a_session_name_has_the_characters_that_sts_allows() {
        let allowed = Regex::new(r"^[A-Za-z0-9_+=,.@-]{2,64}$");
        let longest = ("n".repeat(63), "a.b-c".repeat(50));
        for (namespace, name) in [("a", "b"), ("team-1", "to.partner-2"), (&*longest.0, &*longest.1)] {
            let owner = Owner { namespace: namespace.into(), name: name.into(), ..owner() };
            let session = role().session_for(SessionTags::Automatic, &owner);
            assert!(allowed.as_ref().is_ok_and(|allowed| allowed.is_match(&session.name)), "{}", session.name);
        }
    }

    /// The largest tags of the operator leave room for the longest `spec.sessionTags`: the packed limit of STS is at
    /// least 400 characters.
    #[test]
    fn the_policies_in_deploy_need_exactly_the_tags_of_a_session() -> Result<(), Box<dyn std::error::Error>> {
        let key = Regex::new(r#"aws:PrincipalTag/([^}"]+)"#)?;
        let mut needed = BTreeSet::new();
        for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/iam"))? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(path)?;
                needed.extend(key.captures_iter(&text).map(|found| found[1].to_owned()));
            }
        }
        let bare = Role { session_tags: BTreeMap::new(), ..role() };
        let owner = Owner { cluster: "u".repeat(36), namespace: "n".repeat(63), ..owner() };
        let tags = bare.session_for(SessionTags::Automatic, &owner).tags;
        assert_eq!(tags.keys().cloned().collect::<BTreeSet<_>>(), needed);
        let size: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(size + crate::api::aws_identity::SESSION_TAGS_LENGTH <= 400, "{size}");
        Ok(())
    }
}
