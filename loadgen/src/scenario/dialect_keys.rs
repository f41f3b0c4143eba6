//! The keys of `[target]` that name the kind of server: parsed and written back. Must not know the
//! details of any dialect.

use std::fmt::{self, Write as _};

use crate::codec::dialect::dialect::Dialect;
use crate::codec::dialect::options::{
    DialectOptions, KEYS, parse_event, parse_namespace, parse_path,
};
use crate::scenario::section::{ScenarioError, Section, quoted};

/// Reads `dialect` and its options from `[target]`.
///
/// # Errors
/// When a dialect or option is unknown, or an option does not belong to the dialect.
pub fn parse(section: &Section<'_>) -> Result<Dialect, ScenarioError> {
    let dialect = section.parsed("dialect", Dialect::named)?.unwrap_or_default();
    let options = options(section)?;
    dialect.with(&options).map_err(|unsupported| section.bad(unsupported.key, unsupported.reason))
}

/// Writes the values that differ from the default as keys of `[target]`.
///
/// # Errors
/// Those of the writer.
pub fn write(dialect: &Dialect, out: &mut String) -> fmt::Result {
    if *dialect != Dialect::Gridcast {
        writeln!(out, "dialect = {}", quoted(dialect.name()))?;
    }
    for (key, value) in by_key(&dialect.options()) {
        if let Some(value) = value {
            writeln!(out, "{key} = {value}")?;
        }
    }
    Ok(())
}

fn options(section: &Section<'_>) -> Result<DialectOptions, ScenarioError> {
    let path = |key| section.parsed(key, parse_path);
    let event = |key| section.parsed(key, parse_event);
    let acks = section.flag("subscribe_acks")?;
    Ok(DialectOptions {
        publish_path: path("publish_path")?,
        subscribe_path: path("subscribe_path")?,
        subscribe_message: section.text("subscribe_message")?.map(str::to_owned),
        path: path("path")?,
        namespace: section.parsed("namespace", parse_namespace)?,
        publish_event: event("publish_event")?,
        subscribe_event: event("subscribe_event")?,
        subscribe_acks: section.has("subscribe_acks").then_some(acks),
    })
}

/// Every option that is set, as TOML.
fn by_key(options: &DialectOptions) -> impl Iterator<Item = (&'static str, Option<String>)> {
    let text = |text: &Option<String>| text.as_deref().map(quoted);
    KEYS.into_iter().zip([
        text(&options.publish_path),
        text(&options.subscribe_path),
        text(&options.subscribe_message),
        text(&options.path),
        text(&options.namespace),
        text(&options.publish_event),
        text(&options.subscribe_event),
        options.subscribe_acks.map(|acks| acks.to_string()),
    ])
}
