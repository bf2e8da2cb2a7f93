//! The main job, shown on a real API server and a simulated EC2: a request becomes an active peering, another one
//! expires, a third one fails, and all go again.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aws_sdk_ec2::Client as Ec2;
use ec2_simulator::clock::Clock;
use ec2_simulator::{Client as Simulator, Server};
use environment::{ControlPlane, Operator, ec2, eventually, repository};
use k8s_openapi::jiff::Timestamp;

const REGION: &str = "eu-central-1";
const OTHER_ACCOUNT: &str = "222222222222";
const WEEK: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const LIMIT: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    tokio::select! {
        outcome = demo() => outcome,
        _ = tokio::signal::ctrl_c() => {
            println!("\ninterrupted; stopping everything");
            Ok(())
        }
    }
}

async fn demo() -> Result<()> {
    say("starting etcd and kube-apiserver, and applying deploy/");
    let control_plane = ControlPlane::start().await?;
    say("starting EC2's simulator");
    let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
    let simulator = Simulator::new(&server.url());
    // Slow enough to be watched.
    simulator.set(&serde_json::json!({"delays": {"initiating": 1, "provisioning": 1, "deleting": 1}})).await?;
    let ours = ec2::client(&server.url(), REGION);
    let theirs = ec2::client_as(&server.url(), REGION, &simulator.create_key(OTHER_ACCOUNT).await?.access_key_id);
    say("starting the operator, with the rights that deploy/ grants it");
    let operator = Operator::new(&program()?, &control_plane, &server.url(), "operator.log").await?;
    let operator = operator
        .with("OWN_CREDENTIALS_NAMESPACES", "default")
        .with("POLL_INTERVAL", "2s")
        .with("CONSISTENCY_WINDOW", "5s")
        .start()
        .await?;
    let mut shown = Shown { control_plane: &control_plane, table: String::new() };

    say("two VPCs of one account: the operator requests the peering and accepts it");
    let (orders, payments) = (vpc(&ours, "10.1.0.0/16").await?, vpc(&ours, "10.2.0.0/16").await?);
    apply(&control_plane, "same-account.yaml", &orders, &payments, &[]).await?;
    shown.until("orders-to-payments", "active").await?;

    say("a VPC of another account, whose owner does not answer; the clock moves on by seven days");
    let partner = vpc(&theirs, "10.3.0.0/16").await?;
    apply(&control_plane, "cross-account.yaml", &orders, &partner, &[]).await?;
    shown.until("orders-to-partner", "pending-acceptance").await?;
    simulator.advance(WEEK).await?;
    shown.until("orders-to-partner", "expired").await?;

    say("a VPC of another account whose CIDR block overlaps");
    let overlapping = vpc(&theirs, "10.1.128.0/20").await?;
    let rename = [("name: orders-to-partner", "name: orders-to-overlap")];
    apply(&control_plane, "cross-account.yaml", &orders, &overlapping, &rename).await?;
    shown.until("orders-to-overlap", "failed").await?;

    say("the conditions and the Events");
    let ready = "custom-columns=NAME:.metadata.name,READY:.status.conditions[0].status,REASON:.status.conditions[0].reason,MESSAGE:.status.conditions[0].message";
    print!("{}", control_plane.kubectl(&["get", "vpcpeerings", "-o", ready]).await?);
    let events = "custom-columns=OBJECT:.regarding.name,TYPE:.type,REASON:.reason,NOTE:.note";
    let order = "--sort-by=.eventTime";
    println!();
    print!("{}", control_plane.kubectl(&["get", "events.v1.events.k8s.io", order, "-o", events]).await?);

    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        say("all of it stays up; in another terminal:");
        println!("export KUBECONFIG={} AWS_ENDPOINT_URL={}", control_plane.kubeconfig().display(), server.url());
        println!("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION={REGION}");
        println!("alias kubectl={}", control_plane.kubectl_path().display());
        say("Ctrl-C stops it");
        std::future::pending::<()>().await;
    }

    say("kubectl delete vpcpeerings --all");
    print!("{}", control_plane.kubectl(&["delete", "vpcpeerings", "--all", "--timeout=60s"]).await?);
    for connection in ec2::peerings_of(&ours, &orders).await? {
        let (id, code) = (connection.vpc_peering_connection_id().unwrap_or_default(), ec2::code(&connection));
        println!("EC2 shows {id} as {code}");
        ensure!(["deleted", "expired", "failed"].contains(&code));
    }
    let (status, took) = operator.terminate().await?;
    say(&format!("SIGTERM: the operator ended in {} ms with {status}", took.as_millis()));
    Ok(())
}

fn say(what: &str) {
    println!("\n» {what}");
}

async fn vpc(ec2: &Ec2, cidr_block: &str) -> Result<String> {
    let id = ec2::create_vpc(ec2, cidr_block).await?;
    println!("EC2 has {id}, {cidr_block}");
    Ok(id)
}

/// Applies an example, for VPCs that exist.
async fn apply(
    control_plane: &ControlPlane,
    example: &str,
    requester: &str,
    accepter: &str,
    changes: &[(&str, &str)],
) -> Result<()> {
    let path = format!("deploy/examples/{example}");
    let text = std::fs::read_to_string(repository().join(&path)).with_context(|| path.clone())?;
    let text = text.replace("vpc-0a1b2c3d4e5f67890", requester).replace("vpc-0f9e8d7c6b5a43210", accepter);
    let text = changes.iter().fold(text, |text, (from, to)| text.replace(from, to));
    let file = control_plane.folder().join(example);
    std::fs::write(&file, text)?;
    println!("kubectl apply -f {path}, for these VPCs");
    print!("{}", control_plane.kubectl(&["apply", "-f", &file.to_string_lossy()]).await?);
    Ok(())
}

/// `kubectl get vpcpeerings`, shown whenever it changes.
struct Shown<'a> {
    control_plane: &'a ControlPlane,
    table: String,
}

impl Shown<'_> {
    async fn until(&mut self, name: &str, code: &str) -> Result<()> {
        println!("\nkubectl get vpcpeering {name}, whenever it changes");
        self.table.clear();
        eventually(&format!("{name}: {code}"), LIMIT, async || {
            let table = without_age(&self.control_plane.kubectl(&["get", "vpcpeering", name]).await?);
            if table != self.table {
                // EC2's answer changes the widths, and so the heading.
                let heading = usize::from(self.table.lines().next() == table.lines().next());
                println!("{}", table.lines().skip(heading).collect::<Vec<_>>().join("\n"));
                self.table.clone_from(&table);
            }
            ensure!(table.contains(&format!(" {code} ")), "{table}");
            Ok(())
        })
        .await
    }
}

/// A table without its last column, which changes with every second.
fn without_age(table: &str) -> String {
    let age = table.find("AGE").unwrap_or(table.len());
    table.lines().map(|line| line.get(..age).unwrap_or(line).to_owned() + "\n").collect()
}

/// The operator's binary: beside the folder that this example is in.
fn program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(|examples| examples.parent()).context("not in a target folder")?;
    let program = folder.join("vpc-peering-operator");
    ensure!(program.exists(), "{} is missing; use `make demo`", program.display());
    Ok(program)
}
