//! Connections to other systems, over TCP or TLS. Owns addresses, trust, and how long a try may
//! take. Must not know what is said over them.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::bridge::supervisor::SessionError;

/// How long a connection may take, and then its TLS.
const WAIT: Duration = Duration::from_secs(10);

/// What the beginning of a URL means.
#[derive(Clone, Copy, Debug)]
pub struct Scheme {
    /// The word before `://`.
    pub name: &'static str,
    /// The port where the URL names none.
    pub port: u16,
    /// Whether it is encrypted.
    pub is_tls: bool,
}

/// Where another system is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Whether it is encrypted.
    pub is_tls: bool,
}

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

impl Address {
    /// The address of a URL, which is of one of the `schemes`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(url: &str, schemes: &[Scheme]) -> Result<Self, String> {
        let known: Vec<String> = schemes.iter().map(|s| format!("{}://", s.name)).collect();
        let unknown = || format!("url: it begins with {}", known.join(" or "));
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let scheme = schemes.iter().find(|known| known.name == scheme).ok_or_else(unknown)?;
        if rest.contains('@') {
            return Err("url: credentials stand in `user` and `password_file`, not in it".into());
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let wrong = || format!("url: `{authority}` is not a host, or a host and a port");
        let (host, port) = split(authority).ok_or_else(wrong)?;
        if host.is_empty() || host.contains(['/', '?', '#', ' ']) {
            return Err(wrong());
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?,
            None => scheme.port,
        };
        Ok(Self { host: host.to_owned(), port, is_tls: scheme.is_tls })
    }

    /// Connects. `ca_file` has the authorities that are trusted; the host's are where there is
    /// none.
    ///
    /// # Errors
    /// [`SessionError`] that names the address and says what failed.
    pub async fn dial(&self, ca_file: Option<&Path>) -> Result<Box<dyn Stream>, SessionError> {
        let stream = self.connect().await?;
        if self.is_tls { self.encrypt(stream, ca_file).await } else { Ok(Box::new(stream)) }
    }

    /// Connects without encryption: [`encrypt`](Self::encrypt) may follow.
    ///
    /// # Errors
    /// [`SessionError`] that names the address and says what failed.
    pub async fn connect(&self) -> Result<TcpStream, SessionError> {
        self.connect_plain().await.map_err(|error| {
            SessionError::new("connect", format!("cannot connect to {self}: {error}"))
        })
    }

    async fn connect_plain(&self) -> io::Result<TcpStream> {
        let stream = timeout(WAIT, TcpStream::connect((self.host.as_str(), self.port)));
        let stream = stream.await.map_err(|_| no_answer())??;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Encrypts a connection.
    ///
    /// # Errors
    /// [`SessionError`] that names the address and says what failed.
    pub async fn encrypt(
        &self,
        stream: TcpStream,
        ca_file: Option<&Path>,
    ) -> Result<Box<dyn Stream>, SessionError> {
        let error = |error: io::Error| SessionError::new("tls", format!("TLS to {self}: {error}"));
        let config = client_config(ca_file).map_err(error)?;
        let name = ServerName::try_from(self.host.clone());
        let name = name.map_err(|wrong| error(io::Error::other(wrong)))?;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        let connected = timeout(WAIT, connecting).await.map_err(|_| error(no_answer()))?;
        connected.map(|stream| Box::new(stream) as Box<dyn Stream>).map_err(error)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// TLS as a client, which trusts the authorities of `ca_file`, or else those of the host.
///
/// # Errors
/// When they cannot be read, or there are none.
pub fn client_config(ca_file: Option<&Path>) -> io::Result<ClientConfig> {
    let roots = match ca_file {
        Some(path) => root_store(read(path)?),
        None => host_roots(),
    };
    if roots.is_empty() {
        let place = ca_file.map_or("this host".into(), |path| path.display().to_string());
        return Err(io::Error::other(format!("{place} has no authority to trust: see `ca_file`")));
    }
    client_config_of(roots)
}

/// TLS as a client, which trusts these authorities; nobody, where there are none.
///
/// # Errors
/// When the versions of TLS that are needed are not there.
pub fn client_config_of(roots: RootCertStore) -> io::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// The authorities that this host trusts, which may be none.
#[must_use]
pub fn host_roots() -> RootCertStore {
    root_store(rustls_native_certs::load_native_certs().certs)
}

fn root_store(certificates: Vec<CertificateDer<'static>>) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates);
    roots
}

fn read(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    certificates
        .map_err(|error| io::Error::other(format!("cannot read {}: {error}", path.display())))
}

/// Host and port; the brackets of an IPv6 address are taken off.
fn split(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

fn no_answer() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", WAIT.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMES: [Scheme; 2] = [
        Scheme { name: "mqtt", port: 1883, is_tls: false },
        Scheme { name: "mqtts", port: 8883, is_tls: true },
    ];

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        for (url, shown, is_tls) in [
            ("mqtt://broker", "broker:1883", false),
            ("mqtts://broker/", "broker:8883", true),
            ("mqtt://10.0.0.1:99", "10.0.0.1:99", false),
            ("mqtt://[::1]", "[::1]:1883", false),
            ("mqtts://[::1]:99", "[::1]:99", true),
        ] {
            let address = Address::parse(url, &SCHEMES).unwrap();
            assert_eq!((address.to_string().as_str(), address.is_tls), (shown, is_tls), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said() {
        for (url, part) in [
            ("broker:1883", "begins with mqtt:// or mqtts://"),
            ("http://broker", "begins with mqtt:// or mqtts://"),
            ("mqtt://", "not a host"),
            ("mqtt://a:b:c", "not a host"),
            ("mqtt://a:0", "not a host"),
            ("mqtt://[::1]1", "not a host"),
            ("mqtt://a/path", "not a host"),
            ("mqtt://me:secret@a", "`user` and `password_file`"),
        ] {
            let error = Address::parse(url, &SCHEMES).unwrap_err();
            assert!(error.contains(part) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
