//! The flags of the servers of probes and metrics.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::operator::http::{Http, SecureMetrics};

#[derive(Debug, Args)]
pub(super) struct HttpArgs {
    /// The address and port that serve /metrics, /healthz, /livez and /readyz; `off` disables them.
    #[arg(long, env = "METRICS_ADDRESS", default_value = "0.0.0.0:8080", value_parser = address)]
    metrics_address: Address,

    /// The address and port that serve /metrics over TLS, for example 0.0.0.0:8443. A client needs a bearer token whose
    /// user may `get` the non-resource URL /metrics. --metrics-address then serves the probes only. The operator needs
    /// the right to create TokenReviews and SubjectAccessReviews.
    #[arg(long, env = "SECURE_METRICS_ADDRESS")]
    secure_metrics_address: Option<SocketAddr>,

    /// The folder with the certificate (tls.crt) and the private key (tls.key) of --secure-metrics-address. They are
    /// read again every minute. Without it, the operator makes a self-signed certificate at each start.
    #[arg(long, env = "METRICS_CERTIFICATE", value_name = "FOLDER", requires = "secure_metrics_address")]
    metrics_certificate: Option<PathBuf>,
}

impl From<HttpArgs> for Http {
    fn from(args: HttpArgs) -> Self {
        let HttpArgs { metrics_address, secure_metrics_address, metrics_certificate } = args;
        let secure = |address| SecureMetrics { address, certificate: metrics_certificate };
        Self { plain: metrics_address.0, secure: secure_metrics_address.map(secure) }
    }
}

/// The address of the HTTP server; `None` disables it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address(Option<SocketAddr>);

fn address(text: &str) -> Result<Address, String> {
    if text == "off" {
        return Ok(Address(None));
    }
    let parsed = text.parse().map_err(|_| "must be an address with a port, for example 0.0.0.0:8080, or off")?;
    Ok(Address(Some(parsed)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_or_are_off() {
        assert_eq!(address("off"), Ok(Address(None)));
        assert!(address("[::]:9090").is_ok_and(|address| address.0.is_some_and(|address| address.port() == 9090)));
        for text in ["", ":8080", "8080", "localhost"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
