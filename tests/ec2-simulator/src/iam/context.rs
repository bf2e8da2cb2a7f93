//! The request context: what condition keys and policy variables are compared with.

use std::collections::BTreeMap;

/// Condition keys and their values. The names of keys, those of tags among them, are not case-sensitive:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition.html>.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Adds a value of a key. Tags whose keys differ in case alone are values of one key.
    pub fn add(&mut self, key: &str, value: &str) {
        self.0.entry(key.to_lowercase()).or_default().push(value.to_owned());
    }

    /// The values of a key; none if the request does not have it.
    #[must_use]
    pub fn values(&self, key: &str) -> &[String] {
        self.0.get(&key.to_lowercase()).map_or(&[], Vec::as_slice)
    }

    /// The value of a key that has exactly one, as a policy variable needs.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            [value] => Some(value),
            _ => None,
        }
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Context {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut context = Self::default();
        for (key, value) in pairs {
            context.add(key, value);
        }
        context
    }
}
