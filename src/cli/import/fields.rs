//! The values in the fields of other tools' resources. Pure.

use std::collections::BTreeMap;

use anyhow::ensure;
use ipnet::IpNet;
use serde_json::Value;

/// The kinds of values that a field may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The ID of an AWS resource, with this prefix.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>
    Id(&'static str),
    /// 12 digits.
    Account,
    Region,
    CidrBlock,
}

impl Form {
    pub(super) fn accepts(self, text: &str) -> bool {
        let is_hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match self {
            Self::Id(prefix) => {
                let digits = text.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
                digits.is_some_and(|digits| matches!(digits.len(), 8 | 17) && is_hex(digits))
            }
            Self::Account => text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit()),
            Self::Region => {
                let parts: Vec<_> = text.split('-').collect();
                let is_word = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
                let number = parts.last().is_some_and(|part| part.parse::<u8>().is_ok_and(|number| number < 100));
                (3..=5).contains(&parts.len()) && number && parts[..parts.len() - 1].iter().all(is_word)
            }
            Self::CidrBlock => text.parse::<IpNet>().is_ok_and(|block| block == block.trunc()),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Id(prefix) => format!("an ID such as {prefix}-0a1b2c3d4e5f67890"),
            Self::Account => "an account ID of 12 digits".into(),
            Self::Region => "an AWS region such as eu-central-1".into(),
            Self::CidrBlock => "a CIDR block such as 10.1.0.0/16".into(),
        }
    }
}

/// The text in a field. `None` if it is absent, null or empty, as Terraform writes unset fields.
///
/// # Errors
/// If it has another form. The error names the field.
pub(super) fn field(object: &Value, path: &str, form: Form) -> anyhow::Result<Option<String>> {
    let value = path.split('.').fold(object, |value, key| &value[key]);
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) if text.is_empty() => return Ok(None),
        Value::String(text) => text,
        other => anyhow::bail!("{path}: must be {}, but is {other}", form.name()),
    };
    ensure!(form.accepts(text), "{path}: must be {}, but is {text:?}", form.name());
    // EC2 shows IPv6 blocks in the short form.
    let block = (form == Form::CidrBlock).then(|| text.parse::<IpNet>().ok().map(|block| block.to_string())).flatten();
    Ok(Some(block.unwrap_or_else(|| text.clone())))
}

/// The tags in a map of texts, as Terraform and Crossplane write them.
///
/// # Errors
/// If it is no such map.
pub(super) fn tag_map(object: &Value, path: &str) -> anyhow::Result<Option<BTreeMap<String, String>>> {
    let value = path.split('.').fold(object, |value, key| &value[key]);
    match value {
        Value::Null => Ok(None),
        Value::Object(map) => {
            let tag = |(key, value): (&String, &Value)| match value {
                Value::Null => Ok((key.clone(), String::new())),
                Value::String(text) => Ok((key.clone(), text.clone())),
                other => anyhow::bail!("{path}.{key}: must be a text, but is {other}"),
            };
            map.iter().map(tag).collect::<anyhow::Result<_>>().map(Some)
        }
        other => anyhow::bail!("{path}: must be a map of texts, but is {other}"),
    }
}

/// The first item of a list, or the object itself. Terraform and Crossplane write a block as a list of one item.
pub(super) fn block<'a>(object: &'a Value, name: &str) -> &'a Value {
    match &object[name] {
        Value::Array(items) => items.first().unwrap_or(&Value::Null),
        other => other,
    }
}

/// The region and the account in an ARN.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
pub(super) fn place(arn: &str) -> Option<(String, String)> {
    let parts: Vec<_> = arn.split(':').collect();
    let (region, account) = (parts.get(3)?, parts.get(4)?);
    (Form::Region.accepts(region) && Form::Account.accepts(account))
        .then(|| ((*region).to_owned(), (*account).to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_field_is_named() -> anyhow::Result<()> {
        let object = json!({"a": {"vpc": "vpc-1"}, "region": "", "cidr": "10.1.2.3/8", "owner": 1});
        let error = |path: &str, form| field(&object, path, form).err().map(|error| error.to_string());
        assert_eq!(
            error("a.vpc", Form::Id("vpc")).as_deref(),
            Some("a.vpc: must be an ID such as vpc-0a1b2c3d4e5f67890, but is \"vpc-1\"")
        );
        assert!(error("cidr", Form::CidrBlock).is_some() && error("owner", Form::Account).is_some());
        assert_eq!(field(&object, "region", Form::Region)?, None);
        let long = json!({"block": "2001:DB8:0:0::/56"});
        assert_eq!(field(&long, "block", Form::CidrBlock)?.as_deref(), Some("2001:db8::/56"));
        assert!(Form::Region.accepts("us-gov-west-1") && !Form::Region.accepts("global"));
        Ok(())
    }
}
