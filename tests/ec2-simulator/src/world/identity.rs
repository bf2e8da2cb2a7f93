//! Access keys, callers, roles and role sessions.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::peering::saturating_add;
use super::region::partition;
use super::tag::Tags;
use super::{World, session_tags};
use crate::error::{Error, Result};

/// The access key that every simulator has from the start.
pub(crate) const DEFAULT_KEY_ID: &str = "test";
/// The account of the default access key.
pub(crate) const DEFAULT_ACCOUNT: &str = "111111111111";

/// An access key. The simulator does not check secrets, so all keys have the same secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// The access key ID.
    pub id: String,
    /// The user or role session that the key belongs to.
    #[serde(flatten)]
    pub caller: Caller,
    /// The session token, if the key belongs to a role session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// When the session ends, or when the key was expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// The caller of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// The account ID: twelve digits.
    pub account: String,
    /// The ARN of the user or of the role session.
    pub arn: String,
    /// The `UserId` that `GetCallerIdentity` returns.
    pub user_id: String,
    /// The role session, if the caller has assumed a role.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RoleSession>,
}

/// The parameters with which a role session was created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSession {
    /// The ARN of the role.
    pub role: String,
    /// The session name.
    pub name: String,
    /// The session tags: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The keys of the transitive tags, which sessions that this session creates inherit.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub transitive_tag_keys: BTreeSet<String>,
}

/// A role, and the principals that its trust policy allows.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::ACCOUNT:role/NAME`, or the ARN of a role in another partition.
    pub arn: String,
    /// The trusted principals: accounts, ARNs of users, roles or sessions, or `*`.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// The external ID that callers must pass, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// Credentials for an AWS client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account of the access key.
    pub account: String,
    /// The access key ID.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token, if these are credentials of a role session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

/// The parameters of `AssumeRole`.
#[derive(Clone, Debug)]
pub(crate) struct AssumeRoleRequest {
    pub(crate) role_arn: String,
    pub(crate) session_name: String,
    pub(crate) external_id: Option<String>,
    /// The lifetime of the session.
    pub(crate) duration: Duration,
    pub(crate) tags: Tags,
    pub(crate) transitive_tag_keys: BTreeSet<String>,
}

/// A new role session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) key: AccessKey,
    pub(crate) expires: Timestamp,
    /// In percent of the limit. STS omits it for a session without tags.
    pub(crate) packed_size: Option<usize>,
}

/// The service of a call. EC2 and STS use different error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Ec2,
    Sts,
    Quotas,
}

/// The secret of every access key.
const SECRET: &str = "any-secret-will-do";

impl AccessKey {
    /// The access key that every simulator has from the start.
    #[must_use]
    pub fn default_user() -> Self {
        Self::of_user(DEFAULT_KEY_ID, DEFAULT_ACCOUNT)
    }

    /// An access key of the only user of an account.
    pub(crate) fn of_user(id: &str, account: &str) -> Self {
        let caller = Caller {
            account: account.to_owned(),
            arn: format!("arn:aws:iam::{account}:user/simulated"),
            user_id: format!("AIDA{account}0000"),
            session: None,
        };
        Self { id: id.to_owned(), caller, session_token: None, expires: None }
    }

    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            account: self.caller.account.clone(),
            access_key_id: self.id.clone(),
            secret_access_key: SECRET.to_owned(),
            session_token: self.session_token.clone(),
        }
    }
}

impl Caller {
    /// Whether the caller has assumed a role, given by ARN or name, or is a user, given by ARN.
    pub(crate) fn acts_as(&self, role: &str) -> bool {
        let session = self.session.as_ref();
        let name = session.and_then(|session| session.role.rsplit('/').next());
        self.arn == role || name == Some(role) || session.is_some_and(|session| session.role == role)
    }
}

impl Role {
    /// The partition, the account and the name in the ARN of a role.
    fn parts(arn: &str) -> Option<(&str, &str, &str)> {
        let (partition, rest) = arn.strip_prefix("arn:")?.split_once(":iam::")?;
        let (account, resource) = rest.split_once(':')?;
        let path = resource.strip_prefix("role/")?;
        let name = path.rsplit('/').next()?;
        (partition.starts_with("aws") && account.len() == 12 && !name.is_empty()).then_some((partition, account, name))
    }

    /// Whether the trust policy allows the caller to assume the role.
    fn trusts(&self, caller: &Caller, external_id: Option<&str>) -> bool {
        self.trusted.iter().any(|trusted| principal_matches(trusted, caller))
            && self.external_id.as_deref().is_none_or(|wanted| Some(wanted) == external_id)
    }
}

/// Whether a `Principal` of a policy matches the caller.
pub(crate) fn principal_matches(principal: &str, caller: &Caller) -> bool {
    let is_root = principal.starts_with("arn:aws") && principal.ends_with(&format!(":iam::{}:root", caller.account));
    principal == "*" || principal == caller.account || is_root || principal == caller.arn || {
        // The ARN of a role matches all its sessions: arn:aws:iam::A:role/NAME matches
        // arn:aws:sts::A:assumed-role/NAME/SESSION.
        Role::parts(principal).is_some_and(|(partition, account, name)| {
            caller.arn.starts_with(&format!("arn:{partition}:sts::{account}:assumed-role/{name}/"))
        })
    }
}

