//! Who is told of each reconciliation. It may look, and change nothing.

use std::sync::Arc;

use kube::runtime::controller::Action;
use tokio::time::Instant;

use super::Context;

/// Is told what the controllers do.
pub trait Observer: Send + Sync + 'static {
    /// A controller starts to work.
    fn started(&self, context: &Arc<Context>);
    /// A reconciliation begins.
    fn began(&self, controller: &'static str, at: Instant);
    /// The reconciliation that began then has ended.
    fn ended(&self, controller: &'static str, began: Instant, outcome: Result<&Action, &kube::Error>);
}

pub(super) async fn observed(
    observer: Arc<dyn Observer>,
    controller: &'static str,
    reconciliation: impl Future<Output = Result<Action, kube::Error>>,
) -> Result<Action, kube::Error> {
    let began = Instant::now();
    observer.began(controller, began);
    let outcome = reconciliation.await;
    observer.ended(controller, began, outcome.as_ref());
    outcome
}
