//! What TLS sessions are made of: certificate, key and client authorities, read from files and read
//! again when they change. Owns the replacement: a broken new file leaves the old one in force, and
//! open connections keep what they began with. Must not touch a connection.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, ServerConfig};

use crate::clock;
use crate::settings::choices::ClientAuth;
use crate::settings::config;
use crate::settings::current::{Current, View};
use crate::settings::watch::Watch;

/// The one protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";
/// A file of authorities as systems ship it has a quarter of that.
const PEM_BYTES_MAX: u64 = 1 << 20;
/// Each costs an encryption and 200 bytes of the handshake, and a client has one connection.
const TICKETS: usize = 1;

/// The certificate in force, and where it came from.
#[derive(Debug)]
pub struct Tls {
    settings: config::Tls,
    current: Current<ServerConfig>,
    /// What the files looked like when they were last read, or found broken.
    seen: Mutex<Watch>,
}

/// Why there can be no TLS with these files. Each names its setting and its file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or may not be read.
    #[error("{setting} = \"{}\": cannot be read: {source}", path.display())]
    Unread {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is far larger than any such file.
    #[error(
        "{setting} = \"{}\": larger than {PEM_BYTES_MAX} bytes: is it the right file?",
        path.display()
    )]
    TooBig {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else, or is cut.
    #[error("{setting} = \"{}\": {problem}; it must hold {wanted} in PEM form", path.display())]
    NotPem {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Certificate and key are not a pair.
    #[error(
        "tls.key = \"{}\" is not the key of the first certificate in tls.certificate = \"{}\": \
         name the pair that was issued together, the server's own certificate first",
        key.display(), certificate.display()
    )]
    Mismatch {
        /// The file of the key.
        key: PathBuf,
        /// The file of the certificates.
        certificate: PathBuf,
    },
    /// rustls refuses the certificate, the key or the authorities.
    #[error("{setting} = \"{}\": cannot be used: {source}", path.display())]
    Unusable {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What rustls said.
        source: Error,
    },
}

impl Tls {
    /// Reads the files that `settings` names; none when it names none.
    ///
    /// # Errors
    /// [`TlsError`]: the engine should not start.
    pub fn new(settings: &config::Tls) -> Result<Option<Self>, TlsError> {
        if settings.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let seen = Mutex::new(Watch::new(files(settings)));
        let current = Current::new(server_config(settings)?);
        Ok(Some(Self { settings: settings.clone(), current, seen }))
    }

    /// Reads the files again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// [`TlsError`]; what was in force stays.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.has_changed();
        self.current.replace(server_config(&self.settings)?);
        tracing::info!(certificate = %self.settings.certificate.display(), "certificate reloaded");
        Ok(())
    }

    /// Reads the files again if they have changed since they were last looked at. What is broken
    /// is logged, once for each change.
    pub fn reload_if_changed(&self) {
        if self.has_changed()
            && let Err(error) = self.reload()
        {
            tracing::error!(%error, "the old certificate stays in use");
        }
    }

    /// The value for one core.
    pub fn view(&self) -> View<ServerConfig> {
        self.current.view()
    }

    /// Where replacements appear.
    pub fn current(&self) -> &Current<ServerConfig> {
        &self.current
    }

    /// Looks at the files; answers whether they have changed. Looked at before they are read: a
    /// change in between is found the next time.
    fn has_changed(&self) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).has_changed()
    }
}

fn files(settings: &config::Tls) -> Vec<PathBuf> {
    [&settings.certificate, &settings.key, &settings.client_ca].map(PathBuf::clone).to_vec()
}

fn server_config(settings: &config::Tls) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let certified = Arc::new(certified_key(settings, &provider)?);
    warn_of_age(&certified);
    let unusable = |source| TlsError::Unusable {
        setting: "tls.certificate",
        path: settings.certificate.clone(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(client_verifier(settings, provider)?);
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // New with each reload: a ticket must not carry who was trusted into a time when he is not.
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

fn certified_key(
    settings: &config::Tls,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates("tls.certificate", &settings.certificate)?;
    let not_pem = |problem: String| TlsError::NotPem {
        setting: "tls.key",
        path: settings.key.clone(),
        wanted: "one private key (PKCS#8, PKCS#1 or SEC1), without a passphrase,",
        problem,
    };
    let key = PrivateKeyDer::from_pem_slice(&read("tls.key", &settings.key)?)
        .map_err(|error| not_pem(error.to_string()))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::Mismatch {
            key: settings.key.clone(),
            certificate: settings.certificate.clone(),
        },
        source @ Error::InvalidCertificate(_) => TlsError::Unusable {
            setting: "tls.certificate",
            path: settings.certificate.clone(),
            source,
        },
        source => TlsError::Unusable { setting: "tls.key", path: settings.key.clone(), source },
    })
}

fn client_verifier(
    settings: &config::Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    if settings.client_auth == ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let unusable = |source| TlsError::Unusable {
        setting: "tls.client_ca",
        path: settings.client_ca.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates("tls.client_ca", &settings.client_ca)? {
        roots.add(authority).map_err(unusable)?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match settings.client_auth {
        ClientAuth::Required => builder,
        _ => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| unusable(Error::General(error.to_string())))
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let not_pem = |problem: String| TlsError::NotPem {
        setting,
        path: path.to_owned(),
        wanted: "certificates",
        problem,
    };
    let text = read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|error| not_pem(error.to_string()))?;
    if found.is_empty() {
        return Err(not_pem("there is no certificate in it".to_owned()));
    }
    Ok(found)
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    let unread = |source| TlsError::Unread { setting, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unread)?;
    file.take(PEM_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > PEM_BYTES_MAX {
        return Err(TlsError::TooBig { setting, path: path.to_owned() });
    }
    Ok(bytes)
}

/// Clients refuse a certificate that is out of date; the engine only says so, because a clock that
/// is wrong must not keep it from starting.
fn warn_of_age(certified: &CertifiedKey) {
    let Some(first) = certified.cert.first() else { return };
    let Ok((_, certificate)) = x509_parser::parse_x509_certificate(first) else { return };
    let validity = certificate.validity();
    let (not_before, not_after) = (&validity.not_before, &validity.not_after);
    let now_s = (clock::unix_ms() / 1000) as i64;
    if now_s > not_after.timestamp() {
        tracing::warn!(%not_after, "tls.certificate has expired: clients refuse it");
    } else if now_s < not_before.timestamp() {
        tracing::warn!(%not_before, "tls.certificate is not valid yet: clients refuse it");
    }
}
