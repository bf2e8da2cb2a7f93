//! Metrics and probes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ec2_simulator::Kind;
use environment::{RunningOperator, eventually, prepare, repository};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::Command;
use vpc_peering_operator::operator::metrics::DEFINITIONS;

use super::world::{REGION, World};

const LIMIT: Duration = Duration::from_secs(60);

/// Starts an operator with a deletion that hangs, a pending request and an accepter, so that every metric has a sample.
async fn start_with_something_to_measure(world: &World) -> Result<(RunningOperator, World)> {
    let operator = world.operator.start().await?;
    let leaving = world.with_name("leaving");
    world.apply(&world.manifest_with(json!({"acceptance": "Manual"}))).await?;
    world.until_code("pending-acceptance").await?;
    let mut kept = leaving.manifest();
    kept["metadata"]["finalizers"] = json!(["example.com/keep"]);
    leaving.apply(&kept).await?;
    leaving.delete().await?;
    let accepter = json!({
        "apiVersion": "vpcpeering.dev/v1alpha1",
        "kind": "VpcPeeringAccepter",
        "metadata": {"name": "accepter", "namespace": world.namespace},
        "spec": {"vpcId": world.accepter, "region": REGION},
    });
    world.apply_text(&accepter).await?;
    Ok((operator, leaving))
}

pub async fn a_scrape_matches_the_table_of_metrics(world: World) -> Result<()> {
    let (operator, leaving) = start_with_something_to_measure(&world).await?;
    let table: BTreeMap<_, _> = DEFINITIONS.iter().map(|row| (row.name, row)).collect();
    ensure!(table.len() == DEFINITIONS.len(), "a name is defined twice");
    eventually("the scrape shows every metric", LIMIT, async || {
        let scrape = Scrape::of(&operator).await?;
        let (shown, defined): (BTreeSet<_>, BTreeSet<_>) =
            (scrape.kinds.keys().map(String::as_str).collect(), table.keys().copied().collect());
        ensure!(shown == defined, "not the same: {:?}", shown.symmetric_difference(&defined).collect::<Vec<_>>());
        for (name, row) in &table {
            ensure!(scrape.kinds[*name] == row.kind, "{name} is a {}", scrape.kinds[*name]);
            ensure!(scrape.helps[*name] == format!("{}.", row.help), "{name}: {}", scrape.helps[*name]);
            let labels = scrape.labels.get(*name).with_context(|| format!("{name} has no sample"))?;
            let defined = row.labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
            ensure!(*labels == defined, "{name} has the labels {labels:?}");
        }
        Ok(())
    })
    .await?;

    let scrape = Scrape::of(&operator).await?;
    let region = r#"region="eu-central-1""#;
    let created = scrape.value("vpcpeering_aws_requests_total", &["CreateVpcPeeringConnection", region, "\"OK\""])?;
    ensure!(created == 1.0, "{created} peerings were created");
    ensure!(scrape.value("vpcpeering_peerings", &["pending-acceptance"])? == 1.0);
    ensure!(scrape.value("vpcpeering_deletion_age_seconds", &["\"VpcPeering\""])? < 60.0);
    eventually("each kind is counted", LIMIT, async || {
        let scrape = Scrape::of(&operator).await?;
        let waiting = scrape.value("vpcpeering_resources", &["\"VpcPeering\"", "\"PendingAcceptance\""])?;
        let accepters = scrape.value("vpcpeering_resources", &["\"VpcPeeringAccepter\"", "ready=\"True\""])?;
        ensure!(waiting == 1.0 && accepters == 1.0, "{waiting} and {accepters}");
        Ok(())
    })
    .await?;
    let expiry = scrape.value("vpcpeering_pending_expiry_seconds", &[])?;
    ensure!((6.9 * 86400.0..=7.0 * 86400.0).contains(&expiry), "expires in {expiry} s");
    ensure!(scrape.value("vpcpeering_inventory_age_seconds", &[region])? < 10.0);
    ensure!(scrape.value("controller_runtime_reconcile_total", &["vpcpeering", "requeue_after"])? >= 1.0);
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &leaving.name).await?;
    Ok(())
}

pub async fn aws_errors_are_counted_by_code(world: World) -> Result<()> {
    world.fault("AcceptVpcPeeringConnection", Some(1), Kind::Throttle).await?;
    let operator = world.operator.start().await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    let scrape = Scrape::of(&operator).await?;
    let accepts = |code| scrape.value("vpcpeering_aws_requests_total", &["AcceptVpcPeeringConnection", code]);
    ensure!(accepts("\"RequestLimitExceeded\"")? == 1.0);
    ensure!(accepts("\"OK\"")? == 1.0);
    Ok(())
}

