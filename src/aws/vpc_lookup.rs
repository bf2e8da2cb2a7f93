//! Lookups of VPCs, gathered: many resources that ask at about the same time cost one call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use super::inventory::filters::MAX_FILTER_VALUES;
use crate::peering::preflight::Vpc;

/// How long to wait for others who ask. While there always are some, it grows.
const GATHER: Duration = Duration::from_millis(50);
const GATHER_LONGEST: Duration = Duration::from_secs(1);

type Answer = Result<Option<Vpc>, AwsError>;
type Question = (String, oneshot::Sender<Answer>);

/// Lookups of VPCs in all regions of one account.
#[derive(Debug)]
pub struct VpcLookup {
    ec2: Arc<Ec2>,
    regions: Mutex<HashMap<String, (mpsc::UnboundedSender<Question>, Instant)>>,
}

impl VpcLookup {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, regions: Mutex::default() }
    }

    /// The VPC with this ID, if our account has it in this region.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn get(&self, region: &str, id: &str) -> Answer {
        let (sender, answer) = oneshot::channel();
        // The task answers all that was asked before it ends, except at shutdown: there is no answer any more then.
        _ = self.region(region).send((id.to_owned(), sender));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    /// The IDs of the VPCs in this region that carry all of these tags.
    ///
    /// # Errors
    /// What AWS, or the way to it, refuses.
    pub async fn tagged(&self, region: &str, tags: &BTreeMap<String, String>) -> Result<Vec<String>, AwsError> {
        self.ec2.vpcs_tagged(region, tags).await
    }

    /// Ends the look-ups of regions in which nothing is asked: each has a task.
    pub(super) fn forget_idle(&self, idle: Duration) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|_, (_, used)| used.elapsed() < idle);
    }

    fn region(&self, region: &str) -> mpsc::UnboundedSender<Question> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let (questions, used) = regions.entry(region.to_owned()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(answer_all(Arc::clone(&self.ec2), region.to_owned(), receiver));
            (sender, Instant::now())
        });
        *used = Instant::now();
        questions.clone()
    }
}

async fn answer_all(ec2: Arc<Ec2>, region: String, mut questions: mpsc::UnboundedReceiver<Question>) {
    let mut gather = GATHER;
    while let Some(first) = questions.recv().await {
        let is_full = questions.len() + 1 >= MAX_FILTER_VALUES;
        if !is_full {
            tokio::time::sleep(gather).await;
        }
        let mut asked = vec![first];
        let mut ids: HashSet<String> = asked.iter().map(|(id, _)| id.clone()).collect();
        while ids.len() < MAX_FILTER_VALUES
            && let Ok(next) = questions.try_recv()
        {
            ids.insert(next.0.clone());
            asked.push(next);
        }
        gather = if asked.len() > 2 { (gather * 2).min(GATHER_LONGEST) } else { GATHER };
        let answer = ec2.describe_vpcs(&region, ids).await;
        for (id, sender) in asked {
            // Who asked may have gone.
            _ = sender.send(answer.as_ref().map(|vpcs| vpcs.get(&id).cloned()).map_err(Clone::clone));
        }
    }
}
