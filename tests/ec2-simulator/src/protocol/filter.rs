//! The filters of the Describe actions.
//! <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html#Filtering_Resources_CLI>

use std::collections::BTreeSet;

use super::Params;
use crate::error::{Error, Result};
use crate::world::Tags;

/// Filters. A resource must match all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(Vec<Filter>);

/// One filter. A resource must match one of its values.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    name: String,
    /// Values without wildcards. Most filters have only these, so they are kept in a set for fast lookup.
    values: BTreeSet<String>,
    patterns: Vec<String>,
}

/// Maximum filter values in one call: <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>.
const MAX_VALUES: usize = 200;

impl Filters {
    /// Takes `Filter.n.Name` and `Filter.n.Value.m`. Each name must be one of `names` or `tag:KEY`.
    ///
    /// # Errors
    /// `InvalidParameterValue` for an unknown name, `FilterLimitExceeded` for too many values.
    pub(crate) fn take(params: &mut Params, names: &[&str]) -> Result<Self> {
        let (mut filters, mut number_of_values) = (Vec::new(), 0);
        for number in params.numbers("Filter") {
            let name = params.required(&format!("Filter.{number}.Name"))?;
            let is_pattern = |value: &String| value.contains(['*', '?', '\\']);
            let values = params.list(&format!("Filter.{number}.Value")).into_iter();
            let (patterns, values) = values.partition::<Vec<_>, _>(is_pattern);
            number_of_values += patterns.len() + values.len();
            if !names.contains(&name.as_str()) && name.strip_prefix("tag:").is_none_or(str::is_empty) {
                return Err(Error::new("InvalidParameterValue", format!("The filter '{name}' is invalid")));
            }
            filters.push(Filter { name, values: values.into_iter().collect(), patterns });
        }
        if number_of_values > MAX_VALUES {
            let message = format!("The request has more than {MAX_VALUES} filter values.");
            return Err(Error::new("FilterLimitExceeded", message));
        }
        Ok(Self(filters))
    }

    /// Whether a resource matches. `tags` returns its tags, and `values` its values for the name of a filter.
    pub(crate) fn match_all<'a>(
        &self,
        tags: impl Fn() -> Option<&'a Tags>,
        mut values: impl FnMut(&str) -> Vec<std::borrow::Cow<'a, str>>,
    ) -> bool {
        self.0.iter().all(|Filter { name, values: exact, patterns }| {
            let any = |value: &str| exact.contains(value) || patterns.iter().any(|pattern| matches(pattern, value));
            match (name.as_str(), name.strip_prefix("tag:")) {
                (_, Some(key)) => tags().and_then(|tags| tags.get(key)).is_some_and(|value| any(value)),
                ("tag-key", _) => tags().is_some_and(|tags| tags.keys().any(|key| any(key))),
                _ => values(name).iter().any(|value| any(value)),
            }
        })
    }

    /// The values of a filter, for an index lookup. `None` if there is no such filter or one of its values has a
    /// wildcard.
    pub(crate) fn exact(&self, name: &str) -> Option<&BTreeSet<String>> {
        let filter = self.0.iter().find(|filter| filter.name == name)?;
        filter.patterns.is_empty().then_some(&filter.values)
    }
}

/// Whether a text matches a pattern. `*` matches any characters, `?` matches one, and `\` escapes either.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = letters.as_str();
            let mut tails = text.char_indices().map(|(index, _)| &text[index..]).chain([""]);
            rest.is_empty() || tails.any(|tail| matches(rest, tail))
        }
        Some(letter) => {
            let (letter, any) = match letter {
                '\\' => (letters.next().unwrap_or('\\'), false),
                letter => (letter, letter == '?'),
            };
            let mut text = text.chars();
            text.next().is_some_and(|first| (any || first == letter) && matches(letters.as_str(), text.as_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("", "a", false),
            ("active", "active", true),
            ("active", "Active", false),
            ("act*", "active", true),
            ("*ive", "active", true),
            ("a*i*e", "active", true),
            ("a*x*e", "active", false),
            ("?ctive", "active", true),
            ("?active", "active", false),
            ("*", "", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("\\?", "?", true),
            ("a\\", "a\\", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn all_filters_and_one_value_of_each_must_match() {
        let mut params = Params::parse(
            "",
            b"Filter.1.Name=tag:a&Filter.1.Value.1=x&Filter.1.Value.2=y&Filter.2.Name=tag-key&Filter.2.Value.1=b",
        );
        let filters = Filters::take(&mut params, &["tag-key"]);
        let tags_of =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Tags>();
        for (pairs, fits) in [
            (&[("a", "x"), ("b", "")][..], true),
            (&[("a", "y"), ("b", "1")], true),
            (&[("a", "z"), ("b", "")], false),
            (&[("a", "x")], false),
        ] {
            let tags = tags_of(pairs);
            let passes = filters.clone().is_ok_and(|filters| filters.match_all(|| Some(&tags), |_| vec![]));
            assert_eq!(passes, fits, "{pairs:?}");
        }
        assert!(Filters::take(&mut Params::parse("", b"Filter.1.Name=nonsense"), &["tag-key"]).is_err());
    }
}
