//! The authentication rules in force, and their replacement while the engine runs. Owns when files
//! are read again. Must not touch connections: they keep the rights they were given.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::auth::Auth;
use crate::settings::config::Config;
use crate::settings::current::Current;
use crate::settings::layers::SettingsError;
use crate::settings::watch::Watch;

/// What follows where new tokens and keys cannot be used.
pub const OLD_STAY: &str = "the tokens and keys of before stay in force";

/// See the file header.
#[derive(Debug)]
pub struct Rules {
    current: Current<Auth>,
    files: Mutex<Watch>,
}

impl Rules {
    /// Reads what the settings name.
    ///
    /// # Errors
    /// As [`Auth::load`].
    pub fn load(config: &Config) -> Result<Self, SettingsError> {
        let files = Mutex::new(Watch::new(files(config)));
        Ok(Self { current: Current::new(Auth::load(config)?), files })
    }

    /// Where replacements appear.
    pub fn current(&self) -> &Current<Auth> {
        &self.current
    }

    /// Puts the rules of other settings in force.
    ///
    /// # Errors
    /// As [`Auth::load`]; what was in force stays so.
    pub fn reload(&self, config: &Config) -> Result<(), SettingsError> {
        // Looked at before they are read: a change in between is found the next time.
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = Watch::new(files(config));
        self.current.replace(self.current.load().reload(config)?);
        tracing::info!("tokens and keys read again");
        Ok(())
    }

    /// Reads the files again if they have changed since they were last looked at. What is broken
    /// is logged, once for each change.
    pub fn reload_if_changed(&self, config: &Config) {
        let has_changed = self.files.lock().unwrap_or_else(PoisonError::into_inner).has_changed();
        if has_changed && let Err(error) = self.reload(config) {
            error.log(OLD_STAY);
        }
    }
}

/// The files that settings name.
fn files(config: &Config) -> Vec<PathBuf> {
    let auth = &config.auth;
    let tokens = auth.token.iter().map(|token| &token.token_file);
    let all = [&auth.jwks, &auth.hs256_secret_file].into_iter().chain(tokens);
    all.filter(|path| !path.as_os_str().is_empty()).cloned().collect()
}
