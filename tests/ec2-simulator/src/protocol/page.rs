//! Pagination of the Describe actions: `MaxResults` and `NextToken`.
//! <https://docs.aws.amazon.com/ec2/latest/devguide/pagination.html>

use std::ops::RangeInclusive;

use super::{Params, Xml};
use crate::error::{Error, Result};

/// The part of a listing that the caller requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    action: &'static str,
    limit: Option<usize>,
    after: Option<String>,
}

impl Page {
    /// Takes both parameters. `sizes` is the range that the action allows for `MaxResults`.
    ///
    /// # Errors
    /// `InvalidParameterValue` for a size out of bounds, `InvalidNextToken` for a token that this action did not issue.
    pub(crate) fn take(params: &mut Params, action: &'static str, sizes: &RangeInclusive<usize>) -> Result<Self> {
        let limit = params.parsed("MaxResults")?;
        if let Some(limit) = limit.filter(|limit| !sizes.contains(limit)) {
            let bound = match limit < *sizes.start() {
                true => format!("greater than {}", sizes.start()),
                false => format!("smaller than {}", sizes.end()),
            };
            let message = format!("Value ( {limit} ) for parameter maxResults is invalid. Expecting a value {bound}.");
            return Err(Error::new("InvalidParameterValue", message));
        }
        let after = params.take("NextToken").map(|token| Self::decode(action, &token)).transpose()?;
        Ok(Self { action, limit, after })
    }

    /// The key of the last item on the previous page.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Writes one page. `items` must be sorted by `key` and begin after `after`.
    pub(crate) fn write<T: Copy>(
        &self,
        xml: &mut Xml,
        set: &str,
        items: impl Iterator<Item = T>,
        key: impl Fn(T) -> String,
        content: impl FnMut(&mut Xml, T),
    ) {
        let mut items = items.peekable();
        let page: Vec<T> = items.by_ref().take(self.limit.unwrap_or(usize::MAX)).collect();
        let last = page.last().copied().filter(|_| items.peek().is_some());
        xml.list(set, page, content);
        xml.optional("nextToken", last.map(|last| self.encode(&key(last))));
    }

    /// Tokens are opaque to clients, so they are encoded in hexadecimal.
    fn encode(&self, key: &str) -> String {
        format!("{}/{key}", self.action).bytes().map(|byte| format!("{byte:02x}")).collect()
    }

    fn decode(action: &str, token: &str) -> Result<String> {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(byte).collect();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let key = text.as_deref().and_then(|text| text.strip_prefix(action)?.strip_prefix('/'));
        key.map(str::to_owned).ok_or_else(|| Error::new("InvalidNextToken", format!("The token '{token}' is invalid")))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_continues_the_listing_of_its_action() {
        let page = |form: &str| Page::take(&mut Params::parse(form, b""), "DescribeVpcs", &(5..=1000));
        let first = page("MaxResults=5").unwrap();
        let mut xml = Xml::default();
        first.write(&mut xml, "set", 0..7, |item| item.to_string(), |xml, item| xml.text("id", item));
        let xml = xml.into_string();
        let token = xml.split("<nextToken>").nth(1).unwrap().split('<').next().unwrap();
        assert_eq!(page(&format!("NextToken={token}")).unwrap().after(), Some("4"));
        let other = Page::take(&mut Params::parse(&format!("NextToken={token}"), b""), "DescribeTags", &(5..=1000));
        assert_eq!(other.unwrap_err().code, "InvalidNextToken");
        assert_eq!(page("NextToken=x").unwrap_err().code, "InvalidNextToken");
        for size in ["4", "1001", "-1", "x"] {
            assert_eq!(page(&format!("MaxResults={size}")).unwrap_err().code, "InvalidParameterValue", "{size}");
        }
    }

    #[test]
    fn the_last_page_has_no_token() {
        let page = Page::take(&mut Params::parse("MaxResults=5", b""), "DescribeVpcs", &(5..=1000)).unwrap();
        let mut xml = Xml::default();
        page.write(&mut xml, "set", 0..5, |item| item.to_string(), |xml, item| xml.text("id", item));
        assert!(!xml.into_string().contains("nextToken"));
    }
}
