//! The settings of a NATS bridge beside the common ones. Owns their defaults. Must not connect.

use std::path::PathBuf;

use serde::Deserialize;

use crate::bridge::payload::Payload;
use crate::bridge::settings::Common;
use crate::nats::subjects::is_filter;

/// The keys of a `[[bridge]]` with `kind = "nats"`; `docs/bridges/nats.md` says why each is there.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Members of a group get each message once among them.
    pub queue_group: Option<String>,
    /// A file of a JWT and its key.
    pub creds_file: Option<PathBuf>,
    /// What is published as text.
    pub payload: Payload,
}

impl Settings {
    /// Checks each value and what must hold between them.
    ///
    /// # Errors
    /// The key that is wrong, and why.
    pub fn check(&self, common: &Common) -> Result<(), String> {
        if let Some(wrong) = common.inputs.iter().find(|text| !is_filter(text)) {
            return Err(format!(
                "in: `{wrong}` is no subject: tokens with `.` between them; `*` stands for one, a \
                 last `>` for one or more"
            ));
        }
        if let Some(group) = &self.queue_group
            && (group.is_empty() || group.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            return Err("queue_group: it has at least one byte and no white space".into());
        }
        self.check_credentials(common)
    }

    fn check_credentials(&self, common: &Common) -> Result<(), String> {
        let credentials = &common.credentials;
        let user = credentials.user.is_some();
        if user != credentials.password_file.is_some() {
            return Err("user: NATS takes it with a `password_file` only, and that with it".into());
        }
        let given = [user, credentials.token_file.is_some(), self.creds_file.is_some()];
        if given.into_iter().filter(|given| *given).count() > 1 {
            return Err("creds_file: only one of `user`, `token_file` and `creds_file`".into());
        }
        Ok(())
    }
}
