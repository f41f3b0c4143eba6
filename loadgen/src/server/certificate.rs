//! A temporary certificate for the embedded engine in encrypted runs. Must not outlive the run.

use std::fs;
use std::io;
use std::path::PathBuf;

use tempfile::TempDir;

/// A certificate for this host's loopback addresses and its key, in files that are deleted on drop.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
    pem: String,
}

impl Certificate {
    /// Creates a certificate and its files.
    pub fn throw_away() -> io::Result<Certificate> {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let directory = tempfile::tempdir()?;
        let certificate = Certificate { directory, pem: made.cert.pem() };
        fs::write(certificate.path(CERTIFICATE), &certificate.pem)?;
        // Only this user can access the directory.
        fs::write(certificate.path(KEY), made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    /// The engine's settings for this certificate.
    pub fn settings(&self) -> [String; 2] {
        [("certificate", CERTIFICATE), ("key", KEY)]
            .map(|(key, file)| format!("tls.{key}={}", self.path(file).display()))
    }

    /// The certificate a client must trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
