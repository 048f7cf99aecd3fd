//! How certificates are judged, by the load and by every question to a server alike.
//!
//! The platform's authorities are trusted, or those that `SSL_CERT_FILE` names. A certificate that stands in that file
//! itself is trusted for the names it holds, though it be marked as an authority's, as openssl marks those it makes by
//! default: curl and Python take it so.

use crate::files;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("SSL_CERT_FILE={}: {detail}", path.display())]
    CertificateFile { path: PathBuf, detail: String },
    #[error("{0}")]
    Library(#[from] Error),
}

/// A client's TLS; `insecure`: whoever answers is believed.
///
/// # Errors
/// When `SSL_CERT_FILE` names what holds no certificate, or the platform trusts nobody.
pub(crate) fn client_config(insecure: bool) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let verifier: Arc<dyn ServerCertVerifier> = match insecure {
        true => Arc::new(Unchecked(Arc::clone(&provider))),
        false => {
            // Before the platform's verifier, which opens whatever the variable names: a pipe would be waited for.
            let named = certificates_of_the_file()?;
            let platform = Verifier::new(Arc::clone(&provider))?;
            Arc::new(NamedItself { platform, named })
        }
    };
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// A client's TLS that no certificate satisfies: for those who only speak HTTP.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What a TLS library's words mean and what helps; `None` for other errors.
pub(crate) fn in_words(error: &str) -> Option<&'static str> {
    let meanings = [
        ("CaUsedAsEndEntity", UNKNOWN),
        ("UnknownIssuer", UNKNOWN),
        ("NotValidForName", "its certificate is for other names: use one of those in the URL, or --insecure"),
        ("Expired", "its certificate has expired: renew it, or skip the check with --insecure"),
        ("NotValidYet", "its certificate is not valid yet: check both clocks, or skip the check with --insecure"),
        (
            "certificate",
            "its certificate was refused: name the right one with SSL_CERT_FILE=FILE.pem, or use --insecure",
        ),
        ("corrupt message", "it does not speak TLS: write http:// instead of https://"),
        ("InvalidContentType", "it does not speak TLS: write http:// instead of https://"),
    ];
    meanings.into_iter().find(|(sign, _)| error.contains(sign)).map(|(_, words)| words)
}

const UNKNOWN: &str = "its certificate is signed by nobody this machine trusts: name it, or its authority's, with \
                       SSL_CERT_FILE=FILE.pem, or skip the check with --insecure";

fn certificates_of_the_file() -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match std::env::var_os("SSL_CERT_FILE").filter(|path| !path.is_empty()) {
        None => Ok(Vec::new()),
        Some(path) => {
            let path = PathBuf::from(path);
            certificates(&path).map_err(|detail| TlsError::CertificateFile { path, detail })
        }
    }
}

/// A PEM file's certificates, one at the least.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let file = files::open_raw(path).map_err(|e| e.to_string())?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(BufReader::new(file)).collect();
    match found.map_err(|e| e.to_string())? {
        none if none.is_empty() => Err("it holds no certificate in PEM (-----BEGIN CERTIFICATE-----)".to_string()),
        found => Ok(found),
    }
}

#[derive(Debug)]
struct NamedItself {
    platform: Verifier,
    named: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for NamedItself {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.platform.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(error) = judged else { return judged };
        // Its dates are in order: they are looked at first.
        if !format!("{error:?}").contains("CaUsedAsEndEntity") || !self.named.iter().any(|named| named == end_entity) {
            return Err(error);
        }
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.platform.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.platform.supported_verify_schemes()
    }
}

/// Believes every certificate, and still wants the handshake to be signed with it.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
