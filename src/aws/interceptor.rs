//! Controls and observes every attempt of a request to AWS, retries included.

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

use super::error::{WEB_IDENTITY, metadata, web_identity_refusal};

/// Called before and after each attempt of a request.
pub trait Interceptor: Debug + Send + Sync + 'static {
    /// Whether the request may be sent now.
    fn may_send(&self) -> bool;
    /// AWS has answered the request, or the attempt has failed without an answer.
    fn completed(&self, request: &CompletedRequest<'_>);
}

/// One attempt of a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompletedRequest<'a> {
    pub action: &'a str,
    /// The ID of the account, or `unknown`.
    pub account: &'a str,
    /// `unknown` if the client has no region.
    pub region: &'a str,
    /// AWS's error code; `OK` after a success; `Timeout` or `NoAnswer` if there is no answer.
    pub code: &'a str,
    pub request_id: Option<&'a str>,
    /// The `Date` header of the response.
    pub date: Option<&'a str>,
    pub took: Duration,
}

impl CompletedRequest<'_> {
    pub fn is_throttled(&self) -> bool {
        THROTTLING_ERRORS.contains(&self.code)
    }

    pub fn is_write(&self) -> bool {
        !["Describe", "Get", "AssumeRole"].iter().any(|prefix| self.action.starts_with(prefix))
    }
}

/// Sends every request, and observes none.
#[derive(Debug)]
pub struct Unobserved;

impl Interceptor for Unobserved {
    fn may_send(&self) -> bool {
        true
    }

    fn completed(&self, _: &CompletedRequest<'_>) {}
}

/// Connects an [`Interceptor`] to an SDK client.
#[derive(Clone, Debug)]
pub(super) struct SdkInterceptor {
    pub(super) interceptor: Arc<dyn Interceptor>,
    /// The ID of the account, when it is known.
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
            return Err("not sent: this operator no longer holds the leader Lease".into());
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
        let Some(SentAt(sent)) = config.load::<SentAt>() else {
            // The attempt failed before it was sent. It is reported only if AWS refused the operator's own credentials.
            let error = context.output_or_error().and_then(Result::err);
            if let Some(code) = error.and_then(|error| web_identity_refusal(error)) {
                self.interceptor.completed(&CompletedRequest {
                    action: WEB_IDENTITY,
                    account: self.account.get().map_or("unknown", String::as_str),
                    region: config.load::<Region>().map_or("unknown", Region::as_ref),
                    code,
                    request_id: None,
                    date: None,
                    took: Duration::ZERO,
                });
            }
            return Ok(());
        };
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
            date: context.response().and_then(|response| response.headers().get("date")),
            took: sent.elapsed(),
        });
        Ok(())
    }
}

/// AWS's error code. The SDK's SQS errors are typed: their metadata is not in the source chain.
fn code(error: &Error) -> Option<&str> {
    use aws_sdk_sqs::error::ProvideErrorMetadata;
    use aws_sdk_sqs::operation::delete_message_batch::DeleteMessageBatchError;
    use aws_sdk_sqs::operation::receive_message::ReceiveMessageError;
    let received = error.downcast_ref::<ReceiveMessageError>().map(ProvideErrorMetadata::meta);
    let deleted = error.downcast_ref::<DeleteMessageBatchError>().map(ProvideErrorMetadata::meta);
    received.or(deleted).or_else(|| metadata(error))?.code()
}
