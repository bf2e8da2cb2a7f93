//! The main job, shown on a real API server: a resource becomes an active peering, and goes again.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{ControlPlane, Moto, Operator, ec2, eventually, repository};

const REGION: &str = "eu-central-1";
const EXAMPLE: &str = "deploy/examples/same-account.yaml";
const NAME: &str = "orders-to-payments";
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
    say("starting EC2");
    let moto = Moto::start(control_plane.folder()).await?;
    say("starting the operator, with the rights that deploy/ grants it");
    let operator = Operator::new(&program()?, &control_plane, &moto.url, "operator.log").await?;
    let operator = operator.with("CONSISTENCY_WINDOW", "5s").start().await?;
    let ec2 = ec2::client(&moto.url, REGION);
    let requester = ec2::create_vpc(&ec2, "10.1.0.0/16").await?;
    let accepter = ec2::create_vpc(&ec2, "10.2.0.0/16").await?;
    say(&format!("EC2 has the VPCs {requester} and {accepter}"));

    let manifest = example(&requester, &accepter)?;
    let path = control_plane.folder().join("same-account.yaml");
    std::fs::write(&path, &manifest)?;
    say(&format!("kubectl apply -f {EXAMPLE}, for these VPCs"));
    print!("{manifest}");
    control_plane.kubectl(&["apply", "-f", &path.to_string_lossy()]).await?;

    say("kubectl get vpcpeerings, whenever it changes");
    let mut shown = String::new();
    eventually("active", LIMIT, async || {
        let row = control_plane.kubectl(&["get", "vpcpeerings"]).await?;
        let row = without_age(&row);
        if row != shown {
            let lines: Vec<_> = row.lines().collect();
            println!("{}", lines[usize::from(!shown.is_empty())..].join("\n"));
            shown.clone_from(&row);
        }
        ensure!(row.contains(" active "), "{row}\n{}", operator.output());
        Ok(())
    })
    .await?;

    say("its Events");
    let columns = "TYPE:.type,REASON:.reason,NOTE:.note";
    let columns = format!("custom-columns={columns}");
    print!(
        "{}",
        control_plane.kubectl(&["get", "events.v1.events.k8s.io", "--sort-by=.eventTime", "-o", &columns]).await?
    );

    if std::env::var_os("DEMO_KEEP").is_some_and(|keep| !keep.is_empty() && keep != "0") {
        say("all of it stays up; in another terminal:");
        println!("export KUBECONFIG={} AWS_ENDPOINT_URL={}", control_plane.kubeconfig().display(), moto.url);
        println!("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION={REGION}");
        println!("alias kubectl={}", control_plane.kubectl_path().display());
        say("Ctrl-C stops it");
        std::future::pending::<()>().await;
    }

    say(&format!("kubectl delete vpcpeering {NAME}"));
    print!("{}", control_plane.kubectl(&["delete", "vpcpeering", NAME, "--timeout=60s"]).await?);
    for connection in ec2::peerings_of(&ec2, &requester).await? {
        let (id, code) = (connection.vpc_peering_connection_id().unwrap_or_default(), ec2::code(&connection));
        say(&format!("EC2 shows {id} as {code}"));
        ensure!(code == "deleted");
    }
    let (status, took) = operator.terminate().await?;
    say(&format!("SIGTERM: the operator ended in {} ms with {status}", took.as_millis()));
    Ok(())
}

fn say(what: &str) {
    println!("\n» {what}");
}

/// The example, for VPCs that exist.
fn example(requester: &str, accepter: &str) -> Result<String> {
    let text = std::fs::read_to_string(repository().join(EXAMPLE)).context(EXAMPLE)?;
    Ok(text.replace("vpc-0a1b2c3d4e5f67890", requester).replace("vpc-0f9e8d7c6b5a43210", accepter))
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
