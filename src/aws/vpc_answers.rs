//! Cached answers of EC2 about single VPCs. All resources of a VPC share them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::error::AwsError;
use crate::peering::settings::VPC_RECHECK;

/// `None` if the credentials may not look.
type Answer<T> = Result<Option<T>, AwsError>;

/// The answer, and the time before the look. The lock is held during a look, so that concurrent callers share it.
type Known<T> = Arc<tokio::sync::Mutex<Option<(Instant, Answer<T>)>>>;

/// By region and VPC ID: the answer, and the time of the last question.
type All<T> = HashMap<(String, String), (Known<T>, Instant)>;

/// The answers to one kind of question about the VPCs of one account.
#[derive(Debug)]
pub(super) struct VpcAnswers<T>(Mutex<All<T>>);

impl<T> Default for VpcAnswers<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> VpcAnswers<T> {
    /// The answer for a VPC, by a look that began after `since`.
    pub(super) async fn get(
        &self,
        (region, vpc_id): (&str, &str),
        since: Instant,
        look: impl Future<Output = Result<T, AwsError>>,
    ) -> Answer<T> {
        let known = {
            let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (known, used) =
                all.entry((region.to_owned(), vpc_id.to_owned())).or_insert_with(|| (Known::default(), Instant::now()));
            *used = Instant::now();
            Arc::clone(known)
        };
        let mut known = known.lock().await;
        if let Some((at, answer)) = &*known
            && *at >= since
        {
            return answer.clone();
        }
        let began = Instant::now();
        let answer = match look.await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is_unauthorized() => Ok(None),
            Err(error) => Err(error),
        };
        *known = Some((began, answer.clone()));
        answer
    }

    /// Forgets the answer for a VPC, after a call that changed it.
    pub(super) fn forget(&self, region: &str, vpc_id: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&(region.to_owned(), vpc_id.to_owned()));
    }

    /// Forgets the VPCs that nobody has asked about for longer than the interval between two looks.
    pub(super) fn forget_idle(&self) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, (_, used)| used.elapsed() < VPC_RECHECK * 2);
    }
}
