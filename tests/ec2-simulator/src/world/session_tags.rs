//! Session tags: their limits, the tags that a session inherits, and their packed size.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html>

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use regex::Regex;

use super::identity::{AssumeRoleRequest, RoleSession};
use super::tag::Tags;
use crate::error::{Error, Result};

const MAX_TAGS: usize = 50;
const MAX_KEY_LENGTH: usize = 128;
const MAX_VALUE_LENGTH: usize = 256;

/// The characters of keys and values. <https://docs.aws.amazon.com/STS/latest/APIReference/API_Tag.html>
const PATTERN: &str = r"[\p{L}\p{Z}\p{N}_.:/=+\-@]*";
static ALLOWED: LazyLock<std::result::Result<Regex, regex::Error>> =
    LazyLock::new(|| Regex::new(&format!("^{PATTERN}$")));

/// Bytes of keys and values that make a packed size of 100 %. AWS documents neither the packed format nor its limit.
/// Users have measured a limit between 400 and 455 characters, and 74 % for the six tags of EKS Pod Identity, which are
/// about 300 characters. The simulator does not compress, so it uses the lower limit.
/// <https://github.com/aws/containers-roadmap/issues/2413>
const PACKED_LIMIT: usize = 400;

/// Checks the tags of a request: their number, lengths and characters, reserved keys, and keys that differ in case.
///
/// # Errors
/// `ValidationError` and `InvalidParameterValue`, as the API reference and the user guide document them.
pub(crate) fn check(tags: &Tags) -> Result<()> {
    if tags.len() > MAX_TAGS {
        let constraint = format!("Member must have length less than or equal to {MAX_TAGS}");
        return Err(invalid(&format!("Value at 'tags' failed to satisfy constraint: {constraint}")));
    }
    for (number, (key, value)) in tags.iter().enumerate() {
        check_text(&format!("tags.{}.member.key", number + 1), key, 1..=MAX_KEY_LENGTH)?;
        check_text(&format!("tags.{}.member.value", number + 1), value, 0..=MAX_VALUE_LENGTH)?;
        if key.to_lowercase().starts_with("aws:") {
            let message = format!("The tag key {key} starts with aws:, which is reserved.");
            return Err(Error::new("InvalidParameterValue", message));
        }
    }
    let keys: BTreeSet<_> = tags.keys().map(|key| key.to_lowercase()).collect();
    if keys.len() < tags.len() {
        let message = "Duplicate tag keys found. Please note that Tag keys are case insensitive.";
        return Err(Error::new("InvalidParameterValue", message));
    }
    Ok(())
}

fn check_text(name: &str, text: &str, lengths: RangeInclusive<usize>) -> Result<()> {
    let length = text.chars().count();
    let constraint = if length < *lengths.start() {
        format!("Member must have length greater than or equal to {}", lengths.start())
    } else if length > *lengths.end() {
        format!("Member must have length less than or equal to {}", lengths.end())
    } else if ALLOWED.as_ref().is_ok_and(|allowed| allowed.is_match(text)) {
        return Ok(());
    } else {
        format!("Member must satisfy regular expression pattern: {PATTERN}")
    };
    Err(invalid(&format!("Value '{text}' at '{name}' failed to satisfy constraint: {constraint}")))
}

fn invalid(message: &str) -> Error {
    Error::new("ValidationError", format!("1 validation error detected: {message}"))
}

/// The tags of a session: the tags of the request, and the transitive tags of the caller's own session, which a request
/// cannot override.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_role-chaining>
///
/// # Errors
/// `InvalidParameterValue` for a tag that the caller's own session passes on.
pub(crate) fn of_session(from: Option<&RoleSession>, request: &AssumeRoleRequest) -> Result<(Tags, BTreeSet<String>)> {
    let (mut tags, mut transitive_tag_keys) = (request.tags.clone(), request.transitive_tag_keys.clone());
    for key in from.iter().flat_map(|session| &session.transitive_tag_keys) {
        if tags.keys().any(|other| other.to_lowercase() == key.to_lowercase()) {
            let message =
                format!("The tag key {key} is transitive in the caller's session and cannot be passed again.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        let value = from.and_then(|session| session.tags.get(key)).cloned().unwrap_or_default();
        tags.insert(key.clone(), value);
        transitive_tag_keys.insert(key.clone());
    }
    Ok((tags, transitive_tag_keys))
}

/// The packed size of all tags of a session, in percent of the limit. Inherited tags count.
///
/// # Errors
/// `PackedPolicyTooLarge` above 100 %, with the text that AWS documents:
/// <https://repost.aws/knowledge-center/iam-role-aws-sts-error>.
pub(crate) fn packed_size(tags: &Tags) -> Result<usize> {
    let bytes: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let percent = (bytes * 100).div_ceil(PACKED_LIMIT);
    if percent > 100 {
        let message = format!("Packed size of session tags consumes {percent}% of allotted space.");
        return Err(Error::new("PackedPolicyTooLarge", message));
    }
    Ok(percent)
}
