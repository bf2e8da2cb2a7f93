//! The Helm chart: rendered and installed by the real Helm, into a real API server.

mod admission;
mod helm;
mod release;
mod render;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use environment::{ControlPlane, prepare};
use libtest_mimic::{Arguments, Trial};

use helm::Helm;

/// What all tests share.
pub struct Shared {
    control_plane: ControlPlane,
    helm: Helm,
    promtool: PathBuf,
}

type Test = fn(Arc<Shared>) -> futures::future::LocalBoxFuture<'static, Result<()>>;

/// Names each test by its path.
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
    // Releases share the cluster-wide CRDs.
    arguments.test_threads = Some(1);
    let runtime = Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build()?);
    let tests: Vec<(&str, Test)> = tests![
        render::lint_finds_nothing,
        render::typos_are_refused,
        render::what_cannot_work_is_refused,
        render::every_object_passes_the_api_server,
        render::crds_are_those_of_the_code,
        render::deploy_is_rendered_from_the_chart,
        render::the_readme_describes_the_values,
        render::the_schema_describes_the_values,
        render::pods_pass_the_restricted_standard,
        render::identities_come_from_the_values,
        render::admission_policies_know_the_operator,
        render::releases_with_selectors_do_not_stop_each_other,
        render::aws_permissions_are_opened_by_values_alone,
        render::the_operator_has_these_rights_and_no_other,
        render::alerts_ask_for_metrics_that_exist_and_have_a_runbook,
        render::alerts_fire_when_they_should,
        release::no_release_step_loses_a_peering,
        release::an_upgrade_from_the_version_before_and_back_loses_nothing,
        release::identities_are_installed_with_their_kind_and_stay,
        release::an_emptied_permission_opens_nothing,
        release::crds_go_when_they_are_not_to_be_kept,
        release::the_installed_rights_and_settings_suffice,
        release::the_installed_rights_and_settings_suffice_in_two_namespaces,
        release::the_role_of_the_node_is_used_only_where_allowed,
        admission::only_the_operator_writes_the_status,
        admission::only_the_operator_removes_its_finalizer,
        admission::a_namespace_can_be_deleted,
        admission::the_operators_of_other_releases_are_admitted_by_name,
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
        let helm = Helm::new(prepare("tests/control-plane/build.sh helm")?, &control_plane);
        // Real ones, so that monitors and rules are checked against their schemas.
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
