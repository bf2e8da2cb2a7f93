//! Every request to EC2, retries included: whether it may be sent, and how it was answered.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_config::Region;
use aws_runtime::retries::classifiers::THROTTLING_ERRORS;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeTransmitInterceptorContextRef, Error, FinalizerInterceptorContextRef,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tokio::time::Instant;

use super::error::metadata;

/// Stands between us and AWS.
pub trait Interceptor: Debug + Send + Sync + 'static {
    /// Whether a request may be sent now. Asked right before each one is.
    fn may_send(&self) -> bool;
    /// A request was answered, or never will be.
    fn completed(&self, request: &CompletedRequest<'_>);
}

/// How a request was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedRequest<'a> {
    /// The API action.
    pub action: &'a str,
    /// The account that was called, `unknown` where AWS has not told yet.
    pub account: &'a str,
    /// The region that was asked.
    pub region: &'a str,
    /// AWS's error code; `OK` where there was none, `Timeout` or `NoAnswer` where AWS said nothing.
    pub code: &'a str,
    /// AWS's ID of the request, where it said one.
    pub request_id: Option<&'a str>,
    /// How long that took.
    pub took: Duration,
}

impl CompletedRequest<'_> {
    /// Whether AWS refused the request since there were too many.
    #[must_use]
    pub fn is_throttled(&self) -> bool {
        THROTTLING_ERRORS.contains(&self.code)
    }

    /// Whether the request was to change something.
    #[must_use]
    pub fn is_write(&self) -> bool {
        !self.action.starts_with("Describe")
    }
}

/// Puts [`Interceptor`] between the SDK and AWS.
#[derive(Clone, Debug)]
pub(super) struct SdkInterceptor {
    pub(super) interceptor: Arc<dyn Interceptor>,
    /// The account that is called, once it is known.
    pub(super) account: Arc<OnceLock<String>>,
}

#[derive(Debug)]
struct SentAt(Instant);

impl Storable for SentAt {
    type Storer = StoreReplace<Self>;
}

#[dyn_dispatch_hint]
impl Intercept for SdkInterceptor {
    fn name(&self) -> &'static str {
        "Interceptor"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if !self.interceptor.may_send() {
            return Err("not sent: another operator may act by now".into());
        }
        config.interceptor_state().store_put(SentAt(Instant::now()));
        Ok(())
    }

    fn read_after_attempt(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        // What failed before it was sent is no request.
        let Some(SentAt(sent)) = config.load::<SentAt>() else { return Ok(()) };
        let code = match context.output_or_error() {
            Some(Ok(_)) => "OK",
            Some(Err(error)) if error.is_timeout_error() => "Timeout",
            Some(Err(error)) => error.as_operation_error().and_then(|error| code(error)).unwrap_or("NoAnswer"),
            None => "NoAnswer",
        };
        self.interceptor.completed(&CompletedRequest {
            action: config.load::<Metadata>().map_or("unknown", Metadata::name),
            account: self.account.get().map_or("unknown", String::as_str),
            region: config.load::<Region>().map_or("unknown", Region::as_ref),
            code,
            request_id: context.response().and_then(|response| response.headers().get("x-amzn-requestid")),
            took: sent.elapsed(),
        });
        Ok(())
    }
}

/// AWS's error code. SQS's errors are typed, and what AWS said is not among their sources.
fn code(error: &Error) -> Option<&str> {
    use aws_sdk_sqs::error::ProvideErrorMetadata;
    use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchError;
    use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
    let received = error.downcast_ref::<ReceiveMessageError>().map(ProvideErrorMetadata::meta);
    let deleted = error.downcast_ref::<DeleteMessageBatchError>().map(ProvideErrorMetadata::meta);
    received.or(deleted).or_else(|| metadata(error))?.code()
}
