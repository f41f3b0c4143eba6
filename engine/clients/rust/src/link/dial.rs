//! The connection below the WebSocket: TCP, or TLS over it, whose bytes are counted as they come.
//! Must not know what is said over it.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::endpoint::Endpoint;
use crate::error::Error;
use crate::options::Trust;

/// Both kinds of connection.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// TLS as a client.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads whom to trust.
    ///
    /// # Errors
    /// [`Error::Invalid`] when that cannot be read, or is nobody.
    pub fn new(trust: &Trust) -> Result<Self, Error> {
        let wrong = |error: &dyn std::fmt::Display| Error::Invalid(format!("TLS: {error}"));
        let (certificates, place) = match trust {
            Trust::Host => (rustls_native_certs::load_native_certs().certs, "this host".to_owned()),
            Trust::File(path) => {
                (read(path).map_err(|error| wrong(&error))?, path.display().to_string())
            }
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(wrong(&format!("{place} has no authority to trust")));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error))?;
        let config = versions.with_root_certificates(roots).with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

fn read(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates
        .map_err(|error| io::Error::other(format!("cannot read {}: {error}", path.display())))
}

/// A connection that counts how often something came.
pub struct Heard {
    inner: Box<dyn Duplex>,
    /// Grows whenever anything comes, bytes of unfinished messages included.
    pub count: u64,
}

impl Heard {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(inner: Box<dyn Duplex>) -> Self {
        Self { inner, count: 0 }
    }
}

/// Connects. Without `tls` an encrypted endpoint is refused.
///
/// # Errors
/// What failed.
pub async fn dial(endpoint: &Endpoint, tls: Option<&Tls>) -> io::Result<Heard> {
    let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port)).await?;
    stream.set_nodelay(true)?;
    let inner: Box<dyn Duplex> = match (endpoint.is_tls, tls) {
        (false, _) => Box::new(stream),
        (true, Some(tls)) => encrypt(endpoint, tls, stream).await?,
        (true, None) => return Err(io::Error::other("TLS was not set up")),
    };
    Ok(Heard::new(inner))
}

async fn encrypt(endpoint: &Endpoint, tls: &Tls, stream: TcpStream) -> io::Result<Box<dyn Duplex>> {
    let name = ServerName::try_from(endpoint.host.clone()).map_err(io::Error::other)?;
    let connecting = TlsConnector::from(Arc::clone(&tls.0)).connect(name, stream);
    let stream = connecting.await;
    let stream = stream.map_err(|error| io::Error::new(error.kind(), format!("TLS: {error}")))?;
    Ok(Box::new(stream))
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.count += u64::from(buffer.filled().len() > before);
        polled
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
