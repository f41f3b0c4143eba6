//! A certificate to throw away: what the embedded engine shows where a run is to be encrypted.
//! Must not outlive the run.

use std::fs;
use std::io;
use std::path::PathBuf;

use tempfile::TempDir;

/// A certificate for this host's loopback, and its key, in files that go when this is dropped.
#[derive(Debug)]
pub struct Certificate {
    directory: TempDir,
    pem: String,
}

impl Certificate {
    /// Makes one.
    pub fn throw_away() -> io::Result<Certificate> {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let directory = tempfile::tempdir()?;
        let certificate = Certificate { directory, pem: made.cert.pem() };
        fs::write(certificate.path(CERTIFICATE), &certificate.pem)?;
        // The directory is this user's alone.
        fs::write(certificate.path(KEY), made.signing_key.serialize_pem())?;
        Ok(certificate)
    }

    /// What the engine must be told to show it.
    pub fn settings(&self) -> [String; 2] {
        [("certificate", CERTIFICATE), ("key", KEY)]
            .map(|(key, file)| format!("tls.{key}={}", self.path(file).display()))
    }

    /// What a client must trust.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";
