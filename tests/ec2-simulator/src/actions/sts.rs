//! The actions of the Security Token Service.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Context, Handler};
use crate::error::{Error, Result};
use crate::protocol::{Params, Xml, answer};
use crate::world::{World, identity, session_tags};

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
        let tags = params.tags("Tags.member")?;
        session_tags::check(&tags)?;
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
        let session = world.assume_role(context.caller, &self.0, &context.call.location.region, context.session_now)?;
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
        xml.optional("PackedPolicySize", session.packed_size);
        Ok(xml)
    }
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
