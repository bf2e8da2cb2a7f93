//! Who is behind an access key, and who may assume which role.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::World;
use super::peering::later;
use super::tag::Tags;
use crate::error::{Error, Result};

/// The one access key that there is from the start.
pub const DEFAULT_KEY_ID: &str = "test";
/// The account that it belongs to.
pub const DEFAULT_ACCOUNT: &str = "111111111111";

/// An access key. Secrets are never checked, so the simulator's own are all alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessKey {
    /// What a signature names.
    pub id: String,
    /// Whose it is.
    #[serde(flatten)]
    pub caller: Caller,
    /// The token that must come along, if it is a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
    /// When a session ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// Twelve digits.
    pub account: String,
    /// The user, or the session of a role.
    pub arn: String,
    /// What `GetCallerIdentity` calls it.
    pub user_id: String,
    /// The session of a role, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<RoleSession>,
}

/// What a session of a role was opened with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleSession {
    /// The role's ARN.
    pub role: String,
    /// What its opener called it.
    pub name: String,
    /// Its tags: <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>.
    #[serde(default, skip_serializing_if = "Tags::is_empty")]
    pub tags: Tags,
    /// The keys of those that go along into a session that this one opens.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub transitive_tag_keys: BTreeSet<String>,
}

/// A role, and whom its trust policy lets in.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `arn:aws:iam::ACCOUNT:role/NAME`
    pub arn: String,
    /// Accounts, ARNs of users, roles or sessions, or `*`.
    #[serde(default)]
    pub trusted: Vec<String>,
    /// What a caller must say besides, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// Credentials, as a client needs them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The account that they speak for.
    pub account: String,
    /// What a signature names.
    pub access_key_id: String,
    /// What a signature is made with.
    pub secret_access_key: String,
    /// What comes along, if they are a session's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_token: Option<String>,
}

/// A wish to act as a role.
#[derive(Clone, Debug)]
pub struct AssumeRole {
    /// Which one.
    pub role_arn: String,
    /// What to call the session.
    pub session_name: String,
    /// What the role's owner and the caller agreed on.
    pub external_id: Option<String>,
    /// For how long.
    pub duration: Duration,
    /// The session's tags.
    pub tags: Tags,
    /// The keys of those that are to go along.
    pub transitive_tag_keys: BTreeSet<String>,
}

/// A session of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Its access key.
    pub key: AccessKey,
    /// Until when.
    pub expires: Timestamp,
}

/// Which service is asked; the two refuse in different words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// EC2.
    Ec2,
    /// The Security Token Service.
    Sts,
}

/// The secret of every access key.
pub const SECRET: &str = "any-secret-will-do";

impl AccessKey {
    /// The key that there is from the start.
    #[must_use]
    pub fn default_user() -> Self {
        Self::of_user(DEFAULT_KEY_ID, DEFAULT_ACCOUNT)
    }

    /// A key of a user of this account.
    #[must_use]
    pub fn of_user(id: &str, account: &str) -> Self {
        let caller = Caller {
            account: account.to_owned(),
            arn: format!("arn:aws:iam::{account}:user/simulated"),
            user_id: format!("AIDA{account}0000"),
            session: None,
        };
        Self { id: id.to_owned(), caller, session_token: None, expires: None }
    }

    /// What a client needs to use it.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        Credentials {
            account: self.caller.account.clone(),
            access_key_id: self.id.clone(),
            secret_access_key: SECRET.to_owned(),
            session_token: self.session_token.clone(),
        }
    }
}

impl Caller {
    /// Whether it acts as this role, which is called by its ARN or by its name; a user by their ARN.
    #[must_use]
    pub fn is(&self, role: &str) -> bool {
        let session = self.session.as_ref();
        let name = session.and_then(|session| session.role.rsplit('/').next());
        self.arn == role || name == Some(role) || session.is_some_and(|session| session.role == role)
    }
}

impl Role {
    /// The account in an ARN, and the name at its end.
    fn parts(arn: &str) -> Option<(&str, &str)> {
        let (account, resource) = arn.strip_prefix("arn:aws:iam::")?.split_once(':')?;
        let path = resource.strip_prefix("role/")?;
        let name = path.rsplit('/').next()?;
        (account.len() == 12 && !name.is_empty()).then_some((account, name))
    }

    /// Whether the trust policy lets this caller in.
    fn admits(&self, caller: &Caller, external_id: Option<&str>) -> bool {
        self.trusted.iter().any(|trusted| is_named(trusted, caller))
            && self.external_id.as_deref().is_none_or(|wanted| Some(wanted) == external_id)
    }
}

/// Whether a `Principal` of a policy means this caller.
#[must_use]
pub fn is_named(principal: &str, caller: &Caller) -> bool {
    let root = format!("arn:aws:iam::{}:root", caller.account);
    principal == "*" || principal == caller.account || principal == root || principal == caller.arn || {
        // A session is also its role: arn:aws:sts::A:assumed-role/NAME/SESSION is arn:aws:iam::A:role/NAME.
        Role::parts(principal).is_some_and(|(account, name)| {
            caller.arn.starts_with(&format!("arn:aws:sts::{account}:assumed-role/{name}/"))
        })
    }
}

