//! Reloading: settings read again while the engine runs. Owns which of them take effect and that
//! each change is told. Must not know what a setting does: the engine puts the new ones in force.

use crate::settings::config::Config;
use crate::settings::layers::{Settings, SettingsError};
use crate::settings::logging::Level;

/// Reads all layers of settings, as at the start.
pub type Read = Box<dyn Fn() -> Result<Settings, SettingsError> + Send>;

/// See the file header.
pub struct Reloader {
    /// The settings in force.
    settings: Settings,
    read: Read,
    level: Level,
}

impl Reloader {
    /// Begins with `settings`, those in force; `read` reads them again.
    #[must_use]
    pub fn new(settings: Settings, read: Read, level: Level) -> Self {
        Self { settings, read, level }
    }

    /// Reads the settings again and tells of each change whether it takes effect.
    ///
    /// # Errors
    /// What is wrong with the new settings; those in force stay.
    pub fn reload(&mut self) -> Result<Config, SettingsError> {
        let newer = (self.read)()?;
        // All of it must be right, also what only a restart would bring.
        Config::new(&newer)?;
        let mut adopted = self.settings.clone();
        adopted.adopt(newer.clone());
        let config = Config::new(&adopted)?;
        self.tell(&newer);
        self.level.set(config.log.level);
        self.settings = adopted;
        Ok(config)
    }

    fn tell(&self, newer: &Settings) {
        let changes = self.settings.changes(newer);
        for change in &changes {
            let (name, from, to) = (&change.name, &change.from, &change.to);
            if change.needs_restart {
                tracing::warn!(name, from, to, "setting changed: needs a restart");
            } else {
                tracing::info!(name, from, to, "setting changed");
            }
        }
    }
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").finish_non_exhaustive()
    }
}
