//! `check`: all lines of a healthy operator, and each line with one thing broken.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ec2_simulator::Client;
use ec2_simulator::iam::{Attachment, Kind};
use environment::{Operator, RunningOperator, eventually};
use k8s_openapi::jiff::fmt::rfc2822;
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vpc_peering_operator::api::AwsIdentity;

use super::{Finished, run};
use crate::both_ends::BothEnds;
use crate::events::sqs;
use crate::prefix_lists;
use crate::world::{Cloud, OTHER_ACCOUNT, OTHER_REGION, World};

const LIMIT: Duration = Duration::from_secs(60);
const NAMESPACE: &str = "vpc-peering-system";
const PREFIX_LIST: &str = "pl-0000000000000000a";

/// A running operator with leader election and an event queue, and an active peering with routes at both ends.
struct Healthy {
    world: World,
    ends: BothEnds,
    running: RunningOperator,
    /// The environment of `check`.
    operator: Operator,
}

impl Healthy {
    async fn start(world: World) -> Result<Self> {
        let world =
            World::new(world.shared.with_own_control_plane().await?, &world.namespace, Cloud::Simulator).await?;
        world.shared.control_plane.allow_lease(&world.namespace).await?;
        let queue = sqs(&world).create_queue().queue_name(&world.namespace).send().await?;
        let operator = world
            .operator
            .clone()
            .with("LEADER_ELECTION", "true")
            .with("POD_NAME", "pod-1")
            .with("LEASE_NAMESPACE", NAMESPACE)
            .with("LEASE_NAME", &world.namespace)
            .with("LEASE_DURATION", "4s")
            .with("AWS_EC2_METADATA_DISABLED", "true")
            .with("AWS_REGION", "eu-central-1")
            .with("AWS_ENDPOINT_URL_SQS", &world.shared.moto.url)
            .with("EVENT_QUEUE_URL", &queue.queue_url.context("no URL")?);
        let running = operator.start().await?;
        let mut ends = BothEnds::far_apart(&world).await?;
        for end in ["requester", "accepter"] {
            ends.manifest["spec"][end]["routes"] = json!({"routeTables": {"main": true}});
            ends.manifest["spec"][end]["options"] = json!({"allowDnsResolutionFromRemoteVpc": false});
        }
        ends.apply().await?;
        ends.world.until_ready().await?;
        running.get("/readyz").await?;
        let address = running.address()?;
        let operator = operator.with("OPERATOR_URL", &format!("http://{address}"));
        Ok(Self { world, ends, running, operator })
    }

