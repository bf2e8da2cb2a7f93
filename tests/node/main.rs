//! Tests on a node with real pods: kubelet, containerd and runc run the image, and Helm installs the chart. `make
//! test-node` runs them.
//!
//! The program starts itself again in namespaces of its own, so that nothing is left on the machine; see [`sandbox`].

mod cgroups;
mod cluster;
mod image;
mod leadership;
mod memory;
mod node;
mod pods;
mod release;
mod requirements;
mod sandbox;
mod termination;
mod upgrade;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};

use cluster::Cluster;

type Test = fn(Arc<Cluster>) -> futures::future::LocalBoxFuture<'static, Result<()>>;

/// Lists the tests by module and name.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), {
            let run: Test = |cluster| Box::pin($module::$name(cluster));
            run
        })),*]
    };
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    let tests: Vec<(&str, Test)> = tests![
        pods::two_replicas_become_ready_in_a_restricted_namespace,
        pods::a_container_has_no_privileges_and_a_read_only_root,
        leadership::one_replica_leads_and_makes_the_peering,
        leadership::another_replica_takes_over_from_a_deleted_pod,
        leadership::another_replica_takes_over_from_a_killed_process,
        memory::the_container_has_the_limit_of_the_chart_and_stays_below,
        termination::a_pod_ends_in_time_and_releases_the_lease,
        upgrade::an_upgrade_from_the_previous_chart_interrupts_nothing,
        release::helm_test_passes,
        release::uninstalling_leaves_only_what_the_chart_documents,
    ];
    if arguments.list {
        let listed = tests.into_iter().map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, listed).exit_code());
    }
    let Some(inside) = sandbox::inside() else {
        return Ok(sandbox::run().unwrap_or_else(|error| {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }));
    };
    sandbox::prepare(&inside)?;
    // One test at a time: all of them install the same release on the same node.
    arguments.test_threads = Some(1);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let cluster = Arc::new(runtime.block_on(Cluster::start(&inside))?);
    let trial = |(name, test): (&str, Test)| {
        let (runtime, cluster) = (Arc::clone(&runtime), Arc::clone(&cluster));
        Trial::test(name, move || {
            let start = std::time::Instant::now();
            let outcome = runtime.block_on(async {
                let outcome = test(Arc::clone(&cluster)).await;
                match outcome {
                    Ok(()) => Ok(()),
                    Err(error) => Err(format!("{error:#}\n{}", cluster.describe().await)),
                }
            });
            print!("\n  took {:.0} s: ", start.elapsed().as_secs_f64());
            outcome.map_err(Into::into)
        })
    };
    Ok(libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code())
}
