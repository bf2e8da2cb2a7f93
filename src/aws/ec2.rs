//! EC2 clients, one for each region, with one set of credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_config::{Region, SdkConfig};
use aws_sdk_ec2::Client;
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::retry::RetryConfig;

use super::traffic::{Intercepted, Traffic};
use super::{AwsError, Principal};

/// EC2, in every region.
#[derive(Debug)]
pub struct Ec2 {
    principal: Principal,
    config: SdkConfig,
    intercepted: Intercepted,
    clients: Mutex<HashMap<String, Clients>>,
}

/// The clients for one region.
#[derive(Debug)]
struct Clients {
    looking: Client,
    changing: Client,
}

impl Ec2 {
    /// EC2 with the credentials in `config`, which are those of `principal`; `account` is told to `traffic` once it is
    /// known.
    #[must_use]
    pub fn new(
        principal: Principal,
        config: SdkConfig,
        traffic: Arc<dyn Traffic>,
        account: Arc<OnceLock<String>>,
    ) -> Self {
        Self { principal, config, intercepted: Intercepted { traffic, account }, clients: Mutex::default() }
    }

    /// The client for calls in one region that change nothing; they are repeated where that may help.
    #[must_use]
    pub fn client(&self, region: &str) -> Client {
        self.clients(region, |clients| clients.looking.clone())
    }

    /// The client for calls in one region that change something: one call, one request. Whether and when to try again
    /// is decided anew, with what EC2 shows by then, and at the rate that it allows.
    #[must_use]
    pub fn changing(&self, region: &str) -> Client {
        self.clients(region, |clients| clients.changing.clone())
    }

    fn clients(&self, region: &str, pick: impl FnOnce(&Clients) -> Client) -> Client {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clients) = clients.get(region) {
            return pick(clients);
        }
        let config = aws_sdk_ec2::config::Builder::from(&self.config)
            .region(Region::new(region.to_owned()))
            .interceptor(self.intercepted.clone());
        let made = Clients {
            changing: Client::from_conf(config.clone().retry_config(RetryConfig::disabled()).build()),
            looking: Client::from_conf(config.build()),
        };
        pick(clients.entry(region.to_owned()).or_insert(made))
    }

    /// What became of a call by this principal.
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
    use crate::aws::{Answered, View, testing};
    use crate::peering::Snapshot;

    #[derive(Debug, Default)]
    struct Recorded {
        refuses: AtomicBool,
        answers: Mutex<Vec<String>>,
    }

    impl Traffic for Recorded {
        fn may_send(&self) -> bool {
            !self.refuses.load(Ordering::Relaxed)
        }

        fn answered(&self, request: &Answered<'_>) {
            let text = format!("{} {} {}", request.action, request.region, request.code);
            self.answers.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }

    #[tokio::test]
    async fn every_request_is_asked_for_and_told_of() -> Result<(), Box<dyn Error>> {
        let simulator = Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
        let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
        let control = Client::new(&server.url());
        let traffic = Arc::new(Recorded::default());
        let ec2 = testing::ec2(&server.url(), Arc::clone(&traffic) as _);
        let calls = async || -> Result<u64, Box<dyn Error>> {
            Ok(control.journal(&Query::default()).await?.counters.values().map(|counter| counter.calls).sum())
        };

        traffic.refuses.store(true, Ordering::Relaxed);
        assert!(Snapshot::page(&ec2, "eu-central-1", None, None).await.is_err());
        assert_eq!(calls().await?, 0, "it was sent");
        assert!(traffic.answers.lock().is_ok_and(|answers| answers.is_empty()), "what is not sent has no answer");

        traffic.refuses.store(false, Ordering::Relaxed);
        control
            .add_fault(&Fault { matching: Matching::default(), count: Some(1), probability: 1.0, kind: Kind::Throttle })
            .await?;
        assert!(Snapshot::page(&ec2, "eu-central-1", None, None).await.is_ok());
        let answers = traffic.answers.lock().map(|answers| answers.clone()).unwrap_or_default();
        let action = "DescribeVpcPeeringConnections eu-central-1";
        assert_eq!(answers, [format!("{action} RequestLimitExceeded"), format!("{action} OK")]);
        assert_eq!(calls().await?, 2);
        Ok(())
    }
}
