//! EC2 filters, merged so that queries of many resources share one call.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use aws_sdk_ec2::types::Filter;
use tokio::time::Instant;

/// Maximum values in one EC2 filter:
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/Using_Filtering.html>.
pub const MAX_FILTER_VALUES: usize = 200;

/// Filter values by filter name. An item matches if any value of any filter matches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters(BTreeMap<&'static str, BTreeSet<String>>);

impl Filters {
    pub fn and(mut self, filter: &'static str, value: impl Into<String>) -> Self {
        self.0.entry(filter).or_default().insert(value.into());
        self
    }

    /// Whether every value has the form of an EC2 ID: a prefix such as `pcx-` and hexadecimal digits. A value with a
    /// wildcard would match too much, and one that EC2 rejects would fail the call for all queries that share it.
    pub fn are_valid_ids(&self) -> bool {
        self.0.values().flatten().all(|value| value.split_once('-').is_some_and(|(kind, digits)| is_id(kind, digits)))
    }

    pub fn extend(&mut self, others: &Self) {
        for (filter, values) in &others.0 {
            self.0.entry(filter).or_default().extend(values.iter().cloned());
        }
    }

    /// Adds the other filters, unless all together might need more than this number of EC2 calls. Returns whether it did.
    pub fn extend_within(&mut self, others: &Self, calls: usize) -> bool {
        let count = |filters: &Self, name| filters.0.get(name).map_or(0, BTreeSet::len);
        let names: BTreeSet<_> = self.0.keys().chain(others.0.keys()).collect();
        let most = names.into_iter().map(|name| (count(self, name) + count(others, name)).div_ceil(MAX_FILTER_VALUES));
        let fits = most.sum::<usize>() <= calls;
        if fits {
            self.extend(others);
        }
        fits
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of EC2 calls that these filters need.
    pub fn call_count(&self) -> usize {
        self.0.values().map(|values| values.len().div_ceil(MAX_FILTER_VALUES)).sum()
    }

    /// Whether an item matches; `value` returns its attribute for a filter name.
    pub fn matches<'a>(&self, value: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.0.iter().any(|(filter, values)| value(filter).is_some_and(|value| values.contains(value)))
    }

    /// One filter for each EC2 call: several filters in one call would match only items that match all of them.
    pub fn ec2_filters(&self) -> impl Iterator<Item = Filter> {
        self.0.iter().flat_map(|(name, values)| {
            let values: Vec<_> = values.iter().cloned().collect();
            let chunks: Vec<_> = values.chunks(MAX_FILTER_VALUES).map(<[String]>::to_vec).collect();
            chunks.into_iter().map(|values| Filter::builder().name(*name).set_values(Some(values)).build())
        })
    }
}

impl<T: Into<String>> FromIterator<(&'static str, T)> for Filters {
    fn from_iter<I: IntoIterator<Item = (&'static str, T)>>(values: I) -> Self {
        values.into_iter().fold(Self::default(), |filters, (filter, value)| filters.and(filter, value))
    }
}

fn is_id(kind: &str, digits: &str) -> bool {
    kind.bytes().all(|letter| letter.is_ascii_lowercase()) && (8..=17).contains(&digits.len()) && is_hexadecimal(digits)
}

/// Whether this is an ID with this prefix, such as `pcx`, and 8 to 17 hexadecimal digits. EC2's own IDs have 8 or 17.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>
pub fn is_id_of(kind: &str, id: &str) -> bool {
    id.split_once('-').is_some_and(|(prefix, digits)| prefix == kind && is_id(prefix, digits))
}

fn is_hexadecimal(digits: &str) -> bool {
    digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit))
}

/// The start of the last poll of each filter value.
#[derive(Debug, Default)]
pub struct QueryTimes(HashMap<&'static str, HashMap<String, Instant>>);

impl QueryTimes {
    pub fn record(&mut self, filters: &Filters, began: Instant) {
        for (filter, values) in &filters.0 {
            self.0.entry(filter).or_default().extend(values.iter().map(|value| (value.clone(), began)));
        }
    }

    /// Drops the entries that are not newer than `time`.
    pub fn forget_before(&mut self, time: Instant) {
        for values in self.0.values_mut() {
            values.retain(|_, began| *began > time);
            values.shrink_to_fit();
        }
    }

    /// The start of the oldest poll of these filters. `None` if a value has not been polled.
    pub fn oldest(&self, filters: &Filters) -> Option<Instant> {
        let values = filters.0.iter().flat_map(|(filter, values)| values.iter().map(move |value| (filter, value)));
        let polls = values.map(|(filter, value)| self.0.get(filter)?.get(value).copied());
        polls.collect::<Option<Vec<_>>>()?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_call_has_one_filter_with_a_limited_number_of_values() {
        let mut filters = Filters::default();
        assert_eq!((filters.call_count(), filters.ec2_filters().count()), (0, 0));
        for number in 0..=MAX_FILTER_VALUES {
            filters = filters.and("a", number.to_string());
        }
        filters.extend(&Filters::default().and("a", "0").and("b", "0"));
        let sizes: Vec<_> = filters.ec2_filters().map(|filter| filter.values().len()).collect();
        assert_eq!((filters.call_count(), sizes), (3, vec![MAX_FILTER_VALUES, 1, 1]));
        assert!(filters.matches(|name| (name == "b").then_some("0")));
        assert!(!filters.matches(|name| (name == "b").then_some("1")));
    }

    #[test]
    fn filters_are_added_as_long_as_they_need_few_calls() {
        let values = |name, numbers: std::ops::Range<usize>| numbers.map(|number| (name, number.to_string())).collect();
        let mut filters = Filters::default();
        assert!(filters.extend_within(&values("a", 0..MAX_FILTER_VALUES), 2));
        assert!(filters.extend_within(&values("b", 0..2), 2));
        let before = filters.clone();
        assert!(!filters.extend_within(&values("a", 300..301), 2) && !filters.extend_within(&values("c", 0..1), 2));
        assert_eq!(filters, before);
        assert!(filters.extend_within(&values("a", 300..301), 3));
        assert_eq!(filters.call_count(), 3);
    }

    #[test]
    fn the_oldest_poll_counts_and_a_missing_one_gives_none() {
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
