//! Errors of AWS calls, classified by how the operator reacts. The file exceeds 400 lines because its test lists every
//! documented code beside the rules.

use std::error::Error;

use aws_credential_types::provider::error::CredentialsError;
use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_ec2::config::http::HttpResponse;
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ec2::operation::RequestId;
use aws_sdk_servicequotas::operation::get_service_quota::GetServiceQuotaError;
use aws_sdk_sts::operation::assume_role::AssumeRoleError;
use aws_sdk_sts::operation::assume_role_with_web_identity::AssumeRoleWithWebIdentityError;
use aws_smithy_types::error::ErrorMetadata;
use thiserror::Error as ThisError;

use super::principal::Principal;
use crate::api::Reason;
use crate::peering::conditions::REQUEST_ID;

/// The resource is in a transient state, or has changed since the last poll. A later reconcile succeeds.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
const TRANSIENT_STATE: &[&str] = &[
    "ConcurrentTagAccess",
    "IncorrectState",
    "InvalidNextToken",
    "InvalidPaginationToken",
    "InvalidState",
    "InvalidStateTransition",
    "RetryableError",
    "RouteAlreadyExists",
    // Undocumented. Calls on routes return it for a short time, so Terraform repeats them:
    // <https://github.com/hashicorp/terraform-provider-aws/blob/main/internal/service/ec2/vpc_route.go>
    "InvalidParameterException",
];

/// A quota on peering connections or requests is used up. There is room again when a request is answered, or a connection
/// is deleted.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html#vpc-limits-peering>
const PEERING_QUOTAS: &[&str] = &[
    "OutstandingVpcPeeringConnectionLimitExceeded",
    "ActiveVpcPeeringConnectionPerVpcLimitExceeded",
    "PendingVpcPeeringConnectionLimitExceeded",
    "VpcPeeringConnectionsPerVpcLimitExceeded",
];

/// The token of the operator's own session, or its web identity token, has expired. The SDK renews both.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
const EXPIRED: &str = "ExpiredTokenException";

/// AWS could not reach the identity provider of a web identity token. AWS advises a retry.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html>
const IDENTITY_PROVIDER_UNREACHABLE: &str = "IDPCommunicationError";

/// Errors of a well-formed request for an end of a connection that EC2 does not act on yet, although it shows the state
/// that the call needs: action, code, and a part of the message. EC2 is eventually consistent
/// (hashicorp/terraform-provider-aws 30423, hashicorp/terraform 8733).
const TOO_EARLY: &[(&str, &str, &str)] = &[
    ("AcceptVpcPeeringConnection", "InvalidVpcPeeringConnectionID.NotFound", ""),
    ("AcceptVpcPeeringConnection", "InvalidVpcPeeringConnectionId.NotFound", ""),
    ("ModifyVpcPeeringConnectionOptions", "OperationNotPermitted", "is not active"),
];

/// The resource no longer exists. EC2 uses two spellings of some codes.
const GONE: &[&str] = &[
    "InvalidRoute.NotFound",
    "InvalidRouteTableID.NotFound",
    "InvalidRouteTableId.NotFound",
    "InvalidVpcPeeringConnectionID.NotFound",
    "InvalidVpcPeeringConnectionId.NotFound",
];

/// EC2's answer to `allowDnsResolutionFromRemoteVpc` if a DNS attribute of either VPC is off.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>
const DNS_HOSTNAMES_DISABLED: &str = "InvalidVpcPeeringConnectionState.DnsHostnamesDisabled";

/// A tag policy of the organization refuses a tag.
/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_tag-policies.html>
const TAG_POLICY_VIOLATION: &str = "TagPolicyViolation";

/// The credentials are invalid, expired or not authorized.
const PERMISSIONS: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "AccountDisabled",
    "AuthFailure",
    "Blocked",
    "ExpiredToken",
    "IDPRejectedClaim",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "InvalidSecurity.RequestHasExpired",
    "MalformedPolicyDocument",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "PackedPolicyTooLarge",
    "PendingVerification",
    "RegionDisabledException",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
];

