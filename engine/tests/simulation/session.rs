//! TLS as clients speak it, and the certificate that the cores show. Owns what makes a seed the
//! same each time: every certificate has one length. Must not know what the plaintext means.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use gridcast::settings::config::Config;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, SerialNumber};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use tempfile::TempDir;

const NAME: &str = "engine.test";

/// The files of a certificate, and clients that trust it.
struct Identity {
    directory: TempDir,
    client: Arc<ClientConfig>,
}

impl Identity {
    fn new() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(1));
        let certificate = params.self_signed(&key).unwrap();
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("certificate"), certificate.pem()).unwrap();
        std::fs::write(directory.path().join("key"), key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { directory, client: Arc::new(client) }
    }

    /// That of all seeds.
    fn shared() -> &'static Self {
        static SHARED: OnceLock<Identity> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

/// Has the cores of `config` speak TLS.
pub fn secure(config: &mut Config) {
    config.tls.certificate = Identity::shared().path("certificate");
    config.tls.key = Identity::shared().path("key");
}

/// The client's end of a TLS session.
#[derive(Debug)]
pub struct Session(ClientConnection);

impl Session {
    /// One that has still to greet the engine.
    pub fn new() -> Self {
        let client = Arc::clone(&Identity::shared().client);
        Self(ClientConnection::new(client, NAME.try_into().unwrap()).unwrap())
    }

    /// Takes in what came, and answers what that says.
    pub fn open(&mut self, mut cipher: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        while !cipher.is_empty() {
            self.0.read_tls(&mut cipher).unwrap();
            let state = self.0.process_new_packets().expect("what comes is TLS");
            let mut part = vec![0; state.plaintext_bytes_to_read()];
            self.0.reader().read_exact(&mut part).unwrap();
            plain.extend(part);
        }
        plain
    }

    /// True until the engine has answered.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes what is to be said.
    pub fn say(&mut self, plain: &[u8]) {
        self.0.set_buffer_limit(None);
        self.0.writer().write_all(plain).unwrap();
    }

    /// Says that nothing more follows.
    pub fn end(&mut self) {
        self.0.send_close_notify();
    }

    /// What has to be sent now.
    pub fn sealed(&mut self) -> Vec<u8> {
        let mut cipher = Vec::new();
        while self.0.wants_write() {
            self.0.write_tls(&mut cipher).unwrap();
        }
        cipher
    }
}
