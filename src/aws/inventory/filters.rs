//! What is asked of EC2 by its filters, gathered: many who ask at about the same time cost one call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::types::Filter;
use tokio::time::Instant;

/// The most values that EC2 takes in a filter:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>.
pub const MAX_FILTER_VALUES: usize = 200;

/// Values to look for, by the name of the filter that finds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<&'static str, BTreeSet<String>>);

impl Filters {
    /// The same, and what this filter finds by this value.
    #[must_use]
    pub fn and(mut self, filter: &'static str, value: impl Into<String>) -> Self {
        self.0.entry(filter).or_default().insert(value.into());
        self
    }

    /// Whether every value may be an ID in EC2: `pcx-` or the like, and hexadecimal digits. Anything else finds nothing, or
    /// too much where it has a wildcard, and one that EC2 does not take would fail the call for all who ask.
    #[must_use]
    pub fn are_valid_ids(&self) -> bool {
        self.0.values().flatten().all(|value| value.split_once('-').is_some_and(|(kind, digits)| is_id(kind, digits)))
    }

    /// Adds others.
    pub fn extend(&mut self, others: &Self) {
        for (filter, values) in &others.0 {
            self.0.entry(filter).or_default().extend(values.iter().cloned());
        }
    }

    /// Whether nothing is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many calls they take.
    #[must_use]
    pub fn call_count(&self) -> usize {
        self.0.values().map(|values| values.len().div_ceil(MAX_FILTER_VALUES)).sum()
    }

    /// Whether one of them finds what has these values.
    pub fn matches<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().any(|(filter, values)| value(filter).is_some_and(|value| values.contains(value)))
    }

    /// The filters, one for each call.
    pub fn ec2_filters(&self) -> impl Iterator<Item = Filter> {
        self.0.iter().flat_map(|(name, values)| {
            let values: Vec<_> = values.iter().cloned().collect();
            let chunks: Vec<_> = values.chunks(MAX_FILTER_VALUES).map(<[String]>::to_vec).collect();
            chunks.into_iter().map(|values| Filter::builder().name(*name).set_values(Some(values)).build())
        })
    }
}

impl<T: Into<String>> FromIterator<(&'static str, T)> for Filters {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(asked: I) -> Self {
        asked.into_iter().fold(Self::default(), |questions, (filter, value)| questions.and(filter, value))
    }
}

fn is_id(kind: &str, digits: &str) -> bool {
    kind.bytes().all(|letter| letter.is_ascii_lowercase()) && (8..=17).contains(&digits.len()) && is_hexadecimal(digits)
}

/// Whether the ID is of this kind of resource, such as `pcx`: 8 hexadecimal digits, or 17 since 2016.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>
#[must_use]
pub fn is_id_of(kind: &str, id: &str) -> bool {
    id.split_once('-').is_some_and(|(prefix, digits)| prefix == kind && is_id(prefix, digits))
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}

/// When each question was last times.
#[derive(Debug, Default)]
pub struct QueryTimes(HashMap<&'static str, HashMap<String, Instant>>);

impl QueryTimes {
    /// Takes note of answers to all of these, by a look that began then.
    pub fn record(&mut self, questions: &Filters, began: Instant) {
        for (filter, values) in &questions.0 {
            self.0.entry(filter).or_default().extend(values.iter().map(|value| (value.clone(), began)));
        }
    }

    /// Forgets what was answered before.
    pub fn forget_before(&mut self, time: Instant) {
        for values in self.0.values_mut() {
            values.retain(|_, began| *began > time);
            values.shrink_to_fit();
        }
    }

    /// When the oldest of the answers to these began; none where one has no answer.
    #[must_use]
    pub fn oldest(&self, questions: &Filters) -> Option<Instant> {
        let asked = questions.0.iter().flat_map(|(filter, values)| values.iter().map(move |value| (filter, value)));
        let answers = asked.map(|(filter, value)| self.0.get(filter)?.get(value).copied());
        answers.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_takes_so_many_values_of_one_filter() {
        let mut questions = Filters::default();
        assert_eq!((questions.call_count(), questions.ec2_filters().count()), (0, 0));
        for number in 0..=MAX_FILTER_VALUES {
            questions = questions.and("a", number.to_string());
        }
        questions.extend(&Filters::default().and("a", "0").and("b", "0"));
        let sizes: Vec<_> = questions.ec2_filters().map(|filter| filter.values().len()).collect();
        assert_eq!((questions.call_count(), sizes), (3, vec![MAX_FILTER_VALUES, 1, 1]));
        assert!(questions.matches(|name| (name == "b").then_some("0")));
        assert!(!questions.matches(|name| (name == "b").then_some("1")));
    }

    #[test]
    fn the_oldest_answer_counts_and_one_that_lacks_is_none() {
        let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        let (one, both) = (Filters::default().and("a", "1"), Filters::default().and("a", "1").and("b", "1"));
        let mut times = QueryTimes::default();
        times.record(&one, later);
        assert_eq!((times.oldest(&one), times.oldest(&both)), (Some(later), None));
        times.record(&Filters::default().and("b", "1"), now);
        assert_eq!(times.oldest(&both), Some(now));
        times.forget_before(now);
        assert_eq!((times.oldest(&one), times.oldest(&both)), (Some(later), None));
    }
}
