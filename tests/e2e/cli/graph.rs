//! `graph`, and the generated pages of the command line.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::process::Command;

use super::{browser, run};
use crate::both_ends::BothEnds;
use crate::world::{OTHER_ACCOUNT, OTHER_REGION, REGION, World, connection_id};

/// The same two regions, as the cluster, the manifests and AWS show them.
pub async fn the_peerings_of_two_regions_are_drawn(world: World) -> Result<()> {
    let _operator = world.operator.start().await?;
    let mut ends = BothEnds::far_apart(&world).await?;
    ends.manifest["spec"]["requester"]["routes"] = json!({"routeTables": {"main": true}});
    ends.apply().await?;
    let object = ends.world.until_ready().await?;
    let id = connection_id(&object).context("no ID")?.to_owned();
    let kubeconfig = world.shared.control_plane.kubeconfig().to_string_lossy().into_owned();
    let operator = world.operator.clone().with("KUBECONFIG", &kubeconfig);
    let draw = async |arguments: &[&str]| -> Result<String> {
        let drawn = run(&operator, &[&["graph"], arguments].concat()).await?;
        ensure!(drawn.code == 0 && drawn.stderr.is_empty(), "{arguments:?}: {drawn:?}");
        Ok(drawn.stdout)
    };
    let groups = [format!("111111111111 · {REGION}"), format!("{OTHER_ACCOUNT} · {OTHER_REGION}")];
    let missing = format!("no return route from {}", ends.accepter_vpc);
    for format in ["mermaid", "dot", "svg", "html"] {
        let drawn = draw(&["-n", &world.namespace, "--format", format]).await?;
        let expected = [&format!("{}/peering", world.namespace), &id, &missing, &"10.2.0.0/16".to_owned()];
        for text in groups.iter().chain(expected) {
            ensure!(drawn.contains(text.as_str()), "{format}: no {text}: {drawn}");
        }
    }
    let page = draw(&["-n", &world.namespace, "--format", "html"]).await?;
    let folder = world.shared.control_plane.folder().join(format!("{}-page", world.namespace));
    std::fs::create_dir_all(&folder)?;
    browser::use_page(&folder, &page, &ends.accepter_vpc).await?;
    ensure!(draw(&["-A"]).await?.contains(&id) && draw(&[]).await?.contains(&id));

    // Each account sees its own VPC in AWS.
    let in_aws = draw(&["--region", REGION]).await?;
    ensure!(in_aws.contains(&groups[0]) && in_aws.contains(&groups[1]) && in_aws.contains(&id), "{in_aws}");
    let identity = format!("{}-{OTHER_ACCOUNT}", world.namespace);
    let partner = draw(&["--region", OTHER_REGION, "--identity", &identity]).await?;
    ensure!(partner.contains(&format!("{}/peering", world.namespace)), "{partner}");

    let file = world.shared.control_plane.folder().join(format!("{}-graph.json", world.namespace));
    std::fs::write(&file, ends.manifest.to_string())?;
    let planned = draw(&[&file.to_string_lossy()]).await?;
    ensure!(planned.contains("planned") && planned.contains(&ends.accepter_vpc), "{planned}");

    for (arguments, code, message) in [
        (&["--region", REGION, "--identity", "no-such-identity"][..], 1, "there is no AwsIdentity no-such-identity"),
        (&["no-such-file.yaml"], 1, "cannot read no-such-file.yaml"),
        (&["--identity", "a"], 2, "--region"),
        (&["--context", "no-such-context"], 1, "no-such-context"),
    ] {
        let failed = run(&operator, &[&["graph"], arguments].concat()).await?;
        ensure!(failed.code == code && failed.stderr.contains(message), "{arguments:?}: {failed:?}");
    }
    ends.world.delete().await?;
    ends.world.until_gone().await
}

/// kubectl runs a link to the binary as a plugin.
pub async fn the_name_of_the_binary_and_the_pages_fit(world: World) -> Result<()> {
    let folder = world.shared.control_plane.folder().join(format!("{}-bin", world.namespace));
    std::fs::create_dir_all(&folder)?;
    std::os::unix::fs::symlink(&world.operator.program, folder.join("kubectl-pcx"))?;
    let kubectl = |arguments: &[&str]| {
        let mut command = Command::new(world.shared.control_plane.kubectl_path());
        command.arg("pcx").args(arguments).env("PATH", &folder);
        command
    };
    let help = kubectl(&["check", "--help"]).output().await?;
    ensure!(String::from_utf8_lossy(&help.stdout).contains("Usage: kubectl pcx check [OPTIONS]"), "{help:?}");
    let pages = folder.join("man");
    let written = kubectl(&["man", &pages.to_string_lossy()]).status().await?;
    ensure!(written.success() && pages.join("vpc-peering-operator-check.1").exists());
    let completion = kubectl(&["completion", "bash", "--name", "kubectl-pcx"]).output().await?;
    ensure!(String::from_utf8_lossy(&completion.stdout).contains("--watch-namespaces"), "{completion:?}");
    Ok(())
}
