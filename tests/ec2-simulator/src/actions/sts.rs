//! The actions of the Security Token Service.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Context, Handler};
use crate::error::{Error, Result};
use crate::protocol::{Params, Xml, answer};
use crate::world::{Tags, World, identity};

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
pub(super) struct AssumeRole(identity::AssumeRoleRequest);

impl Handler for AssumeRole {
    fn parse(params: &mut Params) -> Result<Self> {
        let (role_arn, session_name) = (params.required("RoleArn")?, params.required("RoleSessionName")?);
        let seconds: u64 = params.parsed("DurationSeconds")?.unwrap_or(3600);
        if !(900..=43_200).contains(&seconds) {
            let message = format!(
                "1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: \
                 Member must have value between 900 and 43200"
            );
            return Err(Error::new("ValidationError", message));
        }
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "_+=,.@-".contains(letter);
        if !(2..=64).contains(&session_name.len()) || !session_name.chars().all(is_name) {
            let message = format!(
                "1 validation error detected: Value '{session_name}' at 'roleSessionName' failed to satisfy \
                 constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]*"
            );
            return Err(Error::new("ValidationError", message));
        }
        let tags = take_session_tags(params)?;
        let transitive_tag_keys: BTreeSet<_> = params.list("TransitiveTagKeys.member").into_iter().collect();
        if let Some(key) = transitive_tag_keys.iter().find(|key| !tags.contains_key(*key)) {
            let message = format!("The transitive tag key {key} is not among the session's tags.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        let (external_id, duration) = (params.take("ExternalId"), Duration::from_secs(seconds));
        Ok(Self(identity::AssumeRoleRequest {
            role_arn,
            session_name,
            external_id,
            duration,
            tags,
            transitive_tag_keys,
        }))
    }

    fn handle(self, world: &mut World, context: &Context<'_>) -> Result<Xml> {
        let session = world.assume_role(context.caller, &self.0, context.session_now)?;
        let (credentials, caller) = (session.key.credentials(), &session.key.caller);
        let mut xml = Xml::default();
        xml.element("Credentials", |xml| {
            xml.text("AccessKeyId", credentials.access_key_id);
            xml.text("SecretAccessKey", credentials.secret_access_key);
            xml.optional("SessionToken", credentials.session_token);
            xml.text("Expiration", answer::time(session.expires));
        });
        xml.element("AssumedRoleUser", |xml| {
            xml.text("AssumedRoleId", &caller.user_id);
            xml.text("Arn", &caller.arn);
        });
        Ok(xml)
    }
}

/// Session tags: at most 50, with keys that are unique regardless of case.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_know>
fn take_session_tags(params: &mut Params) -> Result<Tags> {
    const MAX_TAGS: usize = 50;
    const MAX_KEY_LENGTH: usize = 128;
    const MAX_VALUE_LENGTH: usize = 256;
    let tags = params.tags("Tags.member")?;
    let lengths = |(key, value): (&String, &String)| {
        let (key, value) = (key.chars().count(), value.chars().count());
        (1..=MAX_KEY_LENGTH).contains(&key) && value <= MAX_VALUE_LENGTH
    };
    if tags.len() > MAX_TAGS || !tags.iter().all(lengths) {
        let message = format!(
            "1 validation error detected: Value at 'tags' failed to satisfy constraint: Member must have at most {MAX_TAGS} \
             tags, keys of at most {MAX_KEY_LENGTH} and values of at most {MAX_VALUE_LENGTH} characters"
        );
        return Err(Error::new("ValidationError", message));
    }
    let keys: BTreeSet<_> = tags.keys().map(|key| key.to_lowercase()).collect();
    if keys.len() < tags.len() {
        let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        return Err(Error::new("InvalidParameterValue", message));
    }
    Ok(tags)
}

/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>
pub(super) struct GetCallerIdentity;

impl Handler for GetCallerIdentity {
    fn parse(_: &mut Params) -> Result<Self> {
        Ok(Self)
    }

    fn handle(self, _: &mut World, context: &Context<'_>) -> Result<Xml> {
        let mut xml = Xml::default();
        xml.text("Arn", &context.caller.arn);
        xml.text("UserId", &context.caller.user_id);
        xml.text("Account", &context.caller.account);
        Ok(xml)
    }
}
