//! Decides by the API server who may read the metrics: a TokenReview names the user of a bearer token, and a
//! SubjectAccessReview tells whether this user may `get` the non-resource URL `/metrics`.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authorization/>

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::PostParams;
use kube::{Api, Client, Config};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::decisions::{Decision, Decisions};

/// Maximum time of both reviews of a token.
pub(super) const REVIEW_TIMEOUT: Duration = Duration::from_secs(5);

/// Maximum tokens that are under review at the same time, so that a flood of invented tokens does not become one of
/// requests to the API server.
const MAX_REVIEWS: usize = 4;

/// The permission to read the metrics.
pub(super) struct Access {
    client: Client,
    decisions: Mutex<Decisions>,
    reviews: Semaphore,
    /// Whether the last review failed, so that the log reports each outage once.
    is_failing: AtomicBool,
}

impl Access {
    /// Uses a client of its own: reviews do not wait for other requests to the API server.
    ///
    /// # Errors
    /// If the configuration of the client is invalid.
    pub(super) fn new(config: Config) -> Result<Self> {
        let (decisions, is_failing) = Default::default();
        Ok(Self { client: Client::try_from(config)?, decisions, reviews: Semaphore::new(MAX_REVIEWS), is_failing })
    }

    /// Decides whether the user of the token may read the metrics.
    ///
    /// # Errors
    /// If the API server does not answer in time, or refuses the review. The client must then get no metrics.
    pub(super) async fn decide(&self, token: &str) -> Result<Decision> {
        if let Some(decision) = self.decisions().get(token) {
            return Ok(decision);
        }
        let outcome = match timeout(REVIEW_TIMEOUT, self.review(token)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("no answer within {} s", REVIEW_TIMEOUT.as_secs())),
        };
        let was_failing = self.is_failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Ok(decision) => self.decisions().insert(token, *decision),
            Err(error) if !was_failing => tracing::warn!(
                error = format!("{error:#}"),
                "cannot review the token of a client of /metrics; it gets no metrics"
            ),
            Err(_) => {}
        }
        outcome
    }

    async fn review(&self, token: &str) -> Result<Decision> {
        let _permit = self.reviews.acquire().await?;
        // Requests that waited for the same review use its result.
        if let Some(decision) = self.decisions().get(token) {
            return Ok(decision);
        }
        let Some(user) = self.authenticate(token).await.context("cannot create a TokenReview")? else {
            return Ok(Decision::Unauthenticated);
        };
        let is_allowed = self.authorize(user).await.context("cannot create a SubjectAccessReview")?;
        Ok(if is_allowed { Decision::Allowed } else { Decision::Forbidden })
    }

    /// The user of the token, if it is valid.
    async fn authenticate(&self, token: &str) -> kube::Result<Option<UserInfo>> {
        let spec = TokenReviewSpec { token: Some(token.to_owned()), ..TokenReviewSpec::default() };
        let review = TokenReview { spec, ..TokenReview::default() };
        let review = Api::<TokenReview>::all(self.client.clone()).create(&PostParams::default(), &review).await?;
        let status = review.status.filter(|status| status.authenticated == Some(true));
        Ok(status.and_then(|status| status.user).filter(|user| !user.username.as_deref().unwrap_or("").is_empty()))
    }

    async fn authorize(&self, user: UserInfo) -> kube::Result<bool> {
        let attributes = NonResourceAttributes { path: Some("/metrics".to_owned()), verb: Some("get".to_owned()) };
        let spec = SubjectAccessReviewSpec {
            user: user.username,
            groups: user.groups,
            uid: user.uid,
            extra: user.extra,
            non_resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { spec, ..SubjectAccessReview::default() };
        let api = Api::<SubjectAccessReview>::all(self.client.clone());
        let status = api.create(&PostParams::default(), &review).await?.status;
        let permits = |status: &SubjectAccessReviewStatus| status.allowed && status.denied != Some(true);
        Ok(status.as_ref().is_some_and(permits))
    }

    fn decisions(&self) -> MutexGuard<'_, Decisions> {
        self.decisions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Without an answer of the API server there is no decision, and so no metrics.
    #[tokio::test(start_paused = true)]
    async fn an_unreachable_api_server_permits_nothing() -> Result<()> {
        // Connections are established, but get no answer.
        let silent = TcpListener::bind("127.0.0.1:0").await?;
        let closed = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
        for address in [closed, silent.local_addr()?] {
            let access = Access::new(Config::new(format!("http://{address}").parse()?))?;
            for _ in 0..2 {
                assert!(access.decide("token").await.is_err(), "{address}");
            }
        }
        Ok(())
    }
}
