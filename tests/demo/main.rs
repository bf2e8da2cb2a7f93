//! A demo on a real API server and a simulated EC2. One request becomes an active connection, one expires and one
//! fails. Then all of them are deleted.

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
    say("starting the simulated EC2");
    let simulator = ec2_simulator::Simulator::new(Default::default(), Clock::new(Timestamp::now(), 1.0), 1);
    let server = Server::start((Ipv4Addr::LOCALHOST, 0).into(), simulator).await?;
    let simulator = Simulator::new(&server.url());
    // Slow enough that a user can follow the transitions.
    simulator.set(&serde_json::json!({"delays": {"initiating": 1, "provisioning": 1, "deleting": 1}})).await?;
    let ours = ec2::client(&server.url(), REGION);
    let theirs = ec2::client_as(&server.url(), REGION, &simulator.create_key(OTHER_ACCOUNT).await?.access_key_id);
    say("starting the operator with the permissions that deploy/ grants");
    let operator = Operator::new(&program()?, &control_plane, &server.url(), "operator.log").await?;
    let operator = operator
        .with("OWN_CREDENTIALS_NAMESPACES", "default")
        .with("POLL_INTERVAL", "2s")
        .with("CONSISTENCY_WINDOW", "5s")
        .start()
        .await?;
    let mut watch = Watch { control_plane: &control_plane, table: String::new() };

    say("two VPCs of one account: the operator requests the peering and accepts it");
    let (orders, payments) = (vpc(&ours, "10.1.0.0/16").await?, vpc(&ours, "10.2.0.0/16").await?);
    apply(&control_plane, "same-account.yaml", &orders, &payments, &[]).await?;
    watch.until("orders-to-payments", "active").await?;

    say("a VPC of another account, whose owner does not answer; the clock moves on by seven days");
    let partner = vpc(&theirs, "10.3.0.0/16").await?;
    apply(&control_plane, "cross-account.yaml", &orders, &partner, &[]).await?;
    watch.until("orders-to-partner", "pending-acceptance").await?;
    simulator.advance(WEEK).await?;
    watch.until("orders-to-partner", "expired").await?;

    say("a VPC of another account whose CIDR block overlaps");
    let overlapping = vpc(&theirs, "10.1.128.0/20").await?;
    let rename = [("name: orders-to-partner", "name: orders-to-overlap")];
    apply(&control_plane, "cross-account.yaml", &orders, &overlapping, &rename).await?;
    watch.until("orders-to-overlap", "failed").await?;

    show_conditions_and_events(&control_plane).await?;
    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        keep_running(&control_plane, &server).await;
    }

    say("kubectl delete vpcpeerings --all");
    print!("{}", control_plane.kubectl(&["delete", "vpcpeerings", "--all", "--timeout=60s"]).await?);
    for connection in ec2::peerings_of(&ours, &orders).await? {
        let (id, code) = (connection.vpc_peering_connection_id().unwrap_or_default(), ec2::code(&connection));
        println!("EC2 shows {id} as {code}");
        ensure!(["deleted", "expired", "failed"].contains(&code));
    }
    let (status, took) = operator.terminate().await?;
    say(&format!("SIGTERM: the operator exited after {} ms with {status}", took.as_millis()));
    Ok(())
}

async fn show_conditions_and_events(control_plane: &ControlPlane) -> Result<()> {
    say("the conditions and the Events");
    let ready = "custom-columns=NAME:.metadata.name,READY:.status.conditions[0].status,\
                 REASON:.status.conditions[0].reason,MESSAGE:.status.conditions[0].message";
    print!("{}", control_plane.kubectl(&["get", "vpcpeerings", "-o", ready]).await?);
    let events = "custom-columns=OBJECT:.regarding.name,TYPE:.type,REASON:.reason,NOTE:.note";
    let order = "--sort-by=.eventTime";
    println!();
    print!("{}", control_plane.kubectl(&["get", "events.v1.events.k8s.io", order, "-o", events]).await?);
    Ok(())
}

/// Prints how to use the environment, and waits until the demo is interrupted.
async fn keep_running(control_plane: &ControlPlane, server: &Server) {
    say("everything keeps running; in another terminal:");
    println!("export KUBECONFIG={} AWS_ENDPOINT_URL={}", control_plane.kubeconfig().display(), server.url());
    println!("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION={REGION}");
    println!("alias kubectl={}", control_plane.kubectl_path().display());
    say("Ctrl-C stops everything");
    std::future::pending::<()>().await;
}

fn say(text: &str) {
    println!("\n» {text}");
}

async fn vpc(ec2: &Ec2, cidr_block: &str) -> Result<String> {
    let id = ec2::create_vpc(ec2, cidr_block).await?;
    println!("created {id} with {cidr_block}");
    Ok(id)
}

/// Applies an example from `deploy/examples`, with the IDs of these VPCs.
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
    println!("kubectl apply -f {path}, with the IDs of these VPCs");
    print!("{}", control_plane.kubectl(&["apply", "-f", &file.to_string_lossy()]).await?);
    Ok(())
}

/// Prints `kubectl get vpcpeering` whenever its output changes.
struct Watch<'a> {
    control_plane: &'a ControlPlane,
    table: String,
}

impl Watch<'_> {
    async fn until(&mut self, name: &str, code: &str) -> Result<()> {
        println!("\nkubectl get vpcpeering {name}, whenever it changes");
        self.table.clear();
        eventually(&format!("{name}: {code}"), LIMIT, async || {
            let table = without_age(&self.control_plane.kubectl(&["get", "vpcpeering", name]).await?);
            if table != self.table {
                // Print the heading only when the column widths have changed.
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

/// A table without its last column AGE, which changes every second.
fn without_age(table: &str) -> String {
    let age = table.find("AGE").unwrap_or(table.len());
    table.lines().map(|line| line.get(..age).unwrap_or(line).to_owned() + "\n").collect()
}

/// The operator's binary, in the parent folder of this example's binary.
fn program() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let folder =
        this.parent().and_then(|examples| examples.parent()).context("the demo is not in a target folder of Cargo")?;
    let program = folder.join("vpc-peering-operator");
    ensure!(program.exists(), "{} does not exist; run `make demo`, which builds it", program.display());
    Ok(program)
}
