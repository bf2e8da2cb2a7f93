//! Condition operators.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html>

use super::context::Context;
use super::pattern::{Pattern, Resolved};

/// One condition: an operator, a key and the values in the policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    operator: Operator,
    /// The condition key.
    pub(super) key: String,
    values: Vec<Pattern>,
}

/// A parsed condition operator, such as `ForAnyValue:StringNotLikeIfExists`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Operator {
    set: Option<Set>,
    comparison: Comparison,
    is_negated: bool,
    if_exists: bool,
}

/// The set operator for keys with several values.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    All,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    EqualInAnyCase,
    Like,
    Arn,
    Bool,
    Null,
}

impl Operator {
    fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("the simulator does not support the condition operator {name}");
        let (set, rest) = match name.split_once(':') {
            Some(("ForAllValues", rest)) => (Some(Set::All), rest),
            Some(("ForAnyValue", rest)) => (Some(Set::Any), rest),
            Some(_) => return Err(unknown()),
            None => (None, name),
        };
        let (base, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |base| (base, true));
        let (comparison, is_negated) = match base {
            "StringEquals" => (Comparison::Equal, false),
            "StringNotEquals" => (Comparison::Equal, true),
            "StringEqualsIgnoreCase" => (Comparison::EqualInAnyCase, false),
            "StringNotEqualsIgnoreCase" => (Comparison::EqualInAnyCase, true),
            "StringLike" => (Comparison::Like, false),
            "StringNotLike" => (Comparison::Like, true),
            "ArnEquals" | "ArnLike" => (Comparison::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Comparison::Arn, true),
            "Bool" => (Comparison::Bool, false),
            // AWS allows Null neither with a set operator nor with IfExists.
            "Null" if set.is_none() && !if_exists => (Comparison::Null, false),
            _ => return Err(unknown()),
        };
        Ok(Self { set, comparison, is_negated, if_exists })
    }
}

impl Comparison {
    fn matches(self, pattern: &Resolved, value: &str) -> bool {
        match self {
            Self::Equal | Self::Like => pattern.matches(value),
            Self::EqualInAnyCase | Self::Bool => pattern.matches_in_any_case(value),
            Self::Arn => pattern.matches_arn(value),
            // Null checks only whether the key is present.
            Self::Null => false,
        }
    }
}

impl Condition {
    /// Parses a condition of a policy document.
    pub(super) fn parse(operator: &str, key: &str, values: &[String]) -> Result<Self, String> {
        let operator = Operator::parse(operator)?;
        if values.is_empty() {
            return Err(format!("the condition on {key} has no value"));
        }
        let is_boolean = |value: &String| value == "true" || value == "false";
        if matches!(operator.comparison, Comparison::Bool | Comparison::Null) && !values.iter().all(is_boolean) {
            return Err(format!("the condition on {key} takes only true and false"));
        }
        let pattern = match operator.comparison {
            Comparison::Like | Comparison::Arn => Pattern::with_wildcards,
            Comparison::Equal | Comparison::EqualInAnyCase | Comparison::Bool | Comparison::Null => Pattern::literal,
        };
        let values = values.iter().map(|value| pattern(value)).collect::<Result<_, _>>()?;
        Ok(Self { operator, key: key.to_owned(), values })
    }

    /// The condition keys that it reads: its own key, and those of its policy variables.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        [self.key.as_str()].into_iter().chain(self.values.iter().flat_map(Pattern::variables))
    }

    /// Whether the request meets the condition. `None` if a policy variable has no value: then the statement does not
    /// apply.
    pub(super) fn is_met(&self, context: &Context) -> Option<bool> {
        let Operator { set, comparison, is_negated, if_exists } = self.operator;
        let values = context.values(&self.key);
        if comparison == Comparison::Null {
            return Some(self.values.iter().any(|wanted| (wanted.text() == "true") == values.is_empty()));
        }
        let patterns = self.values.iter().map(|pattern| pattern.resolve(context)).collect::<Option<Vec<_>>>()?;
        // One value of the policy must match. With a negated operator, none may match.
        let fits = |value: &String| patterns.iter().any(|pattern| comparison.matches(pattern, value)) != is_negated;
        Some(match set {
            Some(Set::All) => values.iter().all(fits),
            Some(Set::Any) if values.is_empty() => if_exists,
            Some(Set::Any) => values.iter().any(fits),
            None if values.is_empty() => if_exists || is_negated,
            None if is_negated => values.iter().all(fits),
            None => values.iter().any(fits),
        })
    }
}
