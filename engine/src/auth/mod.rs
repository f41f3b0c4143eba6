//! Who a client is and what it may do: the tokens and keys of `[auth]`, and the verdict on what a
//! client presents. Owns the reasons of refusals. Must not know sockets or requests: what follows
//! from a verdict is `rights`' business.

mod grant;
mod jwt;
mod presented;
mod rules;
mod subjects;
mod tokens;

pub use grant::{Forbidden, Grant, Rights};
pub use presented::{Credentials, Presented};
pub use rules::Rules;
pub use subjects::Subjects;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::metrics::AuthOutcome;
use crate::settings::config::Config;
use jwt::Verifier;
use thiserror::Error;
use tokens::Tokens;

/// The largest file of a token, a secret or keys: nobody has more than fits.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The rules in force. Replaced as a whole when settings or files change.
#[derive(Debug)]
pub struct Auth {
    tokens: Tokens,
    verifier: Option<Verifier>,
    subjects: Arc<Subjects>,
}

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

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Denied {
    /// Nothing was presented.
    #[error("a token is needed: Authorization: Bearer, ?token= or, where that is set up, a cookie")]
    Missing,
    /// What was presented is no token.
    #[error("{0}")]
    Malformed(&'static str),
    /// A token that is none of ours.
    #[error("unknown token")]
    Unknown,
    /// An algorithm that is not taken, or not with this key.
    #[error("the token's algorithm is not one that its key is for")]
    Algorithm,
    /// No key of the name that the token gives.
    #[error("unknown kid: the token is signed with a key that is not in use here")]
    Key,
    /// Several keys could be meant.
    #[error("the token needs a kid: several keys are in use")]
    AmbiguousKey,
    /// A signature that does not fit.
    #[error("bad signature")]
    Signature,
    /// The time of the token is over.
    #[error("token expired")]
    Expired,
    /// The time of the token has not begun.
    #[error("token not yet valid (nbf)")]
    NotYetValid,
    /// Somebody else's token.
    #[error("wrong issuer (iss)")]
    Issuer,
    /// A token for somebody else.
    #[error("wrong audience (aud)")]
    Audience,
    /// A claim that is missing or of the wrong kind.
    #[error("claim {0}")]
    Claim(&'static str),
    /// Too many subjects publish at once.
    #[error("too many subjects at once (auth.subjects_max)")]
    Full,
}

/// The time, on both clocks that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// UTC, in which tokens speak.
    pub unix_ms: u64,
    /// The engine's clock, in which connections end.
    pub ns: u64,
}

impl Auth {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// [`AuthError`], for the first thing that is wrong.
    pub fn load(config: &Config) -> Result<Self, AuthError> {
        Self::with_subjects(config, Arc::new(Subjects::default()))
    }

    /// The rules of other settings, or of files that have changed. Limits that subjects have used
    /// up stay used up.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self, config: &Config) -> Result<Self, AuthError> {
        Self::with_subjects(config, Arc::clone(&self.subjects))
    }

    fn with_subjects(config: &Config, subjects: Arc<Subjects>) -> Result<Self, AuthError> {
        subjects.set_max(config.auth.subjects_max);
        let tokens = Tokens::load(&config.auth.token)?;
        let verifier = Verifier::load(&config.auth)?;
        Ok(Self { tokens, verifier, subjects })
    }

    /// Whether clients are asked who they are.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.tokens.is_empty() || self.verifier.is_some()
    }

    /// What the holder of a token may do.
    ///
    /// # Errors
    /// [`Denied`], which never holds any of the token.
    pub fn authenticate(&self, token: &str, now: Now) -> Result<Arc<Grant>, Denied> {
        let rights = match (self.tokens.find(token), &self.verifier) {
            (Some(rights), _) => Arc::clone(rights),
            (None, Some(verifier)) if jwt::is_one(token) => Arc::new(verifier.verify(token, now)?),
            (None, _) => return Err(Denied::Unknown),
        };
        let rate = self.subjects.rate(&rights, now.ns).ok_or(Denied::Full)?;
        Ok(Arc::new(Grant::new(rights, rate)))
    }
}

impl Denied {
    /// Its name in the metrics.
    #[must_use]
    pub const fn outcome(self) -> AuthOutcome {
        match self {
            Self::Missing => AuthOutcome::Missing,
            Self::Malformed(_) => AuthOutcome::Malformed,
            Self::Unknown => AuthOutcome::Unknown,
            Self::Algorithm => AuthOutcome::Algorithm,
            Self::Key | Self::AmbiguousKey => AuthOutcome::Key,
            Self::Signature => AuthOutcome::Signature,
            Self::Expired => AuthOutcome::Expired,
            Self::NotYetValid => AuthOutcome::NotYetValid,
            Self::Issuer => AuthOutcome::Issuer,
            Self::Audience => AuthOutcome::Audience,
            Self::Claim(_) => AuthOutcome::Claim,
            Self::Full => AuthOutcome::Full,
        }
    }
}

impl AuthError {
    fn content(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Content { key: key.into(), message: message.into() }
    }
}

/// The files that settings name.
fn files(config: &Config) -> Vec<PathBuf> {
    let auth = &config.auth;
    let tokens = auth.token.iter().map(|token| &token.token_file);
    let all = [&auth.jwks, &auth.hs256_secret_file].into_iter().chain(tokens);
    all.filter(|path| !path.as_os_str().is_empty()).cloned().collect()
}

/// The content of the file that the setting `key` names.
fn read(key: &str, path: &Path) -> Result<Vec<u8>, AuthError> {
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
fn without_line_break(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}