    /// Kills the operator, and starts one with changed environment variables.
    async fn replace_operator(&mut self, changes: &[(&'static str, &str)]) -> Result<()> {
        let operator = changes.iter().fold(self.operator.clone(), |operator, (name, value)| operator.with(name, value));
        let next = operator.with_log("next").start().await?;
        std::mem::replace(&mut self.running, next).kill().await
    }

    /// Runs `check` with changed environment variables.
    async fn check(&self, changes: &[(&'static str, &str)]) -> Result<Report> {
        let operator = changes.iter().fold(self.operator.clone(), |operator, (name, value)| operator.with(name, value));
        Report::of(run(&operator, &["check", "--output", "json"]).await?)
    }
}

/// The JSON output of `check`.
struct Report {
    code: i32,
    checks: Vec<Value>,
}

impl Report {
    fn of(finished: Finished) -> Result<Self> {
        let json: Value = serde_json::from_str(&finished.stdout).with_context(|| format!("{finished:?}"))?;
        let checks = json["checks"].as_array().cloned().context("no checks")?;
        ensure!(json["ok"] == (finished.code == 0), "{json:#}");
        Ok(Self { code: finished.code, checks })
    }

    /// Fails unless every check passed.
    fn ensure_healthy(&self) -> Result<()> {
        let bad: Vec<_> = self.checks.iter().filter(|check| check["verdict"] != "pass").collect();
        ensure!(self.code == 0 && bad.is_empty(), "{bad:#?}");
        Ok(())
    }

    fn ensure_line(&self, check: &str, verdict: &str, message: &str) -> Result<()> {
        let is_line = |line: &&Value| {
            line["check"] == check
                && line["verdict"] == verdict
                && line["message"].as_str().is_some_and(|text| text.contains(message))
                && (verdict == "pass" || line["remedy"].is_string())
        };
        ensure!(self.checks.iter().any(|line| is_line(&line)), "no {verdict} {check} {message}: {:#?}", self.checks);
        ensure!(self.code == i32::from(self.checks.iter().any(|line| line["verdict"] == "fail")), "{}", self.code);
        Ok(())
    }

    fn ensure_failure(&self, check: &str, message: &str) -> Result<()> {
        self.ensure_line(check, "fail", message)
    }
}

pub async fn a_healthy_operator_passes_every_check(world: World) -> Result<()> {
    let healthy = Healthy::start(world).await?;
    let before = healthy.ends.shown().await?;
    let report = healthy.check(&[]).await?;
    report.ensure_healthy()?;
    let identity = format!("{}-{OTHER_ACCOUNT}", healthy.world.namespace);
    for (check, message) in [
        ("API server", "v1."),
        ("CRDs", "vpcpeeringaccepters.vpcpeering.dev v1alpha1"),
        ("RBAC", &format!("update vpcpeerings.vpcpeering.dev/status in {}", healthy.world.namespace)),
        ("RBAC", &format!("get leases.coordination.k8s.io {} in {NAMESPACE}", healthy.world.namespace)),
        ("leader election", "pod-1_"),
        ("AWS credentials", "act as arn:aws:iam::111111111111:user/"),
        ("AWS credentials", "CreateVpcPeeringConnection, DeleteVpcPeeringConnection"),
        ("AwsIdentity", &format!("{identity}: acts as arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/")),
        ("AwsIdentity", &format!("ReplaceRoute in {OTHER_REGION}")),
        ("clock", "the API server is "),
        ("clock", "AWS is "),
        ("event queue", "has 0 messages"),
        ("probes", "/readyz answers 200"),
    ] {
        report.ensure_line(check, "pass", message)?;
    }
    ensure!(healthy.ends.shown().await? == before, "check changed the connection");

    let text = run(&healthy.operator, &["check"]).await?;
    ensure!(text.stdout.contains("✓ probes: ") && !text.stdout.contains('\u{1b}'), "{text:?}");
    ensure!(text.stdout.trim_end().ends_with(" 0 failed, 0 not checked") && text.stderr.is_empty(), "{text:?}");
    let yaml = run(&healthy.operator, &["check", "-o", "yaml"]).await?;
    ensure!(yaml.stdout.starts_with("ok: true\n"), "{yaml:?}");
    healthy.ends.world.delete().await?;
    healthy.ends.world.until_gone().await
}

pub async fn each_fault_in_aws_has_a_line(world: World) -> Result<()> {
    let healthy = Healthy::start(world).await?;
    let simulator = healthy.world.simulator();
    let role = format!("arn:aws:iam::{OTHER_ACCOUNT}:role/peering/{}", healthy.world.namespace);

    let absent = healthy.check(&[("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN")]).await?;
    absent.ensure_failure("AWS credentials", "InvalidClientTokenId")?;

    deny(simulator, &role, &["ec2:DescribeVpcs", "ec2:ReplaceRoute"]).await?;
    let denied = healthy.check(&[]).await?;
    denied.ensure_failure("AwsIdentity", &format!("DescribeVpcs in {OTHER_REGION} is refused"))?;
    denied.ensure_failure("AwsIdentity", &format!("ReplaceRoute in {OTHER_REGION} is refused"))?;
    denied.ensure_line("AwsIdentity", "pass", "DescribeRouteTables")?;

    prefix_lists::put(&healthy.world, &[(PREFIX_LIST, "111111111111", "eu-central-1", &["10.2.0.0/16"])]).await?;
    let routes = json!({"routeTables": {"main": true}, "destinationPrefixListIds": [PREFIX_LIST]});
    healthy.ends.world.patch(json!({"spec": {"requester": {"routes": routes}}})).await?;
    let own = ["ec2:DeleteVpcPeeringConnection", "ec2:GetManagedPrefixListEntries"];
    deny(simulator, healthy.world.key(), &own).await?;
    let denied = healthy.check(&[]).await?;
    denied.ensure_failure("AWS credentials", "DeleteVpcPeeringConnection in eu-central-1 is refused")?;
    denied.ensure_failure("AWS credentials", "GetManagedPrefixListEntries in eu-central-1 is refused")?;
    denied.ensure_line("AWS credentials", "pass", "DescribeManagedPrefixLists")?;

    let absent = json!({"spec": {"roleArn": format!("arn:aws:iam::{OTHER_ACCOUNT}:role/peering/absent")}});
    let identity = format!("{}-{OTHER_ACCOUNT}", healthy.world.namespace);
    let identities = Api::<AwsIdentity>::all(healthy.world.client.clone());
    identities.patch(&identity, &PatchParams::default(), &Patch::Merge(absent)).await?;
    healthy.check(&[]).await?.ensure_failure("AwsIdentity", &format!("{identity}: AssumeRole"))?;

    let url = format!("{}/111111111111/no-such-queue", healthy.world.shared.moto.url);
    healthy.check(&[("EVENT_QUEUE_URL", &url)]).await?.ensure_failure("event queue", "no-such-queue")?;
    let skipped = healthy.check(&[("EVENT_QUEUE_URL", ""), ("OPERATOR_URL", "")]).await?;
    skipped.ensure_line("event queue", "skip", "no queue")?;
    skipped.ensure_line("probes", "skip", "unknown")?;

    let late = late_server().await?;
    let skewed = healthy.check(&[("AWS_ENDPOINT_URL_STS", &late)]).await?;
    skewed.ensure_failure("clock", "AWS refuses requests")?;
    // The denied calls of this test are expected.
    simulator.clear_journal().await
}

/// Denies these actions to a role or an access key.
async fn deny(simulator: &Client, principal: &str, actions: &[&str]) -> Result<()> {
    let statement = json!({"Sid": "Deny", "Effect": "Deny", "Action": actions, "Resource": "*"});
    let document = json!({"Version": "2012-10-17", "Statement": [statement]});
    let (principal, name, kind) = (principal.to_owned(), "deny".to_owned(), Kind::Identity);
    simulator.attach_policy(&Attachment { principal, name, kind, document }).await
}

/// A server whose clock is an hour late. It refuses every request.
async fn late_server() -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let date = rfc2822::to_string(&(Timestamp::now() - SignedDuration::from_hours(1)).to_zoned(TimeZone::UTC));
            let body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code></Error></ErrorResponse>";
            let head = format!("HTTP/1.1 403 Forbidden\r\nDate: {}\r\nConnection: close\r\n", date.unwrap_or_default());
            _ = stream.read(&mut [0; 8192]).await;
            _ = stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
        }
    });
    Ok(url)
}