pub async fn probes_report_liveness_and_readiness(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    eventually("ready", LIMIT, async || operator.get("/readyz").await.map(drop)).await?;
    ensure!(operator.get("/healthz").await? == "ok\n");
    ensure!(operator.get("/livez").await? == "ok\n");
    ensure!(operator.get("/secrets").await.is_err());

    // Without the right to list resources, an operator is alive but not ready.
    let control_plane = &world.shared.control_plane;
    control_plane.kubectl(&["create", "serviceaccount", "nobody", "--namespace", &world.namespace]).await?;
    let kubeconfig = control_plane.kubeconfig_of(&world.namespace, "nobody").await?;
    let blind = world.operator.clone().with("KUBECONFIG", &kubeconfig.to_string_lossy()).with("CLUSTER_ID", "test");
    let blind = blind.with_log("nobody").start().await?;
    eventually("alive", LIMIT, async || blind.get("/livez").await.map(drop)).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let why = blind.get("/readyz").await.err().context("ready without a list of resources")?;
    ensure!(why.to_string().contains("503"), "{why:#}");
    Ok(())
}

/// Idle connections, as of a port scanner or an attacker, do not fill the server up: it closes the oldest.
pub async fn probes_are_answered_beside_a_thousand_idle_connections_and_slow_readers(world: World) -> Result<()> {
    let operator = world.operator.start().await?;
    eventually("ready", LIMIT, async || operator.get("/readyz").await.map(drop)).await?;
    let address = operator.address()?;
    let mut idle = Vec::new();
    for number in 0..1_000 {
        let mut client = TcpStream::connect(&address).await?;
        if number % 2 == 0 {
            // It never reads the answer. The server may have closed the connection already.
            _ = client.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
        }
        idle.push(client);
    }
    for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
        let answer = tokio::time::timeout(Duration::from_secs(5), operator.get(path)).await;
        answer.with_context(|| format!("{path} has no answer"))??;
    }
    let files = std::fs::read_dir(format!("/proc/{}/fd", operator.id()))?.count();
    ensure!(files < 300, "{files} files are open");
    drop(idle);
    Ok(())
}

