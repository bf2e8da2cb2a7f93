//! Runs every command and applies every manifest of README.md and docs/.
//!
//! The README is a story: from an empty folder to a ping. The chart of this checkout is installed by Helm into a control
//! plane without kubelets; [`node`] runs the operator as its Deployment says. The role has the policy of the
//! CloudFormation template. The other pages show variations, so that their changes are dry runs of the API server.
//!
//! `tests/python/programs.py` replaces the programs that cannot run here, and checks their arguments.

mod node;
mod packet;
mod pages;
mod rules;
mod session;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use ec2_simulator::journal::Query;
use environment::repository;
use serde_json::{Value, json};

use self::pages::Block;
use self::session::Session;
use crate::world::World;

/// The advice for a block that the test does not know.
const ADVICE: &str = "\
Every block of README.md and docs/*.md is tested (tests/e2e/docs). Give each block a language:
- `console` (commands after `$ `) and `sh` run with kubectl, helm and the operator's binary. Add another program to
  tests/python/programs.py, and a text that a reader replaces to PLACEHOLDERS in tests/e2e/docs/rules.rs.
- `yaml` is a manifest, a part of one (`spec: …`), or values of the chart.
- If a block cannot run here, add it to EXCEPTIONS in tests/e2e/docs/rules.rs, with the reason.";

pub async fn the_readme_leads_to_a_ping_and_every_other_block_works(world: World) -> Result<()> {
    let session = Session::start(&world).await?;
    let node = session.node(&world).await?;
    tokio::select! {
        outcome = run(&session) => outcome.map_err(|error| session.with_log(error))?,
        outcome = node.run() => outcome.and_then(|()| bail!("the node ended"))?,
    }
    // AWS may refuse calls of a reader's commands, such as `trace`. Those of the operator have been checked.
    session.simulator.clear_journal().await
}

async fn run(session: &Session<'_>) -> Result<()> {
    let mut used = BTreeSet::new();
    walk(session, &mut used).await?;
    let mut failures = Vec::new();
    for page in pages::pages()?.into_iter().skip(1) {
        if rules::TESTED_ELSEWHERE.iter().any(|(other, _)| *other == page) {
            continue;
        }
        for block in pages::blocks(&page)? {
            if let Err(error) = run_block(session, &block, &mut used).await {
                failures.push(format!("{}: {error:#}", block.place()));
            }
        }
    }
    let unused = rules::EXCEPTIONS.iter().enumerate().filter(|(index, _)| !used.contains(index));
    failures.extend(unused.map(|(_, rule)| {
        format!("{}: no block starts with {:?}; remove the entry of EXCEPTIONS", rule.page, rule.start)
    }));
    ensure!(failures.is_empty(), "{}\n\n{ADVICE}", failures.join("\n\n"));
    Ok(())
}

/// Runs the blocks of the README from an empty folder, and prints the time of each step.
async fn walk(session: &Session<'_>, used: &mut BTreeSet<usize>) -> Result<()> {
    let mut times = Vec::<(String, Duration)>::new();
    let blocks = pages::blocks("README.md")?;
    for block in blocks.clone() {
        let start = Instant::now();
        let done = run_block(session, &block, used).await;
        done.map_err(|error| anyhow!("{} ({}): {error:#}\n\n{ADVICE}", block.place(), block.step))?;
        match times.last_mut().filter(|(step, _)| *step == block.step) {
            Some((_, time)) => *time += start.elapsed(),
            None => times.push((block.step, start.elapsed())),
        }
    }
    let total: Duration = times.iter().map(|(_, time)| *time).sum();
    times.push(("all steps".to_owned(), total));
    for (step, time) in &times {
        println!("README: {:7.1} s  {step}", time.as_secs_f64());
    }
    let pinged = session.pinged.load(std::sync::atomic::Ordering::Relaxed);
    ensure!(pinged, "the README has no ping");
    // The role of the template suffices: no call of the operator was refused.
    let entries = session.simulator.journal(&Query::default()).await?.entries;
    let own = entries.iter().filter(|entry| entry.access_key_id.as_deref() == Some(&session.key));
    let denied: BTreeSet<_> = own.filter_map(|entry| entry.denied.as_deref()).collect();
    ensure!(denied.is_empty(), "the template lacks permissions: {denied:#?}");
    // The other pages look at the peering, which the README deletes at its end.
    let create = blocks.iter().find(|block| block.text.contains("kind: VpcPeering\n"));
    run_block(session, create.context("the README creates no peering")?, used).await
}

