//! Batched lookups of VPCs: the lookups of many resources at about the same time share one call.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::ec2::Ec2;
use super::error::AwsError;
use super::inventory::filters::MAX_FILTER_VALUES;
use crate::peering::preflight::Vpc;

/// Time to wait for more lookups before a call. It doubles while batches have more than two lookups, up to
/// `MAX_BATCH_DELAY`.
const BATCH_DELAY: Duration = Duration::from_millis(50);
const MAX_BATCH_DELAY: Duration = Duration::from_secs(1);

type Answer = Result<Option<Vpc>, AwsError>;
type Lookup = (String, oneshot::Sender<Answer>);

/// Lookups of VPCs in all regions of one account, with one task for each region.
#[derive(Debug)]
pub struct VpcLookup {
    ec2: Arc<Ec2>,
    regions: Mutex<HashMap<String, (mpsc::UnboundedSender<Lookup>, Instant)>>,
}

impl VpcLookup {
    pub fn new(ec2: Arc<Ec2>) -> Self {
        Self { ec2, regions: Mutex::default() }
    }

    /// The VPC with this ID, if the account has it in this region.
    pub async fn get(&self, region: &str, id: &str) -> Answer {
        let (sender, answer) = oneshot::channel();
        // The task answers all lookups before it ends, except at shutdown.
        _ = self.region(region).send((id.to_owned(), sender));
        match answer.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }

    /// The IDs of the VPCs in this region that carry all of these tags.
    pub async fn tagged(&self, region: &str, tags: &BTreeMap<String, String>) -> Result<Vec<String>, AwsError> {
        self.ec2.vpcs_tagged(region, tags).await
    }

    /// Ends the tasks of regions without a lookup for this time.
    pub(super) fn forget_idle(&self, idle: Duration) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|_, (_, used)| used.elapsed() < idle);
    }

    fn region(&self, region: &str) -> mpsc::UnboundedSender<Lookup> {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let (lookups, used) = regions.entry(region.to_owned()).or_insert_with(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            tokio::spawn(serve(Arc::clone(&self.ec2), region.to_owned(), receiver));
            (sender, Instant::now())
        });
        *used = Instant::now();
        lookups.clone()
    }
}

async fn serve(ec2: Arc<Ec2>, region: String, mut lookups: mpsc::UnboundedReceiver<Lookup>) {
    let mut delay = BATCH_DELAY;
    while let Some(first) = lookups.recv().await {
        let is_full = lookups.len() + 1 >= MAX_FILTER_VALUES;
        if !is_full {
            tokio::time::sleep(delay).await;
        }
        let mut batch = vec![first];
        let mut ids: HashSet<String> = batch.iter().map(|(id, _)| id.clone()).collect();
        while ids.len() < MAX_FILTER_VALUES
            && let Ok(next) = lookups.try_recv()
        {
            ids.insert(next.0.clone());
            batch.push(next);
        }
        delay = if batch.len() > 2 { (delay * 2).min(MAX_BATCH_DELAY) } else { BATCH_DELAY };
        let answer = ec2.describe_vpcs(&region, ids).await;
        for (id, sender) in batch {
            // The receiver is gone if the reconcile was cancelled.
            _ = sender.send(answer.as_ref().map(|vpcs| vpcs.get(&id).cloned()).map_err(Clone::clone));
        }
    }
}
