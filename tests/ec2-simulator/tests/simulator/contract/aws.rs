//! The checks on AWS, in two accounts, on demand: `make contract-aws`. CONTRIBUTING.md describes the variables.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_config::Region;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use ec2_simulator::Settings;
use ec2_simulator::clock::Clock;
use jiff::Timestamp;

use super::open_questions::QUESTIONS;
use super::run::{Run, TAG, https};
use super::{Agrees, CHECKS};
use crate::cloud::{Cloud, ELSEWHERE, HERE, simulator};
use crate::moto::Moto;

/// The longest wait for a status code of AWS.
const PATIENCE: Duration = Duration::from_secs(120);

/// The checks that do not fit accounts that outlive the run.
const SKIPPED: &[(&str, &str)] = &[
    ("filters_match", "it needs an account without other connections"),
    ("filters_match_wildcards", "it needs an account without other connections"),
    ("pages_list_all_connections", "it needs 13 VPCs, and the default quota is 5"),
    ("a_dry_run_changes_nothing", "it needs an account without other connections"),
    ("a_role_acts_in_its_account", "it needs a role of a certain name"),
];

/// The place of a run.
struct Target {
    url: Option<String>,
    credentials: [Credentials; 2],
    regions: [String; 2],
    /// The IDs of both accounts, as the user confirmed them: `111111111111,222222222222`.
    confirmed: Option<String>,
    patience: Duration,
}

/// The outcome of a run.
#[derive(Debug, Default)]
struct Report {
    text: String,
    failed: Vec<&'static str>,
    left: Vec<String>,
}

impl Target {
    /// Reads the environment.
    async fn from_environment() -> Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        ensure!(
            variable("CONTRACT_AWS").as_deref() == Some("yes"),
            "this makes VPCs, route tables and peering connections in two AWS accounts; set CONTRACT_AWS=yes to go on"
        );
        let url = variable("CONTRACT_AWS_ENDPOINT");
        let region = Region::new(variable("CONTRACT_AWS_REGION").unwrap_or_else(|| HERE.to_owned()));
        let config = ProviderConfig::without_region().with_region(Some(region)).with_http_client(https());
        let credentials = async |name: &str| -> Result<Credentials> {
            let profile = variable(name).with_context(|| format!("set {name} to the name of an AWS profile"))?;
            let provider = ProfileFileCredentialsProvider::builder().configure(&config).profile_name(&profile).build();
            provider.provide_credentials().await.with_context(|| format!("{name}: no credentials for {profile}"))
        };
        Ok(Self {
            credentials: [credentials("CONTRACT_AWS_PROFILE").await?, credentials("CONTRACT_AWS_OTHER_PROFILE").await?],
            regions: [
                variable("CONTRACT_AWS_REGION").unwrap_or_else(|| HERE.to_owned()),
                variable("CONTRACT_AWS_OTHER_REGION").unwrap_or_else(|| ELSEWHERE.to_owned()),
            ],
            confirmed: variable("CONTRACT_AWS_CONFIRM"),
            patience: PATIENCE,
            url,
        })
    }

    async fn run(self) -> Result<Report> {
        let [own, other] = self.credentials;
        let id = format!("{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ"));
        let run = Arc::new(Run::new(id, self.regions, other, self.patience));
        let cloud = Cloud { url: self.url, credentials: own, run: Some(Arc::clone(&run)) };
        let accounts = [cloud.account().await?, cloud.another().await?.account().await?];
        let [first, second] = &accounts;
        println!("accounts: {first} and {second}; regions: {} and {}", cloud.region(HERE), cloud.region(ELSEWHERE));
        ensure!(first != second, "both profiles belong to account {first}; the checks need two accounts");
        let expected = accounts.join(",");
        ensure!(
            self.confirmed.as_ref() == Some(&expected),
            "check the account IDs, and set CONTRACT_AWS_CONFIRM={expected} to go on"
        );
        println!("the tag of every VPC and route table: {TAG}={}", run.id());
        let mut report = Report::default();
        let everything = async {
            report.checks(&cloud, &run).await;
            report.questions(&cloud, &run).await;
        };
        let is_interrupted = tokio::select! {
            () = everything => false,
            _ = tokio::signal::ctrl_c() => true,
        };
        if is_interrupted {
            report.left.extend(run.clean_up(&cloud).await);
            println!("{}", report.text);
            bail!("interrupted; left in AWS: {:?}", report.left);
        }
        Ok(report)
    }
}

impl Report {
    fn line(&mut self, line: &str) {
        println!("{line}");
        _ = writeln!(self.text, "{line}");
    }

    async fn checks(&mut self, cloud: &Cloud, run: &Run) {
        for check in CHECKS {
            if let Some((_, reason)) = SKIPPED.iter().find(|(name, _)| *name == check.name) {
                self.line(&format!("skipped  {}: {reason}", check.name));
                continue;
            }
            let outcome = (check.run)(cloud).await;
            self.left.extend(run.clean_up(cloud).await);
            match outcome {
                Ok(()) => self.line(&format!("holds    {}", check.name)),
                Err(error) => {
                    self.line(&format!("differs  {}: {error:#}", check.name));
                    self.failed.push(check.name);
                }
            }
        }
    }

