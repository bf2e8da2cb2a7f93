//! Signature Version 4. The simulator reads the credential scope and does not verify the signature.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-signing-elements.html>

use crate::error::{Error, Result};
use crate::world::identity::Service;

/// The credential scope of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scope {
    pub(crate) key_id: String,
    pub(crate) region: String,
    pub(crate) service: Service,
}

impl Scope {
    /// Parses an `Authorization` header.
    pub(crate) fn of_header(header: &str) -> Result<Self> {
        let incomplete =
            || Error::new("IncompleteSignature", "The request signature does not conform to AWS standards.");
        let fields = header.strip_prefix("AWS4-HMAC-SHA256").ok_or_else(incomplete)?;
        let field = |name: &str| {
            let mut fields = fields.split(',').map(str::trim);
            fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('=')).ok_or_else(incomplete)
        };
        field("SignedHeaders")?;
        field("Signature")?;
        Self::of_credential(field("Credential")?)
    }

    /// Parses a credential: part of the `Authorization` header, or `X-Amz-Credential` of a presigned URL.
    pub(crate) fn of_credential(credential: &str) -> Result<Self> {
        let parts: Vec<_> = credential.split('/').collect();
        match parts[..] {
            [key_id, _date, region, service, "aws4_request"] => Ok(Self {
                key_id: key_id.to_owned(),
                region: region.to_owned(),
                service: match service {
                    "sts" => Service::Sts,
                    "servicequotas" => Service::Quotas,
                    _ => Service::Ec2,
                },
            }),
            _ => Err(Error::new("IncompleteSignature", "The credential scope does not conform to AWS standards.")),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_scope_has_key_region_and_service() {
        let header =
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/sts/aws4_request, SignedHeaders=host, Signature=00";
        let scope = Scope { key_id: "AKID".into(), region: "eu-west-1".into(), service: Service::Sts };
        assert_eq!(Scope::of_header(header).unwrap(), scope);
        for bad in [
            "Bearer x",
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/ec2, SignedHeaders=host, Signature=00",
            "AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/ec2/aws4_request, SignedHeaders=host",
        ] {
            assert_eq!(Scope::of_header(bad).unwrap_err().code, "IncompleteSignature", "{bad}");
        }
    }
}
