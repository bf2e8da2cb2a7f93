//! The certificate of the server of metrics: from a mounted Secret, or self-signed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

/// Interval between two reads of the files. The kubelet replaces them when the Secret changes, for example when
/// cert-manager renews the certificate.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// The name in a self-signed certificate. Clients cannot verify it, and so must skip the verification.
const SELF_SIGNED_NAME: &str = env!("CARGO_PKG_NAME");

/// The certificate and its key.
pub(super) struct Certificate {
    /// The folder of `tls.crt` and `tls.key`; `None` if self-signed.
    folder: Option<PathBuf>,
    current: Mutex<(Instant, TlsAcceptor)>,
}

impl Certificate {
    /// Reads the certificate from the folder, or makes a self-signed one, which lasts as long as the process.
    ///
    /// # Errors
    /// If a file cannot be read, or certificate and key do not fit together.
    pub(super) fn new(folder: Option<PathBuf>) -> Result<Self> {
        let acceptor = match &folder {
            Some(folder) => read(folder)?,
            None => self_signed()?,
        };
        Ok(Self { folder, current: Mutex::new((Instant::now(), acceptor)) })
    }

    /// Accepts TLS connections with the current certificate. Keeps the last one if the files cannot be read.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = &self.folder
            && current.0.elapsed() >= RELOAD_INTERVAL
        {
            current.0 = Instant::now();
            match read(folder) {
                Ok(acceptor) => current.1 = acceptor,
                Err(error) => tracing::warn!(
                    error = format!("{error:#}"),
                    "cannot read the certificate of the metrics again; using the previous one"
                ),
            }
        }
        current.1.clone()
    }
}

fn read(folder: &Path) -> Result<TlsAcceptor> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let chain = CertificateDer::pem_file_iter(&certificate).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = chain.with_context(|| format!("cannot read the certificate {}", certificate.display()))?;
    let parsed = PrivateKeyDer::from_pem_file(&key);
    let parsed = parsed.with_context(|| format!("cannot read the private key {}", key.display()))?;
    acceptor(chain, parsed).with_context(|| format!("cannot use the certificate {}", certificate.display()))
}

fn self_signed() -> Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed([SELF_SIGNED_NAME.to_owned()]);
    let made = made.context("cannot make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    acceptor(vec![made.cert.der().clone()], key)
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsAcceptor> {
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a new certificate, and returns it.
    fn write(folder: &Path) -> Result<CertificateDer<'static>> {
        let made = rcgen::generate_simple_self_signed([SELF_SIGNED_NAME.to_owned()])?;
        std::fs::write(folder.join("tls.crt"), made.cert.pem())?;
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem())?;
        Ok(made.cert.der().clone())
    }

    /// Whether a client that trusts only this certificate accepts the server.
    async fn is_trusted(served: &Certificate, trusted: &CertificateDer<'static>) -> Result<bool> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone())?;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (client, server) = tokio::io::duplex(16 * 1024);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let connecting = connector.connect(SELF_SIGNED_NAME.try_into()?, client);
        let (accepted, connected) = tokio::join!(served.acceptor().accept(server), connecting);
        Ok(accepted.is_ok() && connected.is_ok())
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_certificate_is_used() -> Result<()> {
        let folder = tempfile::tempdir()?;
        assert!(Certificate::new(Some(folder.path().to_owned())).is_err(), "there is no certificate yet");
        let first = write(folder.path())?;
        let served = Certificate::new(Some(folder.path().to_owned()))?;
        assert!(is_trusted(&served, &first).await?);
        let second = write(folder.path())?;
        assert!(is_trusted(&served, &first).await?);
        tokio::time::advance(RELOAD_INTERVAL).await;
        assert!(is_trusted(&served, &second).await? && !is_trusted(&served, &first).await?);
        // A broken file leaves the last certificate in use.
        std::fs::write(folder.path().join("tls.crt"), "broken")?;
        tokio::time::advance(RELOAD_INTERVAL).await;
        assert!(is_trusted(&served, &second).await?);
        Ok(())
    }
}
