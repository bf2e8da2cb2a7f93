//! The quotas of one account, read from Service Quotas. Until AWS answers, and while it refuses, the defaults count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use tokio::time::Instant;

use super::error::AwsError;
use super::interceptor::SdkInterceptor;
use super::principal::Principal;
use crate::peering::quota::{QuotaKind, Quotas};

/// Age from which quotas are read again. AWS changes them only after a request of the account.
const MAX_AGE: Duration = Duration::from_secs(3600);

const ACTION: &str = "GetServiceQuota";

/// The code of the service that VPC quotas belong to.
/// <https://docs.aws.amazon.com/general/latest/gr/vpc-service.html>
const SERVICE: &str = "vpc";

/// The quotas of one account in each region.
#[derive(Debug)]
pub struct QuotaLookup {
    principal: Principal,
    config: SdkConfig,
    interceptor: SdkInterceptor,
    regions: Arc<Mutex<HashMap<String, Known>>>,
    /// Held during a read that somebody waits for.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    quotas: Quotas,
    /// When the quotas were last read, or are being read.
    asked: Instant,
    /// Whether AWS has answered, by a value or a refusal.
    is_answered: bool,
}

impl QuotaLookup {
    pub(super) fn new(principal: Principal, config: SdkConfig, interceptor: SdkInterceptor) -> Self {
        Self { principal, config, interceptor, regions: Arc::default(), reading: Default::default() }
    }

    /// The quotas in this region as far as they are known. The first call, and one each hour, reads them in the
    /// background. The defaults are safe until then: AWS grants no less.
    pub fn of(&self, region: &str) -> Quotas {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = regions.get(region).copied();
        if let Some(known) = known.filter(|known| now.duration_since(known.asked) < MAX_AGE) {
            return known.quotas;
        }
        let quotas = known.map(|known| known.quotas).unwrap_or_default();
        regions.insert(region.to_owned(), Known { quotas, asked: now, is_answered: false });
        drop(regions);
        self.read(region.to_owned(), quotas);
        quotas
    }

    /// Drops the quotas of regions that were not read for this time.
    pub(super) fn forget_idle(&self, idle: Duration) {
        let mut regions = self.regions.lock().unwrap_or_else(PoisonError::into_inner);
        regions.retain(|_, known| known.asked.elapsed() < idle + MAX_AGE);
    }

    /// The quotas in this region, after AWS has answered.
    pub async fn known(&self, region: &str) -> Quotas {
        let _one_at_a_time = self.reading.lock().await;
        let known = self.regions.lock().unwrap_or_else(PoisonError::into_inner).get(region).copied();
        if known.is_none_or(|known| !known.is_answered || known.asked.elapsed() >= MAX_AGE) {
            self.reader(region.to_owned(), Quotas::default()).await;
        }
        self.of(region)
    }

    fn read(&self, region: String, quotas: Quotas) {
        tokio::spawn(self.reader(region, quotas));
    }

    /// Reads the quotas in this region. `quotas` are the values to keep if AWS refuses.
    fn reader(&self, region: String, mut quotas: Quotas) -> impl Future<Output = ()> + Send + use<> {
        let config = aws_sdk_servicequotas::config::Builder::from(&self.config)
            .region(Region::new(region.clone()))
            .interceptor(self.interceptor.clone());
        let client = aws_sdk_servicequotas::Client::from_conf(config.build());
        let (regions, principal) = (Arc::clone(&self.regions), self.principal.clone());
        async move {
            for kind in QuotaKind::ALL {
                match value(&client, &principal, kind).await {
                    Ok(limit) => quotas.set(kind, limit),
                    Err(error) => {
                        tracing::info!(region, %error, "cannot read a quota; AWS's default is assumed");
                    }
                }
            }
            let mut regions = regions.lock().unwrap_or_else(PoisonError::into_inner);
            regions.insert(region, Known { quotas, asked: Instant::now(), is_answered: true });
        }
    }
}

/// The value of a quota in the region of the client.
/// <https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html>
async fn value(
    client: &aws_sdk_servicequotas::Client,
    principal: &Principal,
    kind: QuotaKind,
) -> Result<usize, AwsError> {
    let answer = client.get_service_quota().service_code(SERVICE).quota_code(kind.code()).send().await;
    let answer = answer.map_err(|error| AwsError::new(ACTION, principal, &error))?;
    let value = answer.quota.and_then(|quota| quota.value);
    let value = value.filter(|value| value.is_finite() && *value >= 0.0);
    value.map(|value| value as usize).ok_or_else(|| AwsError::incomplete(ACTION, "the answer has no value"))
}