impl World {
    /// The caller of an access key. A region that is not enabled in the account does not know its keys:
    /// <https://github.com/hashicorp/terraform-provider-aws/issues/32549>.
    ///
    /// # Errors
    /// EC2: `AuthFailure` and `RequestExpired`, from its list of common error codes. STS: `InvalidClientTokenId` and
    /// `ExpiredToken`: <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>.
    pub(crate) fn authenticate(
        &self,
        (service, region): (Service, &str),
        key_id: &str,
        token: Option<&str>,
        now: Timestamp,
    ) -> Result<&Caller> {
        let key = self.keys.get(key_id).filter(|key| key.session_token.as_deref() == token);
        let Some(key) = key.filter(|key| self.is_enabled(&key.caller.account, region)) else {
            return Err(match service {
                Service::Ec2 => {
                    Error::new("AuthFailure", "AWS was not able to validate the provided access credentials")
                        .with_status(401)
                }
                Service::Quotas => {
                    let message = "The security token included in the request is invalid.";
                    Error::new("UnrecognizedClientException", message)
                }
                Service::Sts => {
                    Error::new("InvalidClientTokenId", "The security token included in the request is invalid.")
                        .with_status(403)
                }
            });
        };
        if key.expires.is_some_and(|expires| expires <= now) {
            return Err(match service {
                Service::Ec2 => Error::new("RequestExpired", "Request has expired."),
                Service::Quotas => {
                    Error::new("ExpiredTokenException", "The security token included in the request is expired")
                }
                Service::Sts => {
                    Error::new("ExpiredToken", "The security token included in the request is expired").with_status(403)
                }
            });
        }
        Ok(&key.caller)
    }

    /// Creates a session of a role.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    ///
    /// # Errors
    /// `AccessDenied` with the same message if the role does not exist, belongs to another partition, or does not trust
    /// the caller. `RegionDisabledException` if the region is not enabled in the account of the role. Those of
    /// [`session_tags`].
    pub(crate) fn assume_role(
        &mut self,
        caller: &Caller,
        request: &AssumeRoleRequest,
        region: &str,
        now: Timestamp,
    ) -> Result<Session> {
        let admitted = self.settings.any_role
            || self
                .roles
                .get(&request.role_arn)
                .is_some_and(|role| role.trusts(caller, request.external_id.as_deref()));
        let parts = Role::parts(&request.role_arn).filter(|_| admitted);
        let Some((partition, account, name)) = parts.filter(|(name, ..)| *name == partition(region)) else {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.arn, request.role_arn
            );
            return Err(Error::new("AccessDenied", message).with_status(403));
        };
        if !self.is_enabled(account, region) {
            // The text that users quote: https://github.com/turbot/steampipe-plugin-aws/issues/1510
            let message = format!(
                "STS is not activated in this region for account:{account}. Your account administrator can activate \
                 STS in this region using the IAM Console."
            );
            return Err(Error::new("RegionDisabledException", message).with_status(403));
        }
        let (tags, transitive_tag_keys) = session_tags::of_session(caller.session.as_ref(), request)?;
        let packed_size = session_tags::packed_size(&tags)?;
        let (id, session_name) = (format!("ASIA{:016X}", self.random.next_u64()), &request.session_name);
        let expires = saturating_add(now, request.duration);
        let key = AccessKey {
            id: id.clone(),
            caller: Caller {
                account: account.to_owned(),
                arn: format!("arn:{partition}:sts::{account}:assumed-role/{name}/{session_name}"),
                user_id: format!("AROA{account}0000:{session_name}"),
                session: Some(RoleSession {
                    role: request.role_arn.clone(),
                    name: session_name.clone(),
                    tags,
                    transitive_tag_keys,
                }),
            },
            session_token: Some(self.random.uuid()),
            expires: Some(expires),
        };
        self.keys
            .retain(|_, key| key.expires.is_none_or(|expires| saturating_add(expires, EXPIRED_KEY_RETENTION) > now));
        self.keys.insert(id, key.clone());
        Ok(Session { key, expires, packed_size: (packed_size > 0).then_some(packed_size) })
    }

    pub(crate) fn add_key(&mut self, key: AccessKey) {
        self.keys.insert(key.id.clone(), key);
    }

    pub(crate) fn generate_key_id(&mut self) -> String {
        format!("AKIA{:016X}", self.random.next_u64())
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.keys.values()
    }

    /// Makes an access key expire now. Returns whether it exists.
    pub(crate) fn expire_key(&mut self, id: &str, now: Timestamp) -> bool {
        self.keys.get_mut(id).map(|key| key.expires = Some(now)).is_some()
    }

    /// Deletes an access key. Returns whether it existed.
    pub(crate) fn revoke_key(&mut self, id: &str) -> bool {
        self.keys.remove(id).is_some()
    }

    /// Adds or replaces a role. Fails if its ARN is not the ARN of a role.
    pub(crate) fn put_role(&mut self, role: Role) -> Result<()> {
        if Role::parts(&role.arn).is_none() {
            return Err(Error::new("ValidationError", format!("{} is not the ARN of a role", role.arn)));
        }
        self.roles.insert(role.arn.clone(), role);
        Ok(())
    }

    pub(crate) fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// Removes a role. Returns whether it existed.
    pub(crate) fn remove_role(&mut self, arn: &str) -> bool {
        self.roles.remove(arn).is_some()
    }
}

/// An expired session key is kept for this time. Calls with it then fail as expired, not as unknown.
const EXPIRED_KEY_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);
