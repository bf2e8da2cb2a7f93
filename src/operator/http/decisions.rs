//! The cache of decisions on bearer tokens.

use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// Time for which a client that may read the metrics may go on. A revoked token or permission ends after it.
const ALLOWED_FOR: Duration = Duration::from_secs(60);

/// Time for which a refusal stands. It is short, so that a new permission soon has an effect.
const REFUSED_FOR: Duration = Duration::from_secs(10);

/// Maximum decisions in the cache.
const MAX_DECISIONS: usize = 256;

/// The decision on a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Allowed,
    /// The token is valid, but its user has no permission.
    Forbidden,
    /// The token is not valid.
    Unauthenticated,
}

/// Recent decisions by the hash of the token: the process keeps no tokens of others.
#[derive(Debug, Default)]
pub(super) struct Decisions(HashMap<[u8; 32], (Decision, Instant)>);

impl Decisions {
    /// The decision on a token, if there is a recent one.
    pub(super) fn get(&self, token: &str) -> Option<Decision> {
        let (decision, until) = self.0.get(&hash(token))?;
        (Instant::now() < *until).then_some(*decision)
    }

    /// Keeps a decision. A full cache drops the one that ends first: refusals of invented tokens do not displace those
    /// who may read the metrics.
    pub(super) fn insert(&mut self, token: &str, decision: Decision) {
        let now = Instant::now();
        let duration = if decision == Decision::Allowed { ALLOWED_FOR } else { REFUSED_FOR };
        self.0.retain(|_, (_, until)| now < *until);
        if self.0.len() >= MAX_DECISIONS
            && let Some(first) = self.0.iter().min_by_key(|(_, (_, until))| *until).map(|(hash, _)| *hash)
        {
            self.0.remove(&first);
        }
        self.0.insert(hash(token), (decision, now + duration));
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn decisions_expire() {
        let mut decisions = Decisions::default();
        decisions.insert("reader", Decision::Allowed);
        decisions.insert("other", Decision::Forbidden);
        assert_eq!(decisions.get("reader"), Some(Decision::Allowed));
        assert_eq!(decisions.get("other"), Some(Decision::Forbidden));
        assert_eq!(decisions.get("unknown"), None);
        tokio::time::advance(REFUSED_FOR).await;
        assert_eq!(decisions.get("other"), None);
        assert_eq!(decisions.get("reader"), Some(Decision::Allowed));
        tokio::time::advance(ALLOWED_FOR).await;
        assert_eq!(decisions.get("reader"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn invented_tokens_do_not_grow_the_cache_or_displace_readers() {
        let mut decisions = Decisions::default();
        decisions.insert("reader", Decision::Allowed);
        for number in 0..MAX_DECISIONS * 2 {
            decisions.insert(&number.to_string(), Decision::Unauthenticated);
        }
        assert_eq!(decisions.0.len(), MAX_DECISIONS);
        assert_eq!(decisions.get("reader"), Some(Decision::Allowed));
    }
}