impl World {
    /// Who is behind this access key.
    ///
    /// # Errors
    /// EC2: `AuthFailure` and `RequestExpired`, from its list of common error codes. STS: `InvalidClientTokenId` and
    /// `ExpiredToken`: <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>.
    pub fn authenticate(&self, service: Service, key_id: &str, token: Option<&str>, now: Timestamp) -> Result<&Caller> {
        let key = self.keys.get(key_id).filter(|key| key.session_token.as_deref() == token);
        let Some(key) = key else {
            return Err(match service {
                Service::Ec2 => {
                    Error::new("AuthFailure", "AWS was not able to validate the provided access credentials")
                        .with_status(401)
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
                Service::Sts => {
                    Error::new("ExpiredToken", "The security token included in the request is expired").with_status(403)
                }
            });
        }
        Ok(&key.caller)
    }

    /// Opens a session of a role.
    /// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
    ///
    /// # Errors
    /// `InvalidParameterValue`, when a tag is one that the caller's own session hands on, and `AccessDenied`, in the same words whether there is no such role or it does not trust the caller.
    pub fn assume_role(&mut self, caller: &Caller, wish: &AssumeRole, now: Timestamp) -> Result<Session> {
        let admitted = self.settings.any_role
            || self.roles.get(&wish.role_arn).is_some_and(|role| role.admits(caller, wish.external_id.as_deref()));
        let Some((account, name)) = Role::parts(&wish.role_arn).filter(|_| admitted) else {
            let message = format!(
                "User: {} is not authorized to perform: sts:AssumeRole on resource: {}",
                caller.arn, wish.role_arn
            );
            return Err(Error::new("AccessDenied", message).with_status(403));
        };
        let (tags, transitive_tag_keys) = session_tags(caller.session.as_ref(), wish)?;
        let (id, session_name) = (format!("ASIA{:016X}", self.random.next_u64()), &wish.session_name);
        let expires = later(now, wish.duration);
        let key = AccessKey {
            id: id.clone(),
            caller: Caller {
                account: account.to_owned(),
                arn: format!("arn:aws:sts::{account}:assumed-role/{name}/{session_name}"),
                user_id: format!("AROA{account}0000:{session_name}"),
                session: Some(RoleSession {
                    role: wish.role_arn.clone(),
                    name: session_name.clone(),
                    tags,
                    transitive_tag_keys,
                }),
            },
            session_token: Some(self.random.uuid()),
            expires: Some(expires),
        };
        self.keys.retain(|_, key| key.expires.is_none_or(|expires| later(expires, KEPT_AFTER_EXPIRY) > now));
        self.keys.insert(id, key.clone());
        Ok(Session { key, expires })
    }

    /// Adds an access key, of a new or a known account.
    pub fn add_key(&mut self, key: AccessKey) {
        self.keys.insert(key.id.clone(), key);
    }

    /// A new ID for an access key.
    pub fn mint_key_id(&mut self) -> String {
        format!("AKIA{:016X}", self.random.next_u64())
    }

    /// All access keys.
    pub fn keys(&self) -> impl Iterator<Item = &AccessKey> {
        self.keys.values()
    }

    /// Ends an access key's life now. Tells whether there is one.
    pub fn expire_key(&mut self, id: &str, now: Timestamp) -> bool {
        self.keys.get_mut(id).map(|key| key.expires = Some(now)).is_some()
    }

    /// Removes an access key, as if it had never been. Tells whether there was one.
    pub fn revoke_key(&mut self, id: &str) -> bool {
        self.keys.remove(id).is_some()
    }

    /// Adds or replaces a role.
    ///
    /// # Errors
    /// When its ARN is not one of a role.
    pub fn put_role(&mut self, role: Role) -> Result<()> {
        if Role::parts(&role.arn).is_none() {
            return Err(Error::new("ValidationError", format!("{} is not the ARN of a role", role.arn)));
        }
        self.roles.insert(role.arn.clone(), role);
        Ok(())
    }

    /// All roles.
    pub fn roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values()
    }

    /// Removes a role. Tells whether there was one.
    pub fn remove_role(&mut self, arn: &str) -> bool {
        self.roles.remove(arn).is_some()
    }
}

/// The tags of a session: those of the wish, and those that the caller's own session hands on, which nobody can change.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining>
fn session_tags(from: Option<&RoleSession>, wish: &AssumeRole) -> Result<(Tags, BTreeSet<String>)> {
    let (mut tags, mut transitive_tag_keys) = (wish.tags.clone(), wish.transitive_tag_keys.clone());
    for key in from.iter().flat_map(|session| &session.transitive_tag_keys) {
        let value = from.and_then(|session| session.tags.get(key)).cloned().unwrap_or_default();
        if tags.insert(key.clone(), value).is_some() {
            let message =
                format!("The tag key {key} is transitive in the caller's session and cannot be passed again.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        transitive_tag_keys.insert(key.clone());
    }
    Ok((tags, transitive_tag_keys))
}

/// A session that ended is remembered for a while, so that its caller learns that it did.
const KEPT_AFTER_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);
