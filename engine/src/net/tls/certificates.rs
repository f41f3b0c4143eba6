//! What TLS sessions are made of: certificate, key and client authorities, read from files and read
//! again when they change. Owns the replacement: a broken new file leaves the old one in force, and
//! open connections keep what they began with. Must not touch a connection.

use std::fmt::Display;
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
use crate::settings::files;
use crate::settings::layers::SettingsError;
use crate::settings::watch::Watch;

/// The one protocol that is spoken inside.
const ALPN: &[u8] = b"http/1.1";
/// The settings that name the files.
const CERTIFICATE: &str = "tls.certificate";
const KEY: &str = "tls.key";
const CLIENT_CA: &str = "tls.client_ca";
/// Each costs an encryption and 200 bytes of the handshake, and a client has one connection.
const TICKETS: usize = 1;

/// What follows where a new certificate cannot be used.
pub const OLD_STAYS: &str = "the certificate of before stays in use";

/// The certificate in force, and where it came from.
#[derive(Debug)]
pub struct Tls {
    settings: config::Tls,
    current: Current<ServerConfig>,
    /// What the files looked like when they were last read, or found broken.
    seen: Mutex<Watch>,
}

impl Tls {
    /// Reads the files that `settings` names; none when it names none.
    ///
    /// # Errors
    /// What is wrong with each file: the engine should not start.
    pub fn new(settings: &config::Tls) -> Result<Option<Self>, SettingsError> {
        if settings.certificate.as_os_str().is_empty() {
            return Ok(None);
        }
        let seen = Mutex::new(Watch::new(files_of(settings)));
        let current = Current::new(server_config(settings)?);
        Ok(Some(Self { settings: settings.clone(), current, seen }))
    }

    /// Reads the files again. Connections that are open stay as they are.
    ///
    /// # Errors
    /// What is wrong with each file; what was in force stays.
    pub fn reload(&self) -> Result<(), SettingsError> {
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
            error.log(OLD_STAYS);
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

fn files_of(settings: &config::Tls) -> Vec<PathBuf> {
    [&settings.certificate, &settings.key, &settings.client_ca].map(PathBuf::clone).to_vec()
}

fn server_config(settings: &config::Tls) -> Result<ServerConfig, SettingsError> {
    let provider = Arc::new(ring::default_provider());
    let (certified, verifier) = SettingsError::both(
        certified_key(settings, &provider),
        client_verifier(settings, Arc::clone(&provider)),
    )?;
    warn_of_age(&certified);
    let unusable = |error| files::unusable(CERTIFICATE, &settings.certificate, refused(&error));
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_client_cert_verifier(verifier);
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let mut config = builder.with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    // New with each reload: a ticket must not outlive the trust in its client.
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    config.send_tls13_tickets = TICKETS;
    Ok(config)
}

fn certified_key(
    settings: &config::Tls,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, SettingsError> {
    let (certificate, path) = (&settings.certificate, &settings.key);
    let (chain, key) =
        SettingsError::both(certificates(CERTIFICATE, certificate), private_key(path))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let fault = format!(
                "it is not the key of the first certificate in {CERTIFICATE} = \"{}\": name the \
                 pair that was issued together, the server's own certificate first",
                certificate.display()
            );
            files::unusable(KEY, path, fault)
        }
        Error::InvalidCertificate(_) => files::unusable(CERTIFICATE, certificate, refused(&error)),
        error => files::unusable(KEY, path, refused(&error)),
    })
}

fn client_verifier(
    settings: &config::Tls,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, SettingsError> {
    if settings.client_auth == ClientAuth::None {
        return Ok(WebPkiClientVerifier::no_client_auth());
    }
    let path = &settings.client_ca;
    let mut roots = RootCertStore::empty();
    for authority in certificates(CLIENT_CA, path)? {
        let added = roots.add(authority);
        added.map_err(|error| files::unusable(CLIENT_CA, path, refused(&error)))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match settings.client_auth {
        ClientAuth::Required => builder,
        _ => builder.allow_unauthenticated(),
    };
    builder.build().map_err(|error| files::unusable(CLIENT_CA, path, refused(&error)))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, SettingsError> {
    PrivateKeyDer::from_pem_slice(&files::read(KEY, path)?).map_err(|error| {
        let wanted = "one private key (PKCS#8, PKCS#1 or SEC1), without a passphrase,";
        files::unusable(KEY, path, not_pem(wanted, error))
    })
}

fn certificates(
    setting: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, SettingsError> {
    let text = files::read(setting, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = match found {
        Ok(found) if found.is_empty() => Err("there is no certificate in it".to_owned()),
        Ok(found) => Ok(found),
        Err(error) => Err(error.to_string()),
    };
    found.map_err(|fault| files::unusable(setting, path, not_pem("certificates", fault)))
}

fn not_pem(wanted: &str, fault: impl Display) -> String {
    format!("{fault}; it must hold {wanted} in PEM form")
}

/// By rustls, which has its own words for why.
fn refused(error: &impl Display) -> String {
    format!("cannot be used: {error}")
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
