//! The parameters of a call. A parameter that the action does not take is rejected, so that a typo cannot pass
//! unnoticed.

use std::collections::BTreeMap;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::world::Tags;
use crate::world::id::ResourceKind;

/// The parameters that the action has not taken yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Parses a query string and a form.
    pub(crate) fn parse(query: &str, form: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes()).chain(form_urlencoded::parse(form));
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// Parses a JSON body. The target, such as `ServiceQuotasV20190624.GetServiceQuota`, ends with the action.
    pub(crate) fn of_json(target: &str, body: &[u8]) -> Self {
        let fields: BTreeMap<String, serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
        let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let fields = fields.into_iter().map(|(name, value)| (name, text(value)));
        let action = target.rsplit('.').next().unwrap_or_default().to_owned();
        Self(fields.chain([("Action".to_owned(), action)]).collect())
    }

    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }

    /// Takes a parameter; an empty one counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name).filter(|value| !value.is_empty())
    }

    /// Takes a required parameter.
    pub(crate) fn required(&mut self, name: &str) -> Result<String> {
        self.take(name).ok_or_else(|| Error::missing_parameter(name))
    }

    /// Takes a parameter and parses it.
    pub(crate) fn parsed<T: FromStr>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.parse().map(Some).map_err(|_| Error::invalid_value(name, &value, "It is not of the expected form."))
    }

    /// Takes the numbered values of a list, such as `VpcId.1` and `VpcId.2`.
    pub(crate) fn list(&mut self, name: &str) -> Vec<String> {
        self.numbers(name).into_iter().filter_map(|number| self.0.remove(&format!("{name}.{number}"))).collect()
    }

    /// The indexes that a list uses, in ascending order.
    pub(crate) fn numbers(&self, name: &str) -> Vec<u32> {
        let prefix = format!("{name}.");
        let keys = self.0.range(prefix.clone()..).map_while(|(key, _)| key.strip_prefix(&prefix));
        let mut numbers: Vec<u32> = keys.filter_map(|rest| rest.split('.').next()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Takes the pairs `NAME.n.Key` and `NAME.n.Value`. The value is optional.
    pub(crate) fn pairs(&mut self, name: &str) -> Result<Vec<(String, Option<String>)>> {
        let numbers = self.numbers(name);
        let pair = |number| {
            let key = format!("{name}.{number}.Key");
            let value = self.0.remove(&format!("{name}.{number}.Value"));
            Ok((self.0.remove(&key).ok_or_else(|| Error::missing_parameter(&key))?, value))
        };
        numbers.into_iter().map(pair).collect()
    }

    /// Takes tags to be created. A duplicate key is an error.
    pub(crate) fn tags(&mut self, name: &str) -> Result<Tags> {
        let mut tags = Tags::new();
        for (key, value) in self.pairs(name)? {
            if tags.contains_key(&key) {
                return Err(Error::new("InvalidParameterValue", format!("Duplicate tag key '{key}' specified.")));
            }
            tags.insert(key, value.unwrap_or_default());
        }
        Ok(tags)
    }

    /// Takes the tags of the resource that the call creates.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_TagSpecification.html>
    pub(crate) fn tag_specifications(&mut self, kind: ResourceKind) -> Result<Tags> {
        let mut all = Tags::new();
        for number in self.numbers("TagSpecification") {
            let kind_of = self.required(&format!("TagSpecification.{number}.ResourceType"))?;
            if kind_of != kind.type_name() {
                let message = format!("'{kind_of}' is not a valid taggable resource type for this operation.");
                return Err(Error::new("InvalidParameterValue", message));
            }
            all.extend(self.tags(&format!("TagSpecification.{number}.Tag"))?);
        }
        Ok(all)
    }

    /// Rejects parameters that the action did not take.
    pub(crate) fn finish(self) -> Result<()> {
        match self.0.into_keys().next() {
            Some(name) => Err(Error::new("UnknownParameter", format!("The parameter {name} is not recognized"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lists_are_sorted_by_index() {
        let mut params = Params::parse("", b"VpcId.10=c&VpcId.2=b&VpcId.1=a&VpcIdx.1=d");
        assert_eq!(params.list("VpcId"), ["a", "b", "c"]);
        assert_eq!(params.finish().unwrap_err().code, "UnknownParameter");
    }

    #[test]
    fn tag_specifications_need_the_right_resource_type_and_unique_keys() {
        let form = b"TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=a%20b&TagSpecification.1.Tag.1.Value=%26";
        let tags = Params::parse("", form).tag_specifications(ResourceKind::Vpc).unwrap();
        assert_eq!(tags, Tags::from([("a b".to_owned(), "&".to_owned())]));
        assert!(Params::parse("", form).tag_specifications(ResourceKind::RouteTable).is_err());
        assert!(Params::parse("", b"Tag.1.Key=a&Tag.2.Key=a").tags("Tag").is_err());
        assert!(Params::parse("", b"Tag.1.Value=a").tags("Tag").is_err());
    }
}
