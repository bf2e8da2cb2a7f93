//! End to end: the operator's binary, as a process with the rights that `deploy/` grants, against a real API server
//! and EC2's wire protocol.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod lifecycle;
mod restarts;
mod validation;
mod world;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use environment::{ControlPlane, Moto};
use libtest_mimic::{Arguments, Trial};

use world::World;

/// What all tests share.
pub struct Shared {
    control_plane: ControlPlane,
    moto: Moto,
}

/// Names a test by its path.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), {
            let run: Test = |world| Box::pin($module::$name(world));
            run
        })),*]
    };
}

type Test = fn(World) -> std::pin::Pin<Box<dyn Future<Output = Result<()>>>>;

fn main() -> Result<ExitCode> {
    let arguments = Arguments::from_args();
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let tests: Vec<(&str, Test)> = tests![
        lifecycle::a_peering_becomes_active,
        lifecycle::a_fresh_object_is_not_current,
        lifecycle::a_vpc_that_does_not_exist_is_named,
        lifecycle::deletion_deletes_the_peering,
        lifecycle::retain_keeps_the_peering,
        lifecycle::a_peering_deleted_behind_our_back_is_reported,
        lifecycle::a_peering_that_is_not_ours_is_left_alone,
        lifecycle::a_resource_at_rest_costs_no_write,
        lifecycle::manual_acceptance_waits_for_a_person,
        restarts::killed_between_create_and_record_makes_no_second_peering,
        restarts::sigterm_ends_in_time_and_a_restart_finds_its_peering,
        validation::every_rule_refuses_with_a_readable_message,
        validation::defaults_are_visible,
    ];
    if arguments.list {
        let listed = tests.iter().map(|(name, _)| Trial::test(*name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, listed).exit_code());
    }
    let shared = Arc::new(runtime.block_on(Shared::start())?);
    let trial = |(name, test): (&'static str, Test)| {
        let (runtime, shared) = (Arc::clone(&runtime), Arc::clone(&shared));
        Trial::test(name, move || {
            runtime
                .block_on(async {
                    let world = World::new(shared, name).await?;
                    test(world).await
                })
                .map_err(|error| format!("{error:#}").into())
        })
    };
    let conclusion = libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect());
    Ok(conclusion.exit_code())
}

impl Shared {
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::start().await?;
        let moto = Moto::start(control_plane.folder()).await?;
        Ok(Self { control_plane, moto })
    }
}