/// How the operator reacts to an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Repeat the call later.
    Wait,
    /// A user must change the spec, or the resources in AWS that it names.
    FixSpec,
    /// An administrator must change credentials or permissions.
    FixPermissions,
    /// The connection, the route or its route table does not exist.
    Gone,
    /// Unexpected: retry with backoff and report it.
    Broken,
}

/// A call to AWS that failed.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error(
    "{action}{}: {}{}{}",
    .caller.as_ref().map(|caller| format!(" by {caller}")).unwrap_or_default(),
    .code.as_ref().map(|code| format!("{code}: ")).unwrap_or_default(),
    with_hint(.message, .code.as_deref()),
    .request_id.as_ref().map(|id| format!("{REQUEST_ID}{id})")).unwrap_or_default()
)]
pub struct AwsError {
    pub action: &'static str,
    /// The principal, if users need it to fix the error.
    pub caller: Option<String>,
    pub class: Class,
    /// AWS's error code, if AWS answered.
    pub code: Option<String>,
    /// AWS's message, or a sentence of the operator if AWS did not answer.
    pub message: String,
    pub request_id: Option<String>,
    /// Whether AWS may have carried out the request.
    pub ambiguous: bool,
}

impl AwsError {
    /// Classifies an SDK error by its code, because the SDK's EC2 operation errors are untyped.
    pub fn new<E>(action: &'static str, principal: &Principal, error: &SdkError<E, HttpResponse>) -> Self
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        if let Some(refusal) = credentials(error, principal) {
            return refusal;
        }
        let code = error.code().map(str::to_owned);
        let (class, ambiguous) = match (error, code.as_deref()) {
            (SdkError::ConstructionFailure(_), _) => (Class::Broken, false),
            (SdkError::ServiceError(service), Some(code)) => {
                let class = classify_answer(action, code, error.message().unwrap_or_default());
                (class, class == Class::Broken && service.raw().status().is_server_error())
            }
            _ => (Class::Broken, true),
        };
        let matters = class == Class::FixPermissions || *principal != Principal::Own;
        Self {
            action,
            caller: matters.then(|| principal.to_string()),
            class,
            code,
            message: error.message().map_or_else(|| unanswered(action, error), without_encoded_message),
            request_id: error.request_id().map(str::to_owned),
            ambiguous,
        }
    }

    /// AWS's answer lacks required data. It is unknown whether AWS carried out the request.
    pub fn incomplete(action: &'static str, message: &str) -> Self {
        let (caller, code, request_id) = (None, None, None);
        Self { action, caller, class: Class::Broken, code, message: message.to_owned(), request_id, ambiguous: true }
    }

    /// The reason of the condition that reports this error.
    pub fn reason(&self) -> Reason {
        match self.class {
            _ if self.is_quota_exceeded() => Reason::AwaitingQuota,
            Class::Wait if self.is_throttling() => Reason::Throttled,
            Class::Wait | Class::Broken => Reason::AwsError,
            Class::FixSpec => Reason::InvalidRequest,
            Class::FixPermissions => Reason::Unauthorized,
            Class::Gone => Reason::NotFound,
        }
    }

    /// EC2 reports the success of a dry run as an error with this code.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/CommonParameters.html>
    pub fn is_dry_run_success(&self) -> bool {
        self.code.as_deref() == Some("DryRunOperation")
    }

    /// Whether IAM denies the EC2 call.
    pub fn is_unauthorized(&self) -> bool {
        self.code.as_deref() == Some("UnauthorizedOperation")
    }

    pub fn is_throttling(&self) -> bool {
        self.code.as_deref().is_some_and(|code| THROTTLING_ERRORS.contains(&code))
    }

    /// Whether EC2 refused a request because a quota on peering connections or requests is used up.
    pub fn is_quota_exceeded(&self) -> bool {
        self.code.as_deref().is_some_and(|code| PEERING_QUOTAS.contains(&code))
    }
}

/// Whether this module classifies the code, or [`super::interceptor::CompletedRequest`] uses it for a missing code.
pub fn is_known_code(code: &str) -> bool {
    let single = [EXPIRED, IDENTITY_PROVIDER_UNREACHABLE, TAG_POLICY_VIOLATION];
    let known = [THROTTLING_ERRORS, TRANSIENT_ERRORS, TRANSIENT_STATE, PEERING_QUOTAS, &single, PERMISSIONS, GONE];
    ["OK", "Timeout", "NoAnswer"].contains(&code) || known.iter().any(|codes| codes.contains(&code))
}

