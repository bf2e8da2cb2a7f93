//! Tests of the Helm chart. The real Helm renders it, and installs it into a real API server.

mod admission;
mod alerts;
mod generated;
mod objects;
mod permissions;
mod published;
mod release;
mod secure_metrics;
mod settings;
mod values;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use environment::{ControlPlane, Helm, prepare};
use libtest_mimic::{Arguments, Trial};

/// The full name of the release `operator`, which most of its objects have.
const NAME: &str = "operator-vpc-peering-operator";

/// The environment that all tests share.
pub struct Shared {
    control_plane: ControlPlane,
    helm: Helm,
    promtool: PathBuf,
}

type Test = fn(Arc<Shared>) -> futures::future::LocalBoxFuture<'static, Result<()>>;

/// Lists the tests by module and name.
macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        vec![$((concat!(stringify!($module), "::", stringify!($name)), {
            let run: Test = |shared| Box::pin($module::$name(shared));
            run
        })),*]
    };
}

fn main() -> Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    // One test at a time: releases share the cluster-wide CRDs.
    arguments.test_threads = Some(1);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let tests: Vec<(&str, Test)> = tests![
        values::lint_reports_nothing,
        values::typos_are_rejected,
        values::contradictory_values_are_rejected,
        values::the_schema_describes_the_values,
        objects::the_api_server_accepts_every_object,
        objects::pods_meet_the_restricted_pod_security_standard,
        objects::identities_are_rendered_from_the_values,
        objects::admission_policies_name_the_operator,
        objects::releases_with_selectors_admit_each_other,
        settings::values_reach_their_objects,
        settings::images_come_from_the_named_registry,
        settings::every_object_is_in_the_named_namespace,
        published::the_metadata_describes_the_chart,
        published::a_release_names_its_image_and_repository,
        generated::crds_match_the_code,
        generated::deploy_is_rendered_from_the_chart,
        generated::the_readme_lists_the_values,
        permissions::the_operator_has_exactly_these_permissions,
        permissions::check_asks_for_exactly_the_granted_rights,
        objects::helm_test_runs_check_as_the_operator,
        permissions::the_operator_may_use_aws_only_as_the_values_say,
        alerts::alerts_use_existing_metrics_and_have_a_runbook,
        alerts::alerts_fire_as_tested,
        release::upgrades_rollbacks_and_uninstalls_keep_resources,
        release::upgrade_and_rollback_between_versions_keep_the_peering,
        release::identities_are_installed_with_their_crd_and_kept,
        release::an_emptied_permission_allows_nobody,
        release::crds_are_deleted_if_they_are_not_kept,
        release::the_operator_runs_as_installed,
        release::the_operator_runs_as_installed_in_two_namespaces,
        release::the_role_of_the_node_is_used_only_if_allowed,
        secure_metrics::monitors_read_the_metrics_over_tls,
        secure_metrics::only_permitted_users_read_the_metrics,
        admission::only_the_operator_writes_the_status,
        admission::only_the_operator_removes_its_finalizer,
        admission::a_namespace_can_be_deleted,
        admission::operators_of_other_releases_are_admitted_by_name,
    ];
    if arguments.list {
        let listed = tests.into_iter().map(|(name, _)| Trial::test(name, || Ok(()))).collect();
        return Ok(libtest_mimic::run(&arguments, listed).exit_code());
    }
    let shared = Arc::new(runtime.block_on(Shared::start())?);
    let trial = |(name, test): (&str, Test)| {
        let (runtime, shared) = (Arc::clone(&runtime), Arc::clone(&shared));
        Trial::test(name, move || runtime.block_on(test(shared)).map_err(|error| format!("{error:#}").into()))
    };
    Ok(libtest_mimic::run(&arguments, tests.into_iter().map(trial).collect()).exit_code())
}

impl Shared {
    async fn start() -> Result<Self> {
        let control_plane = ControlPlane::bare().await?;
        let helm = Helm::new(&control_plane, "install")?;
        // The API server validates monitors and rules against these CRDs.
        let crds = prepare("tests/control-plane/build.sh monitoring-crds")?;
        for name in ["servicemonitors", "podmonitors", "prometheusrules"] {
            let path = crds.join(format!("monitoring.coreos.com_{name}.yaml"));
            control_plane.kubectl(&["apply", "--server-side", "-f", &path.to_string_lossy()]).await?;
        }
        control_plane.kubectl(&["wait", "--for=condition=Established", "crd", "--all"]).await?;
        for namespace in ["install", "watched", "watched-too"] {
            control_plane.kubectl(&["create", "namespace", namespace]).await?;
            let levels = ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
            control_plane.kubectl(&["label", "namespace", namespace, &levels[0], &levels[1]]).await?;
        }
        let promtool = prepare("tests/control-plane/build.sh promtool")?;
        Ok(Self { control_plane, helm, promtool })
    }
}
