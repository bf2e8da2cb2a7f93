//! Strings in policies, with wildcards and policy variables.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html>

use super::context::Context;

/// A string of a policy, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Letter(char),
    /// `?`
    One,
    /// `*`
    Any,
    /// `${key}`
    Variable(String),
}

/// A pattern with its variables replaced by their values. A wildcard character in a value is literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved(Vec<Symbol>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Letter(char),
    One,
    Any,
}

impl Pattern {
    /// Parses a string in which `*` and `?` are wildcards.
    pub(super) fn with_wildcards(text: &str) -> Result<Self, String> {
        Self::parse(text, true)
    }

    /// Parses a string in which `*` and `?` are literal.
    pub(super) fn literal(text: &str) -> Result<Self, String> {
        Self::parse(text, false)
    }

    fn parse(text: &str, wildcards: bool) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(letter) = rest.chars().next() {
            if let Some(after) = rest.strip_prefix("${") {
                let (variable, after) =
                    after.split_once('}').ok_or_else(|| format!("{text}: a policy variable has no closing brace"))?;
                // `${*}` and default values are not supported.
                if variable.is_empty() || variable.contains(['*', '?', '$', ',', ' ', '\'']) {
                    return Err(format!("{text}: the simulator does not support the policy variable {variable}"));
                }
                parts.push(Part::Variable(variable.to_owned()));
                rest = after;
                continue;
            }
            parts.push(match letter {
                '*' if wildcards => Part::Any,
                '?' if wildcards => Part::One,
                letter => Part::Letter(letter),
            });
            rest = &rest[letter.len_utf8()..];
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The string as it is written in the policy.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The condition keys of its policy variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Variable(key) => Some(key.as_str()),
            Part::Letter(_) | Part::One | Part::Any => None,
        })
    }

    /// Replaces the policy variables. `None` if the request has no single value for one of them.
    pub(super) fn resolve(&self, context: &Context) -> Option<Resolved> {
        let mut symbols = Vec::new();
        for part in &self.parts {
            match part {
                Part::Letter(letter) => symbols.push(Symbol::Letter(*letter)),
                Part::One => symbols.push(Symbol::One),
                Part::Any => symbols.push(Symbol::Any),
                Part::Variable(key) => symbols.extend(context.value(key)?.chars().map(Symbol::Letter)),
            }
        }
        Some(Resolved(symbols))
    }
}

impl Resolved {
    pub(super) fn matches(&self, text: &str) -> bool {
        matches(&self.0, &text.chars().collect::<Vec<_>>())
    }

    /// Matches without regard to case.
    pub(super) fn matches_in_any_case(&self, text: &str) -> bool {
        let lower = |symbol: &Symbol| match symbol {
            Symbol::Letter(letter) => letter.to_lowercase().map(Symbol::Letter).collect(),
            symbol => vec![*symbol],
        };
        matches(&self.0.iter().flat_map(lower).collect::<Vec<_>>(), &text.to_lowercase().chars().collect::<Vec<_>>())
    }

    /// Matches an ARN: compares each of its six colon-separated parts separately.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN>
    pub(super) fn matches_arn(&self, arn: &str) -> bool {
        if self.0 == [Symbol::Any] {
            return true;
        }
        let parts: Vec<_> = self.0.splitn(ARN_PARTS, |symbol| *symbol == Symbol::Letter(':')).collect();
        let values: Vec<Vec<char>> = arn.splitn(ARN_PARTS, ':').map(|value| value.chars().collect()).collect();
        parts.len() == values.len() && parts.iter().zip(&values).all(|(part, value)| matches(part, value))
    }
}

const ARN_PARTS: usize = 6;

/// Greedy matching with backtracking: on a mismatch, the last `*` takes one more character.
fn matches(symbols: &[Symbol], text: &[char]) -> bool {
    let (mut symbol, mut letter) = (0, 0);
    let mut last_any = None;
    while letter < text.len() {
        match symbols.get(symbol) {
            Some(Symbol::Any) => {
                last_any = Some((symbol, letter));
                symbol += 1;
            }
            Some(Symbol::One) => (symbol, letter) = (symbol + 1, letter + 1),
            Some(Symbol::Letter(wanted)) if *wanted == text[letter] => (symbol, letter) = (symbol + 1, letter + 1),
            Some(Symbol::Letter(_)) | None => match last_any {
                Some((any, taken)) => {
                    last_any = Some((any, taken + 1));
                    (symbol, letter) = (any + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    symbols[symbol..].iter().all(|symbol| *symbol == Symbol::Any)
}
