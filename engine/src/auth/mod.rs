//! Authentication and rights: checks the token that a client presents against the tokens and keys
//! of `[auth]`, and answers what it may do. Must not know sockets or requests: `core::rights` acts
//! on the answer.

mod denied;
mod grant;
mod jwt;
mod packing;
mod presented;
pub mod rules;
mod subjects;
mod tokens;

pub use denied::Denied;
pub use grant::{Forbidden, Grant, Rights, Source};
pub use jwt::Now;
pub use presented::{Credentials, Presented};
pub use subjects::Subjects;

use std::sync::Arc;

use crate::settings::config::Config;
use crate::settings::layers::SettingsError;
use jwt::Verifier;
use tokens::Tokens;

/// The rules in force. Replaced as a whole when settings or files change.
#[derive(Debug)]
pub struct Auth {
    tokens: Tokens,
    verifier: Option<Verifier>,
    subjects: Arc<Subjects>,
}

impl Auth {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// All that is wrong with them, in words that tell no secret.
    pub fn load(config: &Config) -> Result<Self, SettingsError> {
        Self::with_subjects(config, Arc::new(Subjects::default()))
    }

    /// The rules of other settings, or of files that have changed. Limits that subjects have used
    /// up stay used up.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn reload(&self, config: &Config) -> Result<Self, SettingsError> {
        Self::with_subjects(config, Arc::clone(&self.subjects))
    }

    fn with_subjects(config: &Config, subjects: Arc<Subjects>) -> Result<Self, SettingsError> {
        subjects.set_max(config.auth.subjects_max);
        let (tokens, verifier) =
            SettingsError::both(Tokens::load(&config.auth.token), Verifier::load(&config.auth))?;
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

    /// Goes on with rights that another process of this engine granted; where no more subjects may
    /// be counted, without a limit of its own.
    #[must_use]
    pub fn readmit(&self, rights: Rights, now_ns: u64) -> Arc<Grant> {
        let rate = self.subjects.rate(&rights, now_ns).flatten();
        Arc::new(Grant::new(Arc::new(rights), rate))
    }
}
