//! Hooks into each reconcile, for metrics and health checks. A hook only observes.

use std::sync::Arc;

use kube::runtime::controller::Action;
use tokio::time::Instant;

use super::context::Context;

/// Receives the progress of the controllers.
pub(crate) trait ReconcileHooks: Send + Sync + 'static {
    /// The controllers start.
    fn started(&self, context: &Arc<Context>);
    /// A reconcile begins.
    fn began(&self, controller: &'static str, at: Instant);
    /// The reconcile that began at that time has ended.
    fn ended(&self, controller: &'static str, began: Instant, outcome: Result<&Action, &kube::Error>);
}

/// Runs a reconcile between its hooks.
pub(super) async fn hooked(
    hooks: Arc<dyn ReconcileHooks>,
    controller: &'static str,
    reconcile: impl Future<Output = Result<Action, kube::Error>>,
) -> Result<Action, kube::Error> {
    let began = Instant::now();
    hooks.began(controller, began);
    let outcome = reconcile.await;
    hooks.ended(controller, began, outcome.as_ref());
    outcome
}
