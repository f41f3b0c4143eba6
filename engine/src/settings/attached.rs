//! Tables of what is attached to an engine: bridges, aggregates and the like. Owns their names, and
//! that no secret in them is printed. Must not know what their keys mean: whoever is attached does.

use serde::Deserialize;
use toml::{Table, Value};

/// What is printed for a secret.
const HIDDEN: &str = "***";
/// Words in the names of keys whose values are secrets, unless they name a file.
const SECRET_WORDS: [&str; 4] = ["password", "secret", "token", "credential"];

/// The tables of each kind, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attached {
    /// `[[bridge]]`: other systems that messages come from and go to.
    #[serde(default)]
    pub bridge: Vec<Table>,
    /// `[[aggregate]]`: figures over windows of time.
    #[serde(default)]
    pub aggregate: Vec<Table>,
    /// `[[align]]`: one message an instant for a group of measurement units.
    #[serde(default)]
    pub align: Vec<Table>,
    /// `[backplane]`: what is between this node and others. One at most.
    #[serde(default)]
    pub backplane: Vec<Table>,
}

/// Their names.
pub const NAMES: [&str; 4] = ["bridge", "aggregate", "align", SINGLE];
/// The one of them of which there is one table only.
const SINGLE: &str = "backplane";

impl Attached {
    /// Takes in what a file says under `name`, one of [`NAMES`].
    ///
    /// # Errors
    /// When it is not written as tables.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), String> {
        if name == SINGLE {
            let Value::Table(table) = value else {
                return Err(format!("{name} is written [{name}]"));
            };
            self.backplane = vec![table];
            return Ok(());
        }
        let as_tables = || format!("{name} is written [[{name}]]");
        let Value::Array(rows) = value else { return Err(as_tables()) };
        let tables = rows.into_iter().map(|row| row.try_into().map_err(|_| as_tables()));
        *self.tables_mut(name) = tables.collect::<Result<_, _>>()?;
        Ok(())
    }

    /// The tables under one of [`NAMES`].
    #[must_use]
    pub fn tables(&self, name: &str) -> &[Table] {
        match name {
            "bridge" => &self.bridge,
            "aggregate" => &self.aggregate,
            SINGLE => &self.backplane,
            _ => &self.align,
        }
    }

    fn tables_mut(&mut self, name: &str) -> &mut Vec<Table> {
        match name {
            "bridge" => &mut self.bridge,
            "aggregate" => &mut self.aggregate,
            SINGLE => &mut self.backplane,
            _ => &mut self.align,
        }
    }

    /// All tables as a file, without secrets.
    #[must_use]
    pub fn print(&self) -> String {
        let named = NAMES.iter().flat_map(|name| self.tables(name).iter().map(move |t| (name, t)));
        named
            .map(|(name, table)| {
                let lines =
                    table.iter().map(|(key, value)| format!("{key} = {}\n", show(key, value)));
                let (open, close) = if *name == SINGLE { ("[", "]") } else { ("[[", "]]") };
                format!("\n{open}{name}{close}\n{}", lines.collect::<String>())
            })
            .collect()
    }
}

/// A value as it may be seen by anybody: an address shows no password.
fn show(key: &str, value: &Value) -> String {
    let is_secret = SECRET_WORDS.iter().any(|word| key.contains(word)) && !key.ends_with("_file");
    match value {
        Value::String(_) if is_secret => format!("\"{HIDDEN}\""),
        Value::String(text) => Value::String(without_user(text)).to_string(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(|item| show(key, item)).collect::<Vec<_>>().join(", "))
        }
        Value::Table(table) => {
            let pairs = table.iter().map(|(key, value)| format!("{key} = {}", show(key, value)));
            format!("{{ {} }}", pairs.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// `scheme://user:password@host` without the password.
fn without_user(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{scheme}://{user}:{HIDDEN}@{host}{path}")
        }
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached(text: &str) -> Result<Attached, String> {
        let mut attached = Attached::default();
        for (name, value) in text.parse::<Table>().unwrap() {
            attached.set(&name, value)?;
        }
        Ok(attached)
    }

    #[test]
    fn what_is_printed_is_what_was_read_but_secrets() {
        let text = "\n[[bridge]]\nin = [\"a/#\"]\nmap_in = [{ from = \"a\", to = \"b\" }]\n\
                    name = \"plant\"\npassword_file = \"/etc/p\"\n";
        assert_eq!(attached(text).unwrap().print(), text);
        let single = "\n[backplane]\nkind = \"nats\"\n";
        assert_eq!(attached(single).unwrap().print(), single);
        let secret = "[[bridge]]\npassword = \"geheim\"\nurl = \"amqp://me:geheim@host/x\"\n";
        let printed = attached(secret).unwrap().print();
        assert!(!printed.contains("geheim"), "{printed}");
        assert!(printed.contains("amqp://me:***@host/x"), "{printed}");
    }

    #[test]
    fn they_are_tables() {
        for text in ["bridge = 1", "[bridge]\nname = \"a\"", "bridge = [1]"] {
            assert_eq!(attached(text), Err("bridge is written [[bridge]]".to_owned()), "{text}");
        }
        let error = attached("[[backplane]]\nkind = \"nats\"").unwrap_err();
        assert_eq!(error, "backplane is written [backplane]");
    }
}