pub async fn each_fault_in_kubernetes_has_a_line(world: World) -> Result<()> {
    let mut healthy = Healthy::start(world).await?;
    let control_plane = &healthy.world.shared.control_plane;

    let unreachable = control_plane.open_kubeconfig("closed", "https://127.0.0.1:1")?;
    let unreachable = healthy.check(&[("KUBECONFIG", &unreachable.to_string_lossy())]).await?;
    unreachable.ensure_failure("API server", "cannot ask the API server")?;

    let namespace = healthy.world.namespace.as_str();
    control_plane.kubectl(&["create", "serviceaccount", "weak", "--namespace", namespace]).await?;
    let weak = control_plane.kubeconfig_of(namespace, "weak").await?;
    let weak = healthy.check(&[("KUBECONFIG", &weak.to_string_lossy())]).await?;
    weak.ensure_failure("RBAC", "may not patch vpcpeerings.vpcpeering.dev in ")?;
    weak.ensure_failure("RBAC", "may not list namespaces")?;
    weak.ensure_line("leader election", "skip", "cannot read the Lease")?;

    // An administrator checks the rights of a service account by impersonation.
    let admin = control_plane.kubeconfig().to_string_lossy().into_owned();
    let admin = healthy.operator.clone().with("KUBECONFIG", &admin);
    let own = Report::of(run(&admin, &["check", "-o", "json"]).await?)?;
    own.ensure_line("RBAC", "skip", "these are the rights of admin")?;
    let user = format!("--as=system:serviceaccount:{namespace}:weak");
    let other = Report::of(run(&admin, &["check", "-o", "json", &user]).await?)?;
    other.ensure_failure("RBAC", ":weak may not patch vpcpeerings.vpcpeering.dev in ")?;

    let closed = healthy.running.address()?;
    healthy.replace_operator(&[]).await?;
    healthy.check(&[]).await?.ensure_failure("probes", &format!("cannot reach http://{closed}/readyz"))?;
    // The next operator competes for another Lease, so that nobody renews this one.
    healthy.replace_operator(&[("LEASE_NAME", "another")]).await?;
    eventually("expired", LIMIT, async || {
        healthy.check(&[]).await?.ensure_failure("leader election", "has expired: pod-1_")
    })
    .await?;
    let control_plane = &healthy.world.shared.control_plane;
    control_plane.kubectl(&["delete", "--namespace", NAMESPACE, "lease", &healthy.world.namespace]).await?;
    healthy.check(&[]).await?.ensure_failure("leader election", "there is no Lease")?;

    let patch =
        r#"[{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/suspend"}]"#;
    control_plane.kubectl(&["patch", "crd", "vpcpeerings.vpcpeering.dev", "--type=json", "-p", patch]).await?;
    control_plane.kubectl(&["delete", "crd", "vpcpeeringaccepters.vpcpeering.dev", "--wait=false"]).await?;
    // The API server publishes the schemas some seconds later.
    eventually("published", LIMIT, async || {
        let report = healthy.check(&[]).await?;
        report.ensure_failure("CRDs", "differs from this binary's at spec.properties.suspend")?;
        report.ensure_failure("CRDs", "vpcpeeringaccepters.vpcpeering.dev is not installed")
    })
    .await
}

pub async fn before_the_installation_only_the_prerequisites_are_checked(world: World) -> Result<()> {
    let shared = world.shared.with_empty_control_plane().await?;
    let admin = shared.control_plane.kubeconfig().to_string_lossy().into_owned();
    let operator = world.operator.clone().with("KUBECONFIG", &admin);
    let arguments = ["check", "--pre", "-o", "json", "-n", "vpc-peering-system"];
    let report = Report::of(run(&operator, &arguments).await?)?;
    report.ensure_line("RBAC", "pass", "create customresourcedefinitions.apiextensions.k8s.io")?;
    report.ensure_line("AWS credentials", "pass", "act as")?;
    report.ensure_line("event queue", "skip", "no queue")?;
    ensure!(report.code == 0 && !report.checks.iter().any(|check| check["check"] == "CRDs"), "{:#?}", report.checks);
    let nobody = [&arguments[..], &["--as=nobody"]].concat();
    let refused = Report::of(run(&operator, &nobody).await?)?;
    refused.ensure_failure("RBAC", "nobody may not create clusterroles.rbac.authorization.k8s.io")?;
    let wrong = run(&operator, &["check", "--no-such-flag"]).await?;
    ensure!(wrong.code == 2, "{wrong:?}");
    Ok(())
}
