//! The settings of a Redis bridge beside the common ones. Owns their defaults. Must not connect.

use serde::Deserialize;

use crate::bridge::payload::Payload;
use crate::bridge::settings::Common;
use crate::redis::channels::Separator;

/// The keys of a `[[bridge]]` with `kind = "redis"`; `docs/bridges/redis.md` says why each is
/// there.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What stands between the segments of a channel.
    pub separator: Separator,
    /// What is published as text.
    pub payload: Payload,
}

impl Settings {
    /// Checks what must hold between it and the common settings.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn check(common: &Common) -> Result<(), String> {
        if common.inputs.iter().any(String::is_empty) {
            return Err("in: a channel or pattern has at least one byte".into());
        }
        let credentials = &common.credentials;
        if credentials.token_file.is_some() {
            return Err("token_file: Redis has none: it goes into `password_file`".into());
        }
        if credentials.user.is_some() && credentials.password_file.is_none() {
            return Err("user: Redis takes it only with a `password_file`".into());
        }
        Ok(())
    }
}