/// The class of an answer. A few codes have another class after some actions.
fn classify_answer(action: &str, code: &str, message: &str) -> Class {
    let is_too_early = TOO_EARLY.iter().any(|(early_action, early_code, part)| {
        *early_action == action && *early_code == code && message.contains(part)
    });
    if is_too_early { Class::Wait } else { classify(code) }
}

fn classify(code: &str) -> Class {
    let single = [EXPIRED, IDENTITY_PROVIDER_UNREACHABLE];
    let passing = [THROTTLING_ERRORS, TRANSIENT_ERRORS, TRANSIENT_STATE, PEERING_QUOTAS, &single];
    if passing.iter().any(|codes| codes.contains(&code)) {
        return Class::Wait;
    }
    if PERMISSIONS.contains(&code) {
        return Class::FixPermissions;
    }
    if GONE.contains(&code) {
        return Class::Gone;
    }
    match code {
        // The owner of the accepter VPC must act.
        "OperationNotPermitted" => Class::FixPermissions,
        // The operator's requests are malformed, or the endpoint is not that of EC2 or STS. No spec can correct that.
        "InvalidAction" | "InvalidFilter" | "InvalidQueryParameter" | "MissingAction" => Class::Broken,
        "DependencyViolation"
        | "Unsupported"
        | "UnsupportedOperation"
        | "ValidationError"
        | "VpcPeeringConnectionAlreadyExists"
        | TAG_POLICY_VIOLATION => Class::FixSpec,
        // A user must request a higher quota, or need fewer resources.
        _ if code.ends_with("LimitExceeded") => Class::FixSpec,
        _ if code.starts_with("Invalid") || code.starts_with("Missing") || code.ends_with(".NotFound") => {
            Class::FixSpec
        }
        _ => Class::Broken,
    }
}

/// The remedy, for codes whose message from AWS does not contain it.
fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        // EKS Pod Identity's own session tags use most of the limit.
        // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_session-tags.html#id_session-tags_know>
        "PackedPolicyTooLarge" => {
            "remove spec.sessionTags, set disableSessionTags on the EKS Pod Identity association, or use \
             --disable-session-tags"
        }
        "MalformedPolicyDocument" => "correct the session policy of the operator's credentials",
        // <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_enable-regions.html>
        "RegionDisabledException" => {
            "or set spec.stsRegion of the AwsIdentity (default: AWS_REGION of the operator) to another region"
        }
        "InvalidClientTokenId" => {
            "correct the operator's credentials, or enable the region of spec.stsRegion (default: AWS_REGION) in their \
             account"
        }
        DNS_HOSTNAMES_DISABLED => {
            "turn on enableDnsSupport and enableDnsHostnames of both VPCs (aws ec2 modify-vpc-attribute); if the VPC \
             of the other end belongs to another account, ask its owner"
        }
        TAG_POLICY_VIOLATION => "correct that tag in spec.tags, or change the tag policy of the AWS organization",
        _ => return None,
    })
}

/// AWS's message, with the remedy for its code.
fn with_hint(message: &str, code: Option<&str>) -> String {
    match code.and_then(hint) {
        Some(hint) => format!("{}; {hint}", message.trim_end_matches('.')),
        None => message.to_owned(),
    }
}

/// Removes the encoded part of EC2's message about a denial. It differs in every answer, so each reconcile would change
/// the condition. The log keeps it.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_DecodeAuthorizationMessage.html>
fn without_encoded_message(message: &str) -> String {
    match message.split_once("Encoded authorization failure message:") {
        Some((plain, encoded)) => {
            tracing::info!(
                encoded = encoded.trim(),
                "EC2 denied a call; decode the message with sts:DecodeAuthorizationMessage"
            );
            plain.trim_end().to_owned()
        }
        None => message.to_owned(),
    }
}

