//! EC2 clients for all regions, with one set of credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use aws_config::{Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::retry::RetryConfig;
use tokio::time::Instant;

use super::error::AwsError;
use super::interceptor::{Interceptor, SdkInterceptor};
use super::principal::Principal;

#[derive(Debug)]
pub struct Ec2 {
    principal: Principal,
    config: SdkConfig,
    interceptor: SdkInterceptor,
    clients: Mutex<HashMap<(String, CallKind), (Client, Instant)>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CallKind {
    Read,
    Write,
}

impl Ec2 {
    /// `config` holds the credentials of `principal`. `account` is set when the account ID becomes known; the
    /// interceptor reads it.
    pub fn new(
        principal: Principal,
        config: SdkConfig,
        interceptor: Arc<dyn Interceptor>,
        account: Arc<OnceLock<String>>,
    ) -> Self {
        Self { principal, config, interceptor: SdkInterceptor { interceptor, account }, clients: Mutex::default() }
    }

    /// The client for read-only calls in one region. The SDK retries them.
    pub fn read_client(&self, region: &str) -> Client {
        self.client_for(region, CallKind::Read)
    }

    /// The client for mutating calls in one region. The SDK does not retry them: the next reconcile decides whether to
    /// repeat the call, from the state that EC2 shows then and within the rate limit.
    pub fn write_client(&self, region: &str) -> Client {
        self.client_for(region, CallKind::Write)
    }

    /// Drops the clients that have been idle for this time: users choose the regions, and each client takes memory.
    pub(super) fn forget_idle(&self, idle: Duration) {
        let mut clients = self.clients();
        clients.retain(|_, (_, used)| used.elapsed() < idle);
        clients.shrink_to_fit();
    }

    fn client_for(&self, region: &str, purpose: CallKind) -> Client {
        let mut clients = self.clients();
        let (client, used) = clients.entry((region.to_owned(), purpose)).or_insert_with(|| {
            let config = aws_sdk_ec2::config::Builder::from(&self.config)
                .region(Region::new(region.to_owned()))
                .interceptor(self.interceptor.clone());
            let config = match purpose {
                CallKind::Read => config,
                CallKind::Write => config.retry_config(RetryConfig::disabled()),
            };
            (Client::from_conf(config.build()), Instant::now())
        });
        *used = Instant::now();
        client.clone()
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<(String, CallKind), (Client, Instant)>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a call whose output is not needed.
    pub(super) fn check<T, E>(
        &self,
        action: &'static str,
        outcome: Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<(), AwsError>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        outcome.map(|_| ()).map_err(|error| self.error(action, &error))
    }

    pub(super) fn error<E>(&self, action: &'static str, error: &SdkError<E, HttpResponse>) -> AwsError
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        AwsError::new(action, &self.principal, error)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::Ipv4Addr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use ec2_simulator::clock::Clock;
    use ec2_simulator::journal::Query;
    use ec2_simulator::{Client, Fault, Kind, Matching, Server, Simulator};
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::aws::interceptor::CompletedRequest;
    use crate::aws::inventory::view::View;
    use crate::aws::testing;
    use crate::peering::Snapshot;

    #[derive(Debug, Default)]
    struct Recorded {
        refuses: AtomicBool,
        answers: Mutex<Vec<String>>,
    }

    impl Interceptor for Recorded {
        fn may_send(&self) -> bool {
            !self.refuses.load(Ordering::Relaxed)
        }

        fn completed(&self, request: &CompletedRequest<'_>) {
            let text = format!("{} {} {}", request.action, request.region, request.code);
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    #[tokio::test]
    async fn the_interceptor_controls_and_observes_every_attempt() -> Result<(), Box<dyn Error>> {
        let simulator = Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let control = Client::new(&server.url());
        let interceptor = Arc::new(Recorded::default());
        let ec2 = testing::ec2(&server.url(), Arc::clone(&interceptor) as _);
        let calls = async || -> Result<u64, Box<dyn Error>> {
            Ok(control.journal(&Query::default()).await?.counters.values().map(|counter| counter.calls).sum())
        };

        interceptor.refuses.store(true, Ordering::Relaxed);
        assert!(Snapshot::page(&ec2, "eu-central-1", None, None).await.is_err());
        assert_eq!(calls().await?, 0, "the request was sent");
        assert!(
            interceptor.answers.lock().is_ok_and(|answers| answers.is_empty()),
            "a blocked request must not be reported"
        );

        interceptor.refuses.store(false, Ordering::Relaxed);
        control
            .add_fault(&Fault { matching: Matching::default(), count: Some(1), probability: 1.0, kind: Kind::Throttle })
            .await?;
        assert!(Snapshot::page(&ec2, "eu-central-1", None, None).await.is_ok());
        let answers = interceptor.answers.lock().map(|answers| answers.clone()).unwrap_or_default();
        let action = "DescribeVpcPeeringConnections eu-central-1";
        assert_eq!(answers, [format!("{action} RequestLimitExceeded"), format!("{action} OK")]);
        assert_eq!(calls().await?, 2);
        Ok(())
    }

    #[test]
    fn idle_clients_are_dropped() {
        let ec2 = testing::ec2("http://127.0.0.1:1", Arc::new(crate::aws::Unobserved));
        for number in 0..100 {
            let region = format!("region-{number}");
            drop((ec2.read_client(&region), ec2.write_client(&region)));
        }
        let idle = Duration::from_millis(50);
        std::thread::sleep(idle);
        drop((ec2.read_client("eu-central-1"), ec2.read_client("region-7")));
        ec2.forget_idle(idle);
        let mut left: Vec<_> = ec2.clients().keys().cloned().collect();
        left.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(left, [("eu-central-1".to_owned(), CallKind::Read), ("region-7".to_owned(), CallKind::Read)]);
    }
}
