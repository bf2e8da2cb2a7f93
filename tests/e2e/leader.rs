//! Several operators on one namespace: one acts, and another takes over.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use environment::{Operator, RunningOperator, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::DeleteParams;
use nix::sys::signal::Signal;
use tokio::time::Instant;

use super::world::World;

const LIMIT: Duration = Duration::from_secs(60);
const LEASE_DURATION: Duration = Duration::from_secs(4);

/// Operators that compete for a Lease of this test's own, in the namespace of `deploy/`.
pub fn candidate(world: &World, name: &str) -> Operator {
    let operator = world.operator.clone().with("LEADER_ELECTION", "true").with("POD_NAME", name);
    let operator = operator.with("LEASE_NAMESPACE", "vpc-peering-system").with("LEASE_NAME", &world.namespace);
    operator.with("LEASE_DURATION", &format!("{}s", LEASE_DURATION.as_secs())).with_log(name)
}

async fn leads(operator: &RunningOperator) -> Result<bool> {
    let metrics = operator.get("/metrics").await?;
    let line = metrics.lines().find(|line| line.starts_with("leader_election_master_status{"));
    Ok(line.context("no leader_election_master_status")?.ends_with(" 1.0"))
}

pub async fn until_leading(operator: &RunningOperator) -> Result<()> {
    eventually("leading", LIMIT, async || {
        ensure!(leads(operator).await?, "{}", operator.output());
        Ok(())
    })
    .await
}

fn leases(world: &World) -> Api<Lease> {
    Api::namespaced(world.client.clone(), "vpc-peering-system")
}

async fn holder(world: &World) -> Result<Option<String>> {
    Ok(leases(world).get(&world.namespace).await?.spec.and_then(|spec| spec.holder_identity))
}

/// Starts a leader and a standby.
async fn start_two(world: &World) -> Result<(RunningOperator, RunningOperator)> {
    world.shared.control_plane.allow_lease(&world.namespace).await?;
    let first = candidate(world, "first").start().await?;
    until_leading(&first).await?;
    let second = candidate(world, "second").start().await?;
    eventually("ready to take over", LIMIT, async || second.get("/readyz").await.map(drop)).await?;
    Ok((first, second))
}

pub async fn only_the_leader_acts(world: World) -> Result<()> {
    let (first, second) = start_two(&world).await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    // Longer than the lease duration, so the leader must have renewed it.
    tokio::time::sleep(LEASE_DURATION * 2).await;
    ensure!(leads(&first).await? && !leads(&second).await?);
    ensure!(!second.get("/metrics").await?.contains("vpcpeering_aws_requests_total{"), "the standby called EC2");
    ensure!(first.get("/metrics").await?.contains("vpcpeering_aws_requests_total{"), "the leader made no call to EC2");
    ensure!(world.peerings().await?.len() == 1);
    Ok(())
}

pub async fn sigterm_hands_over_at_once(world: World) -> Result<()> {
    let (first, second) = start_two(&world).await?;
    let (status, _) = first.terminate().await?;
    let ended = Instant::now();
    ensure!(status.success(), "{status}");
    until_leading(&second).await?;
    ensure!(ended.elapsed() < Duration::from_secs(2), "took over after {:?}", ended.elapsed());
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    Ok(())
}

pub async fn a_standby_stops_at_once_and_the_leader_keeps_its_lease(world: World) -> Result<()> {
    let (first, second) = start_two(&world).await?;
    let (status, took) = second.terminate().await?;
    ensure!(status.success() && took < Duration::from_secs(1), "{status} after {took:?}");
    tokio::time::sleep(LEASE_DURATION).await;
    ensure!(leads(&first).await?);
    Ok(())
}

pub async fn sigkill_hands_over_when_the_lease_expires(world: World) -> Result<()> {
    let (first, second) = start_two(&world).await?;
    first.kill().await?;
    let killed = Instant::now();
    ensure!(!leads(&second).await?, "there are two leaders");
    until_leading(&second).await?;
    // The lease may have been renewed right before the kill, and candidates wait a random time.
    let limit = LEASE_DURATION + Duration::from_secs(2);
    ensure!(killed.elapsed() < limit, "took over after {:?}", killed.elapsed());
    Ok(())
}

pub async fn a_paused_leader_makes_no_call_after_its_lease_expired(world: World) -> Result<()> {
    let (mut first, second) = start_two(&world).await?;
    world.apply(&world.manifest()).await?;
    world.until_ready().await?;
    first.signal(Signal::SIGSTOP)?;
    until_leading(&second).await?;
    second.kill().await?;
    // From here on only the first operator could call EC2. It has reasons to: its polls, and a resource to delete.
    world.delete().await?;
    let calls = async || {
        let counters = world.simulator().journal(&ec2_simulator::journal::Query::default()).await?.counters;
        anyhow::Ok(counters.values().map(|counter| counter.calls).sum::<u64>())
    };
    let before = calls().await?;
    first.signal(Signal::SIGCONT)?;
    let status = first.ended().await?;
    ensure!(!status.success(), "{status}");
    ensure!(calls().await? == before, "the operator called EC2 without the Lease\n{}", first.output());
    ensure!(first.output().contains("lost the Lease"), "{}", first.output());
    ensure!(
        holder(&world).await?.is_some_and(|holder| holder.starts_with("second_")),
        "it took the Lease of the second operator"
    );
    Ok(())
}

pub async fn a_deleted_lease_is_created_again(world: World) -> Result<()> {
    world.shared.control_plane.allow_lease(&world.namespace).await?;
    let first = candidate(&world, "first").start().await?;
    until_leading(&first).await?;
    leases(&world).delete(&world.namespace, &DeleteParams::default()).await?;
    let mut first = first;
    ensure!(!first.ended().await?.success(), "the operator continued without a Lease");
    let second = candidate(&world, "second").start().await?;
    until_leading(&second).await
}
