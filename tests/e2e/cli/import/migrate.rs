//! Runs every command of docs/migrate.md.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use environment::repository;
use tokio::process::Command;
use vpc_peering_operator::api::ManagementPolicy;

use super::{Migration, fixture};
use crate::world::World;

const FENCE: &str = "```";

/// A command of the guide, and the output that the guide shows.
#[derive(Debug)]
struct Step {
    section: String,
    command: String,
    output: String,
}

/// The commands in the `console` blocks of a page.
fn steps(page: &str) -> Vec<Step> {
    let (mut steps, mut section, mut is_code) = (Vec::<Step>::new(), String::new(), false);
    for line in page.lines() {
        if let Some(info) = line.strip_prefix(FENCE) {
            is_code = info == "console";
        } else if let Some(title) = line.strip_prefix("## ") {
            title.clone_into(&mut section);
        } else if let (true, Some(command)) = (is_code, line.strip_prefix("$ ")) {
            steps.push(Step { section: section.clone(), command: command.to_owned(), output: String::new() });
        } else if let (true, Some(step)) = (is_code, steps.last_mut()) {
            step.output += &format!("{line}\n");
        }
    }
    steps
}

/// The page with other outputs of its commands.
fn with_outputs(page: &str, outputs: &[String]) -> String {
    let (mut text, mut is_code, mut outputs) = (String::new(), false, outputs.iter());
    for line in page.lines() {
        if let Some(info) = line.strip_prefix(FENCE) {
            is_code = info == "console";
        } else if is_code && !line.starts_with("$ ") {
            continue;
        }
        text += &format!("{line}\n");
        if is_code && line.starts_with("$ ") {
            text += outputs.next().map_or("", String::as_str);
        }
    }
    text
}

/// A folder with the commands of the guide. Terraform is a script that shows a state, and otherwise does nothing.
fn programs(migration: &Migration) -> Result<PathBuf> {
    let control_plane = &migration.world.shared.control_plane;
    let folder = control_plane.folder().join("migrate-bin");
    std::fs::create_dir_all(&folder)?;
    symlink(control_plane.kubectl_path(), folder.join("kubectl"))?;
    symlink(&migration.operator.program, folder.join("kubectl-pcx"))?;
    let terraform = folder.join("terraform");
    let show = format!("#!/bin/sh\nif [ \"$1\" = show ]; then cat '{}'; fi\n", fixture("terraform.json").display());
    std::fs::write(&terraform, show)?;
    std::fs::set_permissions(&terraform, std::fs::Permissions::from_mode(0o755))?;
    Ok(folder)
}

/// The output of a command in a folder: standard output, then standard error.
async fn run(migration: &Migration, command: &str, programs: &Path, folder: &Path) -> Result<String> {
    let path = format!("{}:/usr/bin:/bin", programs.display());
    let environment = migration.operator.environment.iter().map(|(name, value)| (*name, value.as_str()));
    let output = Command::new("/bin/sh")
        .args(["-c", command])
        .current_dir(folder)
        .env_clear()
        .envs(environment)
        .env("HOME", folder)
        .env("PATH", path)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command}: {text}");
    Ok(text)
}

/// Runs the guide from top to bottom. With `UPDATE_TESTDATA`, writes the outputs into it.
pub async fn each_command_of_the_guide_works(world: World) -> Result<()> {
    let migration = Migration::start(world).await?;
    migration.create("ack-crds.yaml", "ack.yaml").await?;
    migration.create("crossplane-crds.yaml", "crossplane.yaml").await?;
    let file = repository().join("docs/migrate.md");
    let page = std::fs::read_to_string(&file)?;
    let (programs, mut folder) = (programs(&migration)?, PathBuf::new());
    let (mut section, mut outputs) = (String::new(), Vec::new());
    let steps = steps(&page);
    ensure!(steps.len() > 20, "{steps:?}");
    for step in &steps {
        if step.section != section && step.section.starts_with("From ") {
            if !section.is_empty() {
                migration.release().await?;
            }
            folder = migration.world.shared.control_plane.folder().join(&step.section);
            std::fs::create_dir_all(&folder)?;
        }
        section.clone_from(&step.section);
        let output = run(&migration, &step.command, &programs, &folder).await.with_context(|| section.clone())?;
        check(&migration, step).await.with_context(|| step.command.clone())?;
        outputs.push(output);
    }
    let left =
        migration.world.shared.control_plane.kubectl(&["get", "vpcpeeringconnections", "-A", "-o", "name"]).await?;
    ensure!(left.is_empty(), "not released: {left}");
    let actual = with_outputs(&page, &outputs);
    if std::env::var_os("UPDATE_TESTDATA").is_some() {
        std::fs::write(&file, &actual)?;
    }
    let expected = std::fs::read_to_string(&file)?;
    ensure!(actual == expected, "{}: expected\n{expected}\nbut is\n{actual}", file.display());
    migration.stop().await
}

/// The state after a command: no changing call while the operator observes, and only ownership tags afterwards.
async fn check(migration: &Migration, step: &Step) -> Result<()> {
    let count = if step.section == "From ACK" || step.section == "From Crossplane" { 2 } else { 3 };
    if step.command.contains("--for=condition=Ready") {
        migration.until_settled(count, ManagementPolicy::Observe).await?;
        ensure!(migration.changes().await?.is_empty(), "{:?}", migration.changes().await?);
    }
    if step.command.contains("--for=condition=RoutesReady") {
        migration.until_settled(count, ManagementPolicy::Full).await?;
        migration.ensure_only_ownership_tags().await?;
    }
    Ok(())
}
