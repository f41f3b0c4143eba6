//! The files that `[auth]` names: tokens, secrets and keys. Owns how they are read and what is said
//! of one that cannot be. Must not understand what they hold.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::settings::config::Config;
use thiserror::Error;

/// The largest file of a token, a secret or keys: nobody has more than fits.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why `[auth]` cannot be put in force.
#[derive(Debug, Error)]
pub enum AuthError {
    /// A file that cannot be read.
    #[error("{key}: cannot read {}: {source}", path.display())]
    File {
        /// The setting that names it.
        key: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A setting, or the content of its file, that makes no sense. Never says what a secret is.
    #[error("{key}: {message}")]
    Content {
        /// The setting.
        key: String,
        /// What is wrong and what to do.
        message: String,
    },
}

impl AuthError {
    pub(super) fn content(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Content { key: key.into(), message: message.into() }
    }
}

/// The files that settings name.
pub(super) fn files(config: &Config) -> Vec<PathBuf> {
    let auth = &config.auth;
    let tokens = auth.token.iter().map(|token| &token.token_file);
    let all = [&auth.jwks, &auth.hs256_secret_file].into_iter().chain(tokens);
    all.filter(|path| !path.as_os_str().is_empty()).cloned().collect()
}

/// The content of the file that the setting `key` names.
pub(super) fn read(key: &str, path: &Path) -> Result<Vec<u8>, AuthError> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => {
            let message = format!("{} is above {FILE_BYTES_MAX} bytes", path.display());
            Err(AuthError::content(key, message))
        }
        Ok(_) => Ok(bytes),
        Err(source) => Err(AuthError::File { key: key.into(), path: path.into(), source }),
    }
}

/// The line break that editors end a file with is not part of a secret.
pub(super) fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}