/// Needs no resource. Before that, the log shows AWS's error, `/readyz` does not, and the metrics are served. Later
/// errors do not make the operator unready.
pub async fn the_operator_is_ready_once_aws_accepts_its_credentials(world: World) -> Result<()> {
    let code = "InvalidClientTokenId".to_owned();
    let refusal = Kind::Error { code: code.clone(), message: Some("who is that?".into()), status: Some(403) };
    let fault = world.fault("GetCallerIdentity", None, refusal.clone()).await?;
    let operator = world.operator.start().await?;
    eventually("not ready because of AWS", LIMIT, async || {
        let why = operator.get("/readyz").await.err().context("ready although AWS refuses the credentials")?;
        let why = why.to_string();
        ensure!(
            why.ends_with(": 503: AWS has not accepted the operator's own credentials yet; the log says why\n"),
            "{why}"
        );
        let log = operator.output();
        ensure!([&code, "who is that?"].iter().all(|part| log.contains(part)), "{log}");
        Ok(())
    })
    .await?;
    ensure!(operator.get("/livez").await? == "ok\n");
    let scrape = Scrape::of(&operator).await?;
    ensure!(scrape.value("vpcpeering_aws_requests_total", &["GetCallerIdentity", &code])? >= 1.0);
    // Frequent probes do not cause frequent calls to AWS.
    let (asked, start) = (world.calls("GetCallerIdentity").await?, Instant::now());
    while start.elapsed() < Duration::from_secs(4) {
        ensure!(operator.get("/readyz").await.is_err());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = world.calls("GetCallerIdentity").await? - asked;
    ensure!(asked <= 1, "AWS was called {asked} times in {:?}", start.elapsed());

    world.simulator().remove_fault(fault).await?;
    eventually("ready", LIMIT, async || operator.get("/readyz").await.map(drop)).await?;
    world.fault("*", None, refusal).await?;
    world.apply(&world.manifest()).await?;
    world.until_stalled_unknown("Unauthorized").await?;
    ensure!(operator.get("/readyz").await? == "ok\n");
    Ok(())
}

/// Evaluates each query of the Grafana dashboard with Prometheus' own code on a real scrape. The test adds the labels
/// that Prometheus adds to every series of a target.
pub async fn every_dashboard_query_returns_data(world: World) -> Result<()> {
    let (operator, leaving) = start_with_something_to_measure(&world).await?;
    let (text, labels) = eventually("the scrape shows every metric", LIMIT, async || {
        let scrape = Scrape::of(&operator).await?;
        ensure!(scrape.labels.len() == DEFINITIONS.len(), "only {:?}", scrape.labels.keys());
        Ok((scrape.text, scrape.labels))
    })
    .await?;
    let of_target = r#"job="operator",namespace="install",pod="operator-0""#;
    let series = text.lines().filter(|line| !line.starts_with('#')).map(|sample| {
        let (series, value) = sample.rsplit_once(' ').unwrap_or_default();
        let series = match series.split_once('{') {
            Some((name, set)) => format!("{name}{{{of_target},{set}"),
            None => format!("{series}{{{of_target}}}"),
        };
        json!({"series": series, "values": format!("{value}+1x30")})
    });
    let dashboard = repository().join("charts/vpc-peering-operator/files/dashboard.json");
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(dashboard)?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let queries: Vec<_> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().into_iter().flatten())
        .map(|target| target["expr"].as_str().context("a target without a query"))
        .collect::<Result<_>>()?;
    ensure!(queries.len() >= panels.len(), "a panel without a query");
    let known: BTreeSet<_> =
        labels.values().flatten().map(String::as_str).chain(["le", "job", "namespace", "pod"]).collect();
    let (mut rules, mut tests) = (Vec::new(), Vec::new());
    for (number, query) in queries.iter().enumerate() {
        for grouping in query.split("by (").skip(1) {
            for label in grouping.split(')').next().unwrap_or_default().split(',') {
                ensure!(known.contains(label.trim()), "no metric has the label {label}: {query}");
            }
        }
        let alert = format!("Query{number}");
        let query = query.replace("$job", "operator").replace("$__rate_interval", "5m");
        ensure!(!query.contains('$'), "an unknown variable: {query}");
        // promtool rejects queries that it cannot parse.
        rules.push(json!({"alert": alert, "expr": format!("absent({query})"), "annotations": {"query": query}}));
        tests.push(json!({"eval_time": "20m", "alertname": alert}));
    }
    let folder = world.shared.control_plane.folder().join("dashboard");
    std::fs::create_dir_all(&folder)?;
    // JSON is valid YAML.
    std::fs::write(folder.join("rules.yaml"), json!({"groups": [{"name": "queries", "rules": rules}]}).to_string())?;
    let test = json!({"interval": "1m", "input_series": series.collect::<Vec<_>>(), "alert_rule_test": tests});
    let tests = json!({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]});
    std::fs::write(folder.join("tests.yaml"), tests.to_string())?;
    let promtool = prepare("tests/control-plane/build.sh promtool")?.join("promtool");
    let output = Command::new(promtool).args(["test", "rules", "tests.yaml"]).current_dir(&folder).output().await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "a query returns no data: {said}");
    world.shared.control_plane.remove_finalizers("vpcpeering", &world.namespace, &leaving.name).await?;
    Ok(())
}

/// A parsed scrape.
struct Scrape {
    kinds: BTreeMap<String, String>,
    helps: BTreeMap<String, String>,
    /// The label names of a metric, without `le` of a histogram.
    labels: BTreeMap<String, BTreeSet<String>>,
    text: String,
}

impl Scrape {
    async fn of(operator: &RunningOperator) -> Result<Self> {
        let text = operator.get("/metrics").await?;
        let described = |word: &str| {
            let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.trim_start().split_once(' '));
            lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let (kinds, helps) = (described("# TYPE"), described("# HELP"));
        let mut labels = BTreeMap::<String, BTreeSet<String>>::new();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().unwrap_or_default();
            let parts = ["_bucket", "_sum", "_count"];
            let name = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            let set = sample.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(set, _)| set);
            let keys = set.split(',').filter_map(|pair| pair.split_once('=')).map(|(key, _)| key);
            labels.entry(name.to_owned()).or_default().extend(keys.filter(|key| *key != "le").map(str::to_owned));
        }
        Ok(Self { kinds, helps, labels, text })
    }

    /// The value of the first sample of a metric that contains all these parts.
    fn value(&self, name: &str, containing: &[&str]) -> Result<f64> {
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && containing.iter().all(|part| line.contains(part))
        };
        let line =
            self.text.lines().find(is_it).with_context(|| format!("no {name} {containing:?}:\n{}", self.text))?;
        Ok(line.rsplit(' ').next().context("no value")?.parse()?)
    }
}
