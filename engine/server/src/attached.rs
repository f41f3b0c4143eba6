//! What this build can attach to an engine. Owns only whether it was built with connectors. Must
//! not know any of them.

use gridcast::settings::config::Config;
use gridcast::settings::layers::SettingsError;

#[cfg(feature = "connectors")]
pub use gridcast_connectors::{publishing, start};

/// Checks the tables of what is attached.
///
/// # Errors
/// Everything that is wrong with them.
#[cfg(feature = "connectors")]
pub fn check(config: &Config) -> Result<(), SettingsError> {
    gridcast_connectors::check(&config.attached)
}

#[cfg(not(feature = "connectors"))]
pub use without::{check, publishing, start};

#[cfg(not(feature = "connectors"))]
mod without {
    use std::io;

    use gridcast::engine::handle::Handle;
    use gridcast::settings::attached::{Attached, NAMES};
    use gridcast::settings::choices::Publishing;

    use super::{Config, SettingsError};

    /// Refuses tables that nobody would read.
    ///
    /// # Errors
    /// The name of each.
    pub fn check(config: &Config) -> Result<(), SettingsError> {
        let used = NAMES.iter().filter(|name| !config.attached.tables(name).is_empty());
        let errors = used.map(|name| {
            format!("[[{name}]]: this gridcast was built without connectors, which bring it")
        });
        let errors: Vec<String> = errors.collect();
        if errors.is_empty() { Ok(()) } else { Err(SettingsError(errors)) }
    }

    /// Nothing but the engine publishes.
    pub fn publishing(_: &Attached) -> Publishing {
        Publishing::Local
    }

    /// There is nothing to start.
    ///
    /// # Errors
    /// Never: a build with connectors has some.
    pub fn start(_: &Attached, _: Handle) -> io::Result<()> {
        Ok(())
    }
}