/// A sentence about a call that AWS did not answer. The text of the SDK is long and can change with each call, so only
/// the log has it.
fn unanswered<E>(action: &str, error: &SdkError<E, HttpResponse>) -> String
where
    E: Error + 'static,
{
    tracing::warn!(action, error = %DisplayErrorContext(error), "a call to AWS failed without an answer");
    let sentence = match error {
        SdkError::ConstructionFailure(_) => "the request was not sent; the log of the operator has the details",
        SdkError::TimeoutError(_) => "AWS did not answer in time",
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "AWS did not answer in time",
        SdkError::DispatchFailure(failure) if failure.is_io() => {
            "AWS cannot be reached; check the network and the region"
        }
        SdkError::DispatchFailure(_) => "AWS did not answer; the log of the operator has the details",
        SdkError::ResponseError(_) => "the answer of AWS was cut off or is unreadable",
        _ => "AWS gave no message",
    };
    sentence.to_owned()
}

/// The error if the SDK has no credentials. The request was not sent then.
fn credentials(error: &(dyn Error + 'static), principal: &Principal) -> Option<AwsError> {
    // A role is assumed with the operator's own credentials, whose error is the innermost.
    let failed = chain(error).filter_map(|error| error.downcast_ref::<CredentialsError>()).last()?;
    if let Some(answer) = metadata(failed) {
        let is_of_own = chain(failed).any(|error| error.is::<AssumeRoleWithWebIdentityError>());
        let (action, caller) = if is_of_own { (WEB_IDENTITY, &Principal::Own) } else { ("AssumeRole", principal) };
        return Some(AwsError {
            action,
            caller: Some(caller.to_string()),
            class: answer.code().map_or(Class::Broken, classify),
            code: answer.code().map(str::to_owned),
            message: answer.message().unwrap_or_default().to_owned(),
            request_id: answer.request_id().map(str::to_owned),
            ambiguous: false,
        });
    }
    tracing::warn!(error = %DisplayErrorContext(error), "there are no AWS credentials");
    let is_of_role = chain(failed).any(|error| error.is::<SdkError<AssumeRoleError, HttpResponse>>());
    let (action, class, message) = match failed {
        CredentialsError::CredentialsNotLoaded(_) => (
            "no credentials",
            Class::FixPermissions,
            "the operator found none; set up IRSA, EKS Pod Identity or an access key",
        ),
        CredentialsError::InvalidConfiguration(_) => (
            "no credentials",
            Class::FixPermissions,
            "the configuration of the operator's AWS credentials is invalid; the log of the operator has the details",
        ),
        _ if is_of_role => (
            "AssumeRole",
            Class::Broken,
            "STS cannot be reached; check the network, and the region in spec.stsRegion (default: AWS_REGION)",
        ),
        _ => ("no credentials", Class::Broken, "the source of the operator's credentials does not answer"),
    };
    let caller = is_of_role.then(|| principal.to_string());
    let (code, request_id) = (None, None);
    Some(AwsError { action, caller, class, code, message: message.to_owned(), request_id, ambiguous: false })
}

/// The call by which the SDK gets the operator's own credentials with IRSA.
pub(super) const WEB_IDENTITY: &str = "AssumeRoleWithWebIdentity";

/// AWS's code if it refused the operator's own credentials for this call. A call of AssumeRole in between reports the
/// refusal itself.
pub(super) fn web_identity_refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a str> {
    if chain(error).any(|error| error.is::<SdkError<AssumeRoleError, HttpResponse>>()) {
        return None;
    }
    chain(error).find_map(|error| error.downcast_ref::<AssumeRoleWithWebIdentityError>())?.meta().code()
}

/// AWS's code and message. EC2's operation errors are untyped and wrap them. Those of STS and Service Quotas are typed
/// and own them.
pub(super) fn metadata<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a ErrorMetadata> {
    chain(error).find_map(|error| {
        let assumed = || error.downcast_ref::<AssumeRoleError>().map(ProvideErrorMetadata::meta);
        let quota = || error.downcast_ref::<GetServiceQuotaError>().map(ProvideErrorMetadata::meta);
        let web_identity = || error.downcast_ref::<AssumeRoleWithWebIdentityError>().map(ProvideErrorMetadata::meta);
        error.downcast_ref::<ErrorMetadata>().or_else(assumed).or_else(web_identity).or_else(quota)
    })
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every code that AWS documents for the operator's calls, with its class and a part of its hint. Codes without a
    /// source below are those of the EC2 page:
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html>.
    const CODES: &[(&str, Class, &str)] = &[
        // Codes of every action.
        ("RequestLimitExceeded", Class::Wait, ""),
        ("Throttling", Class::Wait, ""),
        ("ThrottlingException", Class::Wait, ""),
        ("RequestTimeout", Class::Wait, ""),
        ("InternalError", Class::Broken, ""),
        ("InternalFailure", Class::Broken, ""),
        ("Unavailable", Class::Broken, ""),
        ("ServiceUnavailable", Class::Broken, ""),
        ("AuthFailure", Class::FixPermissions, ""),
        ("Blocked", Class::FixPermissions, ""),
        ("IncompleteSignature", Class::FixPermissions, ""),
        ("InvalidClientTokenId", Class::FixPermissions, "spec.stsRegion"),
        ("MissingAuthenticationToken", Class::FixPermissions, ""),
        ("OptInRequired", Class::FixPermissions, ""),
        ("PendingVerification", Class::FixPermissions, ""),
        ("RequestExpired", Class::FixPermissions, ""),
        ("SignatureDoesNotMatch", Class::FixPermissions, ""),
        ("UnauthorizedOperation", Class::FixPermissions, ""),
        ("OperationNotPermitted", Class::FixPermissions, ""),
        // "Remove the dependencies first, then retry your request."
        ("DependencyViolation", Class::FixSpec, ""),
        ("IncorrectState", Class::Wait, ""),
        ("InvalidState", Class::Wait, ""),
        ("InvalidAction", Class::Broken, ""),
        ("InvalidFilter", Class::Broken, ""),
        ("InvalidQueryParameter", Class::Broken, ""),
        ("MissingAction", Class::Broken, ""),
        ("MalformedQueryString", Class::Broken, ""),
        ("UnknownParameter", Class::Broken, ""),
        // The token of a listing has expired. The next listing begins without one.
        ("InvalidNextToken", Class::Wait, ""),
        ("InvalidPaginationToken", Class::Wait, ""),
        // "Allow sufficient wait time for the previous request to complete, then retry your request."
        ("ConcurrentTagAccess", Class::Wait, ""),
        ("RetryableError", Class::Wait, ""),
        ("ServerInternal", Class::Broken, ""),
        ("AccountDisabled", Class::FixPermissions, ""),
        // The clocks differ by more than five minutes.
        ("InvalidSecurity.RequestHasExpired", Class::FixPermissions, ""),
        ("Unsupported", Class::FixSpec, ""),
        ("ValidationError", Class::FixSpec, ""),
        ("InvalidParameter", Class::FixSpec, ""),
        ("InvalidParameterCombination", Class::FixSpec, ""),
        ("InvalidParameterValue", Class::FixSpec, ""),
        ("MissingParameter", Class::FixSpec, ""),
        ("UnsupportedOperation", Class::FixSpec, ""),
        ("SomethingNew", Class::Broken, ""),
        // VPCs, CIDR blocks and connections.
        ("InvalidVpcID.NotFound", Class::FixSpec, ""),
        ("InvalidVpcID.Malformed", Class::FixSpec, ""),
        ("InvalidVpcPeeringConnectionID.NotFound", Class::Gone, ""),
        ("InvalidVpcPeeringConnectionId.NotFound", Class::Gone, ""),
        ("InvalidVpcPeeringConnectionId.Malformed", Class::FixSpec, ""),
        ("InvalidVpcPeeringConnectionState.DnsHostnamesDisabled", Class::FixSpec, "enableDnsHostnames of both VPCs"),
        ("InvalidStateTransition", Class::Wait, ""),
        ("VpcPeeringConnectionAlreadyExists", Class::FixSpec, ""),
        ("VpcPeeringConnectionsPerVpcLimitExceeded", Class::Wait, ""),
        ("OutstandingVpcPeeringConnectionLimitExceeded", Class::Wait, ""),
        ("ActiveVpcPeeringConnectionPerVpcLimitExceeded", Class::Wait, ""),
        ("PendingVpcPeeringConnectionLimitExceeded", Class::Wait, ""),
        // Route tables and routes.
        ("RouteAlreadyExists", Class::Wait, ""),
        ("InvalidParameterException", Class::Wait, ""),
        ("RouteLimitExceeded", Class::FixSpec, ""),
        ("ResourceCountLimitExceeded", Class::FixSpec, ""),
        ("InvalidRoute.NotFound", Class::Gone, ""),
        ("InvalidRoute.Malformed", Class::FixSpec, ""),
        ("InvalidRouteTableID.NotFound", Class::Gone, ""),
        ("InvalidRouteTableId.NotFound", Class::Gone, ""),
        ("InvalidRouteTableId.Malformed", Class::FixSpec, ""),
        // Tags.
        ("TagLimitExceeded", Class::FixSpec, ""),
        ("TagPolicyViolation", Class::FixSpec, "spec.tags"),
        ("InvalidTagKey.Malformed", Class::FixSpec, ""),
        ("InvalidID", Class::FixSpec, ""),
        // STS: <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>,
        // <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html> and
        // <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>
        ("AccessDenied", Class::FixPermissions, ""),
        ("AccessDeniedException", Class::FixPermissions, ""),
        ("NotAuthorized", Class::FixPermissions, ""),
        ("IDPCommunicationError", Class::Wait, ""),
        ("IDPRejectedClaim", Class::FixPermissions, ""),
        ("InvalidIdentityToken", Class::FixPermissions, ""),
        ("ExpiredToken", Class::FixPermissions, ""),
        ("ExpiredTokenException", Class::Wait, ""),
        ("MalformedPolicyDocument", Class::FixPermissions, "session policy"),
        ("PackedPolicyTooLarge", Class::FixPermissions, "disableSessionTags"),
        ("RegionDisabledException", Class::FixPermissions, "spec.stsRegion"),
    ];

    #[test]
    fn every_code_has_its_class_and_its_hint() {
        for (code, class, part) in CODES {
            assert_eq!(classify(code), *class, "{code}");
            assert_eq!(hint(code).is_some(), !part.is_empty(), "{code}");
            assert!(hint(code).unwrap_or_default().contains(part), "{code}");
        }
    }

    #[test]
    fn a_call_that_is_too_early_is_repeated() {
        let not_active = "Peering pcx-1 is not active. Peering options can be added only to active peerings.";
        let denied = "User 111111111111 does not have permission to modify the accepter side peering options";
        let not_found = "InvalidVpcPeeringConnectionID.NotFound";
        for (action, code, message, class) in [
            ("ModifyVpcPeeringConnectionOptions", "OperationNotPermitted", not_active, Class::Wait),
            ("ModifyVpcPeeringConnectionOptions", "OperationNotPermitted", denied, Class::FixPermissions),
            ("AcceptVpcPeeringConnection", "OperationNotPermitted", not_active, Class::FixPermissions),
            ("AcceptVpcPeeringConnection", not_found, "", Class::Wait),
            ("DeleteVpcPeeringConnection", not_found, "", Class::Gone),
        ] {
            assert_eq!(classify_answer(action, code, message), class, "{action}: {code}: {message}");
        }
    }

    #[test]
    fn a_typed_sts_error_has_its_code_and_a_short_message() {
        use aws_sdk_sts::types::error::{
            ExpiredTokenException, MalformedPolicyDocumentException, PackedPolicyTooLargeException,
            RegionDisabledException,
        };
        let sentence = "Packed policy consumes 105% of allotted space, please use smaller policy.";
        let meta = |code: &str| ErrorMetadata::builder().code(code).message(sentence).build();
        let packed = PackedPolicyTooLargeException::builder().meta(meta("PackedPolicyTooLarge")).build();
        let malformed = MalformedPolicyDocumentException::builder().meta(meta("MalformedPolicyDocument")).build();
        let disabled = RegionDisabledException::builder().meta(meta("RegionDisabledException")).build();
        let expired = ExpiredTokenException::builder().meta(meta("ExpiredTokenException")).build();
        let web = AssumeRoleWithWebIdentityError::ExpiredTokenException(expired.clone());
        for (error, code, class) in [
            (
                CredentialsError::provider_error(AssumeRoleError::PackedPolicyTooLargeException(packed)),
                "PackedPolicyTooLarge",
                Class::FixPermissions,
            ),
            (
                CredentialsError::invalid_configuration(AssumeRoleError::MalformedPolicyDocumentException(malformed)),
                "MalformedPolicyDocument",
                Class::FixPermissions,
            ),
            (
                CredentialsError::invalid_configuration(AssumeRoleError::RegionDisabledException(disabled)),
                "RegionDisabledException",
                Class::FixPermissions,
            ),
            (
                CredentialsError::provider_error(AssumeRoleError::ExpiredTokenException(expired)),
                "ExpiredTokenException",
                Class::Wait,
            ),
            (CredentialsError::provider_error(web), "ExpiredTokenException", Class::Wait),
        ] {
            let refusal = credentials(&error, &Principal::Own).unwrap_or_else(|| AwsError::incomplete("none", ""));
            assert_eq!((refusal.code.as_deref(), refusal.class), (Some(code), class));
            let caller = "AwsIdentity payments (arn:aws:iam::222222222222:role/vpc-peering)".to_owned();
            let text = AwsError { caller: Some(caller), ..refusal }.to_string();
            assert!(text.contains(sentence.trim_end_matches('.')), "{text}");
            assert!(text.chars().count() < 300, "{text}");
            assert_eq!(hint(code).is_some(), class == Class::FixPermissions, "{code}");
        }
    }

    #[test]
    fn without_credentials_the_message_is_one_sentence() {
        let long = || "a file of the SDK is unreadable\n".repeat(20);
        let identity = Principal::Role(crate::aws::principal::Role {
            identity: "payments".into(),
            account_id: "222222222222".into(),
            arn: "arn:aws:iam::222222222222:role/vpc-peering".into(),
            external_id: None,
            session_tags: Default::default(),
            sts_region: None,
        });
        for (error, class, part) in [
            (CredentialsError::not_loaded(long()), Class::FixPermissions, "found none"),
            (CredentialsError::invalid_configuration(long()), Class::FixPermissions, "configuration"),
            (CredentialsError::provider_error(long()), Class::Broken, "does not answer"),
            (CredentialsError::unhandled(long()), Class::Broken, "does not answer"),
            (CredentialsError::provider_timed_out(Default::default()), Class::Broken, "does not answer"),
            // Assuming a role needs the operator's own credentials.
            (
                CredentialsError::provider_error(CredentialsError::not_loaded(long())),
                Class::FixPermissions,
                "found none",
            ),
        ] {
            for principal in [&Principal::Own, &identity] {
                let refusal = credentials(&error, principal).unwrap_or_else(|| AwsError::incomplete("none", ""));
                let text = refusal.to_string();
                assert_eq!((refusal.class, refusal.action), (class, "no credentials"), "{text}");
                assert!(text.contains(part) && text.chars().count() < 300 && !text.contains('\n'), "{text}");
            }
        }
    }

    #[test]
    fn the_encoded_part_of_a_denial_is_removed() {
        let denial = "You are not authorized to perform this operation. Encoded authorization failure message: aGk";
        assert_eq!(without_encoded_message(denial), "You are not authorized to perform this operation.");
        assert_eq!(without_encoded_message("The vpc ID does not exist"), "The vpc ID does not exist");
    }

    #[test]
    fn the_message_contains_action_code_message_and_request_id() {
        let error = AwsError {
            action: "CreateVpcPeeringConnection",
            caller: None,
            class: Class::FixSpec,
            code: Some("InvalidVpcID.NotFound".into()),
            message: "The vpc ID 'vpc-1' does not exist".into(),
            request_id: Some("r-1".into()),
            ambiguous: false,
        };
        assert_eq!(
            error.to_string(),
            "CreateVpcPeeringConnection: InvalidVpcID.NotFound: The vpc ID 'vpc-1' does not exist (request ID r-1)"
        );
    }
}