    async fn questions(&mut self, cloud: &Cloud, run: &Run) {
        for question in QUESTIONS {
            let answer = (question.ask)(cloud).await;
            self.left.extend(run.clean_up(cloud).await);
            let answer = answer.unwrap_or_else(|error| format!("no answer: {error:#}"));
            self.line(&format!("question {}\n         {answer}", question.text));
        }
    }
}

/// Runs only on demand, because it makes resources in AWS.
#[tokio::test]
#[ignore = "it makes resources in two AWS accounts; see make contract-aws"]
async fn the_contract_holds_on_aws() {
    let report = match Target::from_environment().await {
        Ok(target) => target.run().await,
        Err(error) => Err(error),
    };
    let report = report.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(report.left.is_empty(), "left in AWS, delete it by hand: {:?}", report.left);
    assert!(report.failed.is_empty(), "EC2 differs from the contract: {:?}", report.failed);
}

/// The same run at a local endpoint, in two accounts.
async fn target(url: &str, confirmed: Option<&str>) -> Target {
    let cloud = Cloud::at(url.to_owned());
    Target {
        credentials: [cloud.credentials.clone(), cloud.another().await.unwrap().credentials],
        url: Some(url.to_owned()),
        regions: ["eu-central-1".to_owned(), "us-west-2".to_owned()],
        confirmed: confirmed.map(str::to_owned),
        patience: Duration::from_secs(5),
    }
}

/// The VPCs and connections of an account that have not ended.
async fn live(cloud: &Cloud) -> Vec<String> {
    let mut live = Vec::new();
    for region in ["eu-central-1", "us-west-2"] {
        let ec2 = cloud.ec2(region);
        let vpcs = ec2.describe_vpcs().send().await.unwrap().vpcs.unwrap_or_default();
        live.extend(vpcs.iter().filter(|vpc| vpc.is_default() != Some(true)).filter_map(|vpc| vpc.vpc_id.clone()));
        let all = ec2.describe_vpc_peering_connections().send().await.unwrap();
        let ended = ["deleting", "deleted", "rejected", "failed", "expired"];
        let connections = all.vpc_peering_connections().iter();
        let connections = connections.filter(|connection| !ended.contains(&crate::cloud::code_of(connection)));
        live.extend(connections.filter_map(|connection| connection.vpc_peering_connection_id.clone()));
    }
    live
}

#[tokio::test]
async fn a_run_cleans_up_and_answers_every_question() {
    let mut settings = Settings { any_role: true, ..Settings::default() };
    settings.quotas.outstanding = 100;
    let server = simulator(settings, Clock::new(Timestamp::now(), 10.0)).await;
    let report = target(&server.url(), Some("111111111111,222222222222")).await.run().await.unwrap();
    assert!(report.failed.is_empty(), "{:?}\n{}", report.failed, report.text);
    assert!(report.left.is_empty(), "{:?}", report.left);
    let cloud = Cloud::at(server.url());
    assert_eq!((live(&cloud).await, live(&cloud.another().await.unwrap()).await), (vec![], vec![]));
    assert!(!report.text.contains("no answer"), "{}", report.text);
}

/// On moto, checks fail. What they have made is deleted all the same.
#[tokio::test]
async fn a_run_cleans_up_after_checks_that_fail() {
    let moto = Moto::start();
    let report = target(&moto.url, Some("123456789012,222222222222")).await.run().await.unwrap();
    let unexpected = |name: &&&str| CHECKS.iter().any(|check| check.name == **name && matches!(check.moto, Agrees));
    let unexpected: Vec<_> = report.failed.iter().filter(unexpected).collect();
    assert!(unexpected.is_empty() && report.failed.len() > 10, "{unexpected:?}\n{}", report.text);
    assert!(report.left.is_empty(), "{:?}", report.left);
    let cloud = Cloud::at(moto.url.clone());
    assert_eq!((live(&cloud).await, live(&cloud.another().await.unwrap()).await), (vec![], vec![]));
}

#[tokio::test]
async fn a_run_needs_the_confirmation_of_two_accounts() {
    let server = simulator(Settings { any_role: true, ..Settings::default() }, Clock::new(Timestamp::now(), 1.0)).await;
    let error = target(&server.url(), None).await.run().await.unwrap_err().to_string();
    assert!(error.contains("CONTRACT_AWS_CONFIRM=111111111111,222222222222"), "{error}");
    let error = target(&server.url(), Some("111111111111")).await.run().await.unwrap_err().to_string();
    assert!(error.contains("CONTRACT_AWS_CONFIRM=111111111111,222222222222"), "{error}");
    let mut one = target(&server.url(), Some("111111111111,111111111111")).await;
    one.credentials[1] = one.credentials[0].clone();
    let error = one.run().await.unwrap_err().to_string();
    assert!(error.contains("need two accounts"), "{error}");
    assert!(live(&Cloud::at(server.url())).await.is_empty());
}