async fn run_block(session: &Session<'_>, block: &Block, used: &mut BTreeSet<usize>) -> Result<()> {
    let mut is_excepted = |text: &str| {
        let is_named = |rule: &rules::Exception| rule.page == block.page && text.trim_start().starts_with(rule.start);
        let found = rules::EXCEPTIONS.iter().position(is_named);
        if let Some(rule) = found.and_then(|index| rules::EXCEPTIONS.get(index)) {
            println!("not run: {}: {}…: {}", block.place(), rule.start, rule.reason);
        }
        used.extend(found);
        found.is_some()
    };
    if is_excepted(&block.text) {
        return Ok(());
    }
    match block.language.as_str() {
        "sh" => session.run(&block.page, &rules::filled(&block.text)).await,
        "console" => {
            let commands = block.commands();
            ensure!(!commands.is_empty(), "no line starts with `$ `");
            for command in commands {
                if !is_excepted(&command) {
                    session.run(&block.page, &rules::filled(&command)).await?;
                }
            }
            Ok(())
        }
        "yaml" => apply(session, block).await,
        "hcl" => ensure_module(&block.text),
        // A drawing.
        "mermaid" => Ok(()),
        other => bail!("a block with the language {other:?} is not tested"),
    }
}

/// Applies each document of a block: for real in the README, else as a dry run of the API server.
async fn apply(session: &Session<'_>, block: &Block) -> Result<()> {
    let text = rules::filled(&block.text);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text)?;
    for document in documents {
        let fields = document.as_object().context("no object")?;
        if fields.contains_key("kind") {
            session.apply(&block.page, &document).await?;
            continue;
        }
        let only_spec = fields.keys().all(|key| key == "spec");
        let done = if only_spec { session.apply_part(&document).await } else { session.render(&document).await };
        done.context("it is neither a manifest, nor a part of one, nor values of the chart")?;
    }
    Ok(())
}

/// Checks that a use of the module in `deploy/iam/one-account` sets only variables that it has.
fn ensure_module(text: &str) -> Result<()> {
    ensure!(text.starts_with("module ") && text.contains("//deploy/iam/one-account?ref="), "it uses no module of ours");
    let module = std::fs::read_to_string(repository().join("deploy/iam/one-account/main.tf"))?;
    let names = text.lines().filter_map(|line| Some(line.split_once('=')?.0.trim()));
    for name in names.filter(|name| *name != "source") {
        ensure!(module.contains(&format!("variable \"{name}\"")), "deploy/iam/one-account has no variable {name}");
    }
    Ok(())
}

/// The resources of AWS that the documentation names.
fn scene() -> Value {
    let mut scene = json!({
        "vpcs": [], "subnets": [], "route_tables": [], "security_groups": [], "network_interfaces": [],
    });
    let vpcs = [
        ("0a1b2c3d4e5f67890", "111111111111", "eu-central-1", "10.1"),
        ("0f9e8d7c6b5a43210", "111111111111", "eu-central-1", "10.2"),
        ("0c1d2e3f4a5b67890", "222222222222", "us-west-2", "10.3"),
    ];
    let mut tags = Vec::new();
    for (id, account, region, network) in vpcs {
        let located = |mut value: Value| {
            value["account"] = json!(account);
            value["region"] = json!(region);
            value
        };
        let (vpc, subnet, group) = (format!("vpc-{id}"), format!("subnet-{id}"), format!("sg-{id}"));
        let egress = json!({"egress": true, "protocol": "-1", "peer": {"ipv4": "0.0.0.0/0"}});
        let resources = [
            ("vpcs", json!({"id": vpc, "cidr_blocks": [format!("{network}.0.0/16")], "dns_hostnames": true})),
            ("subnets", json!({"id": subnet, "vpc_id": vpc, "cidr_block": format!("{network}.0.0/24")})),
            ("route_tables", json!({"id": format!("rtb-{id}"), "vpc_id": vpc, "main": true})),
            ("security_groups", json!({"id": group, "vpc_id": vpc, "name": "host", "rules": [egress]})),
            (
                "network_interfaces",
                json!({"id": format!("eni-{id}"), "subnet_id": subnet, "ipv4_addresses": [format!("{network}.0.5")],
                    "group_ids": [group]}),
            ),
        ];
        for (kind, resource) in resources {
            scene[kind].as_array_mut().into_iter().for_each(|all| all.push(located(resource.clone())));
        }
        // The owner of the other account tags its VPC. The README tags the other two.
        if account == "222222222222" {
            let allowed = json!({"vpc-peering": "allowed"});
            tags.extend([&vpc, &format!("rtb-{id}")].map(|id| located(json!({"resource": id, "tags": allowed}))));
        }
    }
    scene["tags"] = json!(tags);
    scene
}
