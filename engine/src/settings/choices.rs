//! Settings that are one of a few words, or on and off. Must not know what follows from them.

use serde::Deserialize;

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked.
    None,
    /// Those that show one must be trusted; the others are let in as well.
    Optional,
    /// Who shows none is not let in.
    Required,
}

/// The versions of PROXY headers that are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Versions {
    /// No header is read.
    Off,
    /// A line of text.
    V1,
    /// The binary form.
    V2,
    /// Either.
    Any,
}

/// How what is published becomes frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Publishing {
    /// Here and at once.
    #[default]
    Local,
    /// By way of a log, which numbers it for all nodes of a domain.
    Log,
}

/// The words of `log.format`.
pub const LOG_FORMATS: &[&str] = &["text", "json"];

/// The words of `tls.client_auth`.
pub const CLIENT_AUTHS: &[&str] = &["none", "optional", "required"];

/// The words of `proxy.protocol`.
pub const PROXY_VERSIONS: &[&str] = &["off", "v1", "v2", "any"];

/// The words of `log.level`.
pub const LOG_LEVELS: &[&str] = &["info", "error", "warn", "debug", "trace"];

/// `[console]`, `[wall]`: a page that is built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltIn {
    /// Whether it exists.
    pub enabled: bool,
}
