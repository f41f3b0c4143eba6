//! TLS on the client side: trusted certificates and new sessions. Must not know sockets: `link`
//! moves the bytes.

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use serde::{Deserialize, Serialize};

/// How connections are encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsPlan {
    /// The name or address the server's certificate must be for.
    pub name: String,
    /// Which certificates are trusted.
    pub trust: Trust,
}

/// Which certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trust {
    /// The root certificates of this host.
    System,
    /// These root certificates, in PEM form.
    Authorities(Vec<u8>),
    /// No verification: any certificate is accepted.
    Anyone,
}

/// Why no session can be created.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not a name or an address.
    #[error("`{0}` is no name a certificate could be for")]
    Name(String),
    /// The file or this host has no usable root certificate.
    #[error("no authority to trust: {0}; see --tls-ca and --tls-insecure")]
    Authorities(String),
    /// rustls returned an error.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// Creates sessions.
#[derive(Debug, Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsClient {
    /// A client with the planned trust settings.
    pub fn new(plan: &TlsPlan) -> Result<TlsClient, TlsError> {
        let name = ServerName::try_from(plan.name.clone());
        let name = name.map_err(|_| TlsError::Name(plan.name.clone()))?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider) as Arc<CryptoProvider>)
                .with_safe_default_protocol_versions()?;
        let mut config = match authorities(&plan.trust)? {
            Some(roots) => builder.with_root_certificates(roots).with_no_client_auth(),
            None => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Anyone { algorithms }))
                .with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        // Every socket stands for another device, so sessions are never resumed.
        config.resumption = Resumption::disabled();
        Ok(TlsClient { config: Arc::new(config), name })
    }

    /// A session that has not started.
    pub fn session(&self) -> Result<ClientConnection, Error> {
        ClientConnection::new(Arc::clone(&self.config), self.name.clone())
    }
}

/// The root certificates; `None` accepts any certificate.
fn authorities(trust: &Trust) -> Result<Option<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::Anyone => return Ok(None),
        Trust::System => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        Trust::Authorities(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| TlsError::Authorities(error.to_string()))?;
                roots.add(certificate)?;
            }
        }
    }
    match roots.is_empty() {
        true => Err(TlsError::Authorities("not one certificate was found".to_owned())),
        false => Ok(Some(roots)),
    }
}

/// Accepts any certificate, but still verifies that the server has its key.
#[derive(Debug)]
struct Anyone {
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Anyone {
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
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str, trust: Trust) -> Result<TlsClient, String> {
        TlsClient::new(&TlsPlan { name: name.into(), trust }).map_err(|error| error.to_string())
    }

    #[test]
    fn names_and_addresses_make_sessions() {
        for name in ["localhost", "127.0.0.1", "::1"] {
            assert!(client(name, Trust::Anyone).unwrap().session().is_ok(), "{name}");
        }
        assert!(client("no name", Trust::Anyone).unwrap_err().contains("`no name` is no name"));
    }

    #[test]
    fn files_without_an_authority_are_refused() {
        let error = client("localhost", Trust::Authorities(b"hello".to_vec())).unwrap_err();
        assert!(error.contains("not one certificate") && error.contains("--tls-ca"), "{error}");
    }
}
