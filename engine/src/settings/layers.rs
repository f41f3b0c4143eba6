//! Settings as written: defaults, file, environment and command line. Each value is checked and
//! keeps where it came from. Must not judge values together (that is `config`).

use crate::settings::attached::{self, Attached};
use crate::settings::nearest::nearest;
use crate::settings::networks::Networks;
use crate::settings::restart;
use crate::settings::table::{KNOBS, Kind, Knob, ROWS, Rows};
use std::fmt::{self, Write};
use thiserror::Error;
use toml::{Table, Value};

/// Where a value came from; a later one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was said.
    Default,
    /// The file of this name.
    File(String),
    /// This variable of the environment.
    Environment(String),
    /// This flag of the command line.
    Flag(String),
}

/// A setting with another value than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name, `section.key`.
    pub name: String,
    /// The value in force.
    pub from: String,
    /// The value wanted.
    pub to: String,
    /// True when only a restart brings it.
    pub needs_restart: bool,
}

/// What is wrong, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Error)]
#[error("{}", .0.join("\n"))]
pub struct SettingsError(pub Vec<String>);

impl SettingsError {
    /// Two values, or all that is wrong with either.
    ///
    /// # Errors
    /// Those of both.
    pub fn both<A, B>(one: Result<A, Self>, other: Result<B, Self>) -> Result<(A, B), Self> {
        match (one, other) {
            (Ok(one), Ok(other)) => Ok((one, other)),
            (one, other) => {
                let errors = [one.err(), other.err()].into_iter().flatten();
                Err(Self(errors.flat_map(|error| error.0).collect()))
            }
        }
    }

    /// Logs each of them, with what follows from it.
    pub fn log(&self, consequence: &str) {
        for error in &self.0 {
            tracing::error!(error, "{consequence}");
        }
    }
}

/// All settings and their origins.
#[derive(Clone, Debug)]
pub struct Settings {
    /// One for each knob, in the order of the table.
    values: Vec<(Value, Origin)>,
    /// The tables of each of [`ROWS`] in the file.
    rows: [Vec<Table>; ROWS.len()],
    attached: Attached,
    errors: Vec<String>,
}

/// What is printed for a secret.
const HIDDEN: &str = "***";

impl Default for Settings {
    fn default() -> Self {
        let values = KNOBS.iter().map(|knob| (knob.kind.default(), Origin::Default)).collect();
        Self { values, rows: Default::default(), attached: Attached::default(), errors: Vec::new() }
    }
}

impl Settings {
    /// Lays the text of a file over what there is.
    pub fn add_file(&mut self, name: &str, text: &str) {
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(error) => return self.errors.push(parse_error(name, text, &error)),
        };
        let origin = Origin::File(name.to_owned());
        for (section, content) in table {
            match content {
                Value::Table(keys) if is_section(&section) => {
                    self.add_section(&section, keys, &origin);
                }
                tables if attached::NAMES.contains(&section.as_str()) => {
                    if let Err(error) = self.attached.set(&section, tables) {
                        self.errors.push(format!("{error} ({origin})"));
                    }
                }
                _ => self.unknown(&section, &origin, sections()),
            }
        }
    }

    /// Lays variables of the environment over what there is. Others than ours are skipped.
    pub fn add_environment(&mut self, variables: impl IntoIterator<Item = (String, String)>) {
        for (name, text) in variables {
            if !name.starts_with("GRIDCAST_") {
                continue;
            }
            let origin = Origin::Environment(name.clone());
            match KNOBS.iter().find(|knob| knob.variable() == name) {
                Some(knob) => self.set_text(knob, &text, origin),
                None if is_injected(&name) || OF_TOOLS.contains(&name.as_str()) => {}
                None => self.unknown(&name, &origin, KNOBS.iter().map(Knob::variable)),
            }
        }
    }

    /// Lays one flag over what there is: `name` is `section.key`.
    pub fn add_flag(&mut self, flag: &str, name: &str, text: &str) {
        let origin = Origin::Flag(flag.to_owned());
        let parts = name.split_once('.');
        match parts.and_then(|(section, key)| Knob::find(section, key)) {
            Some(knob) => self.set_text(knob, text, origin),
            None => self.unknown(name, &origin, KNOBS.iter().map(Knob::name)),
        }
    }

    /// The values as one table, rows completed from their section, to be given types.
    ///
    /// # Errors
    /// Everything found wrong in all layers.
    pub fn table(&self) -> Result<Table, SettingsError> {
        if !self.errors.is_empty() {
            return Err(SettingsError(self.errors.clone()));
        }
        let mut table = Table::new();
        for (knob, (value, _)) in KNOBS.iter().zip(&self.values) {
            let section = table.entry(knob.section).or_insert_with(|| Table::new().into());
            if let Value::Table(section) = section {
                section.insert(knob.key.to_owned(), value.clone());
            }
        }
        for (rows, tables) in ROWS.iter().zip(&self.rows) {
            if let Some(Value::Table(section)) = table.get_mut(rows.section) {
                let completed = tables.iter().map(|row| completed(rows, row, section)).collect();
                section.insert(rows.key.to_owned(), Value::Array(completed));
            }
        }
        Ok(table)
    }

    /// The tables of what is attached to the engine.
    #[must_use]
    pub fn attached(&self) -> &Attached {
        &self.attached
    }

    /// The settings whose values are others in `newer`.
    #[must_use]
    pub fn changes(&self, newer: &Self) -> Vec<Change> {
        let values = self.values.iter().zip(&newer.values);
        let changed = KNOBS.iter().zip(values).filter(|(_, (old, new))| old.0 != new.0);
        let mut changes: Vec<Change> = changed
            .map(|(knob, ((old, _), (new, _)))| Change {
                name: knob.name(),
                from: knob.kind.show(old),
                to: knob.kind.show(new),
                needs_restart: restart::is_needed(&knob.name()),
            })
            .collect();
        let rows = ROWS.iter().zip(self.rows.iter().zip(&newer.rows));
        changes.extend(rows.filter(|(_, (old, new))| old != new).map(|(rows, (old, new))| {
            Change {
                name: rows.name(),
                from: format!("{} tables", old.len()),
                to: format!("{} tables", new.len()),
                needs_restart: restart::is_needed(&rows.name()),
            }
        }));
        changes.extend(self.attached_changes(newer));
        changes
    }

    /// What is attached is attached at the start.
    fn attached_changes(&self, newer: &Self) -> impl Iterator<Item = Change> {
        let tables = |name| (name, self.attached.tables(name), newer.attached.tables(name));
        let changed = attached::NAMES.into_iter().map(tables).filter(|(_, old, new)| old != new);
        changed.map(|(name, old, new)| Change {
            name: name.to_owned(),
            from: format!("{} tables", old.len()),
            to: format!("{} tables", new.len()),
            needs_restart: true,
        })
    }

    /// Takes over the values of `newer` that need no restart.
    pub fn adopt(&mut self, newer: Self) {
        for (knob, (old, new)) in KNOBS.iter().zip(self.values.iter_mut().zip(newer.values)) {
            if !restart::is_needed(&knob.name()) {
                *old = new;
            }
        }
        for (rows, (old, new)) in ROWS.iter().zip(self.rows.iter_mut().zip(newer.rows)) {
            if !restart::is_needed(&rows.name()) {
                *old = new;
            }
        }
    }

    /// The values as a file with comments: each setting's reason, unit, range and origin.
    #[must_use]
    pub fn print(&self) -> String {
        let mut text = String::new();
        let mut section = "";
        for (knob, (value, origin)) in KNOBS.iter().zip(&self.values) {
            if knob.section != section {
                self.print_rows(section, &mut text);
                section = knob.section;
                line(&mut text, format_args!("\n[{section}]"));
            }
            print_knob(knob, value, origin, &mut text);
        }
        self.print_rows(section, &mut text);
        text.push_str(&self.attached.print());
        text.trim_start().to_owned()
    }

    fn print_rows(&self, section: &str, text: &mut String) {
        for (rows, tables) in ROWS.iter().zip(&self.rows).filter(|(r, _)| r.section == section) {
            for table in tables {
                line(text, format_args!("\n[[{}]]", rows.name()));
                for (key, value) in table {
                    let knob = rows.knobs().find(|knob| knob.key == key);
                    let shown = knob.map_or_else(String::new, |knob| knob.kind.show(value));
                    line(text, format_args!("{key} = {shown}"));
                }
            }
        }
    }

    fn add_section(&mut self, section: &str, keys: Table, origin: &Origin) {
        for (key, value) in keys {
            let rows = ROWS.iter().position(|rows| (rows.section, rows.key) == (section, &key));
            if let Some(rows) = rows {
                self.add_rows(rows, value, origin);
                continue;
            }
            match Knob::find(section, &key) {
                Some(knob) => self.set(knob, value, origin.clone()),
                None => {
                    let name = format!("{section}.{key}");
                    self.unknown(&name, origin, KNOBS.iter().map(Knob::name));
                }
            }
        }
    }

    fn add_rows(&mut self, at: usize, value: Value, origin: &Origin) {
        let name = ROWS[at].name();
        let Value::Array(tables) = value else {
            self.errors.push(format!("{name} is written [[{name}]] ({origin})"));
            return;
        };
        for (i, table) in tables.into_iter().enumerate() {
            let name = format!("{name} {}", i + 1);
            match table {
                Value::Table(table) => self.add_row(at, &name, table, origin),
                _ => self.errors.push(format!("{name} is not a table ({origin})")),
            }
        }
    }

    fn add_row(&mut self, at: usize, name: &str, table: Table, origin: &Origin) {
        let rows = &ROWS[at];
        if let Some(needed) = rows.own.first()
            && !table.contains_key(needed.key)
        {
            self.errors.push(format!("{name} has no `{}` ({origin})", needed.key));
        }
        for (key, value) in &table {
            let Some(knob) = rows.knobs().find(|knob| knob.key == key) else {
                let known = rows.knobs().map(|knob| knob.key.to_owned());
                self.errors.push(format!("{name}: {}", unknown(key, origin, known)));
                continue;
            };
            if let Err(error) = knob.kind.check(value) {
                let shown = knob.kind.show(value);
                self.errors.push(format!("{name}: {key} = {shown}: {error} ({origin})"));
            }
        }
        self.rows[at].push(table);
    }

    fn set_text(&mut self, knob: &Knob, text: &str, origin: Origin) {
        let value = match knob.kind {
            Kind::Integer { .. } => text.parse().map(Value::Integer).ok(),
            Kind::Switch | Kind::SwitchedOn => text.parse().map(Value::Boolean).ok(),
            Kind::List => Some(Value::Array(items(text))),
            Kind::Word(_)
            | Kind::Address { .. }
            | Kind::Path
            | Kind::Networks
            | Kind::Text { .. } => None,
        };
        // What is no number or switch stays text, and is refused with what would be right.
        self.set(knob, value.unwrap_or_else(|| Value::String(text.to_owned())), origin);
    }

    fn set(&mut self, knob: &Knob, value: Value, origin: Origin) {
        if let Err(error) = knob.kind.check(&value) {
            let shown = knob.kind.show(&value);
            self.errors.push(format!("{} = {shown}: {error} ({origin})", knob.name()));
            return;
        }
        let slot = KNOBS.iter().zip(&mut self.values).find(|(own, _)| own.name() == knob.name());
        if let Some((_, slot)) = slot {
            *slot = (value, origin);
        }
    }

    fn unknown(&mut self, name: &str, origin: &Origin, known: impl Iterator<Item = String>) {
        self.errors.push(unknown(name, origin, known));
    }
}

impl Kind {
    fn default(&self) -> Value {
        match *self {
            Self::Integer { default, .. } => integer(default),
            Self::Switch => Value::Boolean(false),
            Self::SwitchedOn => Value::Boolean(true),
            Self::Word(words) => Value::String(words.first().copied().unwrap_or_default().into()),
            Self::Address { default } => Value::String(default.to_owned()),
            Self::Path | Self::Networks | Self::Text { .. } => Value::String(String::new()),
            Self::List => Value::Array(Vec::new()),
        }
    }

    /// A value as it may be seen by anybody.
    fn show(&self, value: &Value) -> String {
        match self {
            Self::Text { is_secret: true } => format!("\"{HIDDEN}\""),
            _ => value.to_string(),
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        let is_right = match (self, value) {
            (Self::Integer { min, max, .. }, Value::Integer(value)) => {
                u64::try_from(*value).is_ok_and(|value| (*min..=*max).contains(&value))
            }
            (Self::Word(words), Value::String(word)) => words.contains(&word.as_str()),
            (Self::Address { default }, Value::String(text)) => {
                text == default || text.parse::<std::net::SocketAddr>().is_ok()
            }
            (Self::Networks, Value::String(text)) => text.parse::<Networks>().is_ok(),
            (Self::Switch | Self::SwitchedOn, value) => value.is_bool(),
            // What was hidden when it was printed must not become the secret.
            (Self::Text { is_secret: true }, Value::String(text)) => text != HIDDEN,
            (Self::Path | Self::Text { .. }, value) => value.is_str(),
            (Self::List, Value::Array(items)) => items.iter().all(Value::is_str),
            _ => false,
        };
        if is_right { Ok(()) } else { Err(format!("must be {self}")) }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer { min, max, unit, .. } => write!(f, "{min} to {max} {unit}"),
            Self::Switch | Self::SwitchedOn => f.write_str("true or false"),
            Self::Word(words) => f.write_str(&words.join(" | ")),
            Self::Address { .. } => f.write_str("an IP address and a port"),
            Self::Path => f.write_str("a file, or \"\" for none"),
            Self::Text { is_secret: true } => {
                f.write_str("a text, and not the asterisks that are printed in its place")
            }
            Self::Text { .. } => f.write_str("a text, or \"\" for none"),
            Self::List => f.write_str("a list of texts, in the environment separated by commas"),
            Self::Networks => f.write_str("\"10.0.0.0/8, 127.0.0.1\" and the like, or \"\""),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// Where the tools for the shell find a server, which a server started from the same shell is not
/// to mind.
const OF_TOOLS: [&str; 2] = ["GRIDCAST_URL", "GRIDCAST_TOKEN"];

/// Variables of our prefix that are nobody's setting. Kubernetes and links of Docker add, for each
/// service whose name begins with ours, `{NAME}_SERVICE_HOST`, `{NAME}_SERVICE_PORT`, with the name
/// of the port after it, `{NAME}_PORT`, `{NAME}_PORT_{number}_TCP`, with `_ADDR` and others after
/// it, `{NAME}_NAME` and `{NAME}_ENV_{variable}`; images have a version and a home.
fn is_injected(variable: &str) -> bool {
    let rest = variable.strip_prefix("GRIDCAST").unwrap_or_default();
    let ends = ["_VERSION", "_HOME", "_NAME", "_PORT", "_SERVICE_HOST", "_SERVICE_PORT"];
    let is_numbered = |(_, port): (usize, &str)| {
        let port = port.trim_start_matches("_PORT_");
        let protocol = port.trim_start_matches(|digit: char| digit.is_ascii_digit());
        protocol.len() < port.len()
            && ["_TCP", "_UDP", "_SCTP"].iter().any(|known| protocol.starts_with(known))
    };
    let numbered = || rest.match_indices("_PORT_").map(|(at, _)| (at, &rest[at..]));
    // A version or a home of something else than us is somebody's mistake.
    ends.iter().any(|end| rest == *end || ends[2..].contains(end) && rest.ends_with(end))
        || rest.contains("_SERVICE_PORT_")
        || rest.starts_with("_ENV_")
        || numbered().any(is_numbered)
}

fn unknown(name: &str, origin: &Origin, known: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = known.collect();
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(right) => format!("did you mean `{right}`?"),
        None => "`gridcast config --print` lists them all".to_owned(),
    };
    format!("unknown setting `{name}`: {hint} ({origin})")
}

fn is_section(name: &str) -> bool {
    KNOBS.iter().any(|knob| knob.section == name)
}

fn sections() -> impl Iterator<Item = String> {
    KNOBS.iter().map(|knob| knob.section).chain(attached::NAMES).map(str::to_owned)
}

/// Where a file is no TOML. The line itself is not shown: it may hold a secret.
fn parse_error(name: &str, text: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    format!("{name}: no TOML in line {number}: {}", error.message())
}

/// A row with what it does not say itself.
fn completed(rows: &Rows, row: &Table, section: &Table) -> Value {
    let mut completed: Table =
        rows.own.iter().map(|knob| (knob.key.to_owned(), knob.kind.default())).collect();
    let inherited = rows.inherited.iter();
    completed.extend(inherited.filter_map(|&key| Some((key.into(), section.get(key)?.clone()))));
    completed.extend(row.clone());
    Value::Table(completed)
}

/// The items of a list that is written in one text.
fn items(text: &str) -> Vec<Value> {
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(|item| Value::String(item.to_owned())).collect()
}

fn print_knob(knob: &Knob, value: &Value, origin: &Origin, text: &mut String) {
    text.push('\n');
    for row in wrap(knob.reason, 98) {
        line(text, format_args!("# {row}"));
    }
    let when = if restart::is_needed(&knob.name()) { "; a change needs a restart" } else { "" };
    line(text, format_args!("# {}{when} ({origin})", knob.kind));
    line(text, format_args!("{} = {}", knob.key, knob.kind.show(value)));
}

/// Lines of at most `width` characters.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 1 + word.chars().count() <= width => {
                row.push(' ');
                row.push_str(word);
            }
            _ => rows.push(word.to_owned()),
        }
    }
    rows
}

fn line(text: &mut String, args: fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(format_args!("{args}\n"));
}

fn integer(value: u64) -> Value {
    // The table's own test shows that every bound fits.
    Value::Integer(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(add: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        add(&mut settings);
        settings.table().unwrap_err().to_string()
    }

    fn from_file(text: &str) -> String {
        errors(|settings| settings.add_file("f.toml", text))
    }

    fn variable(name: &str, value: &str) -> Vec<(String, String)> {
        vec![(name.to_owned(), value.to_owned())]
    }

    #[test]
    fn a_later_layer_wins_and_is_named() {
        let mut settings = Settings::default();
        settings.add_file("f.toml", "[server]\ncores = 1\n[limits]\ntopics_max = 10\n");
        settings.add_environment(variable("GRIDCAST_SERVER_CORES", "2"));
        settings.add_flag("--cores", "server.cores", "3");
        let table = settings.table().unwrap();
        assert_eq!(table["server"]["cores"].as_integer(), Some(3));
        assert_eq!(table["limits"]["topics_max"].as_integer(), Some(10));
        let text = settings.print();
        assert!(text.contains("(flag --cores)\ncores = 3\n"), "{text}");
        assert!(text.contains("(file f.toml)\ntopics_max = 10\n"), "{text}");
    }

    #[test]
    fn newer_settings_are_adopted_as_far_as_no_restart_is_needed() {
        let (mut settings, mut newer) = (Settings::default(), Settings::default());
        newer.add_flag("--set", "server.cores", "3");
        newer.add_flag("--set", "debug.echo", "true");
        let told = |name: &str, from: &str, to: &str, needs_restart| Change {
            name: name.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            needs_restart,
        };
        let restart = told("server.cores", "0", "3", true);
        let changes = settings.changes(&newer);
        assert_eq!(changes, [restart.clone(), told("debug.echo", "false", "true", false)]);
        settings.adopt(newer.clone());
        assert_eq!(settings.changes(&newer), [restart], "and is told again");
        let token = "[[auth.token]]\nname = \"a\"\ntoken = \"secret\"\n";
        let class = "[[retention.class]]\npattern = \"a\"\n";
        newer.add_file("f.toml", &(token.to_owned() + class));
        let rows = settings.changes(&newer).split_off(1);
        assert_eq!(rows[0], told("retention.class", "0 tables", "1 tables", true));
        assert_eq!(rows[1], told("auth.token", "0 tables", "1 tables", false));
        settings.adopt(newer.clone());
        assert_eq!(settings.changes(&newer).len(), 2, "the tokens are taken over");
    }

    #[test]
    fn what_is_printed_is_read_back_the_same() {
        let mut settings = Settings::default();
        let file = "[retention]\nlag = \"skip-to-oldest\"\n\
                    [[retention.class]]\npattern = \"alarms/#\"\nbytes_max = 8192\n";
        settings.add_file("f.toml", file);
        let mut again = Settings::default();
        again.add_file("printed", &settings.print());
        assert_eq!(again.table(), settings.table());
        assert_eq!(again.table().unwrap()["retention"]["class"].as_array().map(Vec::len), Some(1));
    }

    #[test]
    fn a_class_inherits_what_it_does_not_say() {
        let mut settings = Settings::default();
        let file = "[[retention.class]]\npattern = \"a/#\"\nbytes_max = 8192\n\
                    [retention]\nframes_max = 5\n";
        settings.add_file("f.toml", file);
        let class = &settings.table().unwrap()["retention"]["class"][0];
        assert_eq!(class["frames_max"].as_integer(), Some(5));
        assert_eq!(class["bytes_max"].as_integer(), Some(8192));
    }

    #[test]
    fn errors_name_key_value_range_unit_and_origin() {
        assert_eq!(
            from_file("[limits]\nheader_bytes_max = 5\n"),
            "limits.header_bytes_max = 5: must be 1024 to 1048576 bytes (file f.toml)"
        );
        assert_eq!(
            from_file("[server]\ncores = \"2\"\n"),
            "server.cores = \"2\": must be 0 to 1024 threads (file f.toml)"
        );
        assert_eq!(
            errors(|s| s.add_environment(variable("GRIDCAST_DEBUG_ECHO", "yes"))),
            "debug.echo = \"yes\": must be true or false (environment GRIDCAST_DEBUG_ECHO)"
        );
        assert_eq!(
            errors(|s| s.add_flag("--listen", "server.listen", "localhost")),
            "server.listen = \"localhost\": must be an IP address and a port (flag --listen)"
        );
        assert_eq!(
            from_file("[[retention.class]]\npattern = \"a\"\nlag = \"skip\"\n"),
            "retention.class 1: lag = \"skip\": must be disconnect | skip-to-oldest | \
             skip-to-latest (file f.toml)"
        );
    }

    #[test]
    fn unknown_names_get_the_nearest_right_one() {
        assert_eq!(
            from_file("[limits]\nmessage_byte_max = 5\n"),
            "unknown setting `limits.message_byte_max`: did you mean \
             `limits.message_bytes_max`? (file f.toml)"
        );
        assert!(from_file("[limit]\n").contains("did you mean `limits`?"));
        assert!(from_file("[[retention.class]]\npattern = \"a\"\nlags = 1").contains("`lag`?"));
        assert!(
            errors(|s| s.add_environment(variable("GRIDCAST_SERVER_CORE", "1")))
                .contains("did you mean `GRIDCAST_SERVER_CORES`?")
        );
        assert!(errors(|s| s.add_flag("--set", "nonsense", "1")).contains("config --print"));
        // The rate of a token has one name: in `[auth]`, in a token of it and in a claim.
        let token = "[[auth.token]]\nname = \"a\"\npublishes_per_s_max = 1\n";
        assert_eq!(
            from_file(token),
            "auth.token 1: unknown setting `publishes_per_s_max`: did you mean \
             `publishes_per_s`? (file f.toml)"
        );
        assert!(from_file("[auth]\npublishes_per_s_max = 1\n").contains("`auth.publishes_per_s`?"));
    }

    #[test]
    fn all_errors_are_told_at_once() {
        let all = from_file("[server]\ncores = -1\nfoo = 1\n[[retention.class]]\nlag = \"x\"\n");
        assert_eq!(all.lines().count(), 4, "{all}");
    }

    #[test]
    fn a_file_that_is_no_toml_is_told_by_its_line_which_is_not_shown() {
        let error = from_file("[server]\ncores = 2\n[[auth.token]]\ntoken = \"hush\n");
        assert!(error.starts_with("f.toml: no TOML in line 4: "), "{error}");
        assert!(!error.contains("hush"), "{error}");
        assert!(from_file("not toml").starts_with("f.toml: no TOML in line 1: "));
    }

    #[test]
    fn secrets_are_neither_printed_nor_read_back_nor_in_errors() {
        let mut settings = Settings::default();
        let file = "[[auth.token]]\nname = \"a\"\ntoken = \"hush\"\npublish = [\"x\", \"y\"]\n";
        settings.add_file("f.toml", file);
        let text = settings.print();
        assert!(
            text.contains("name = \"a\"") && text.contains("publish = [\"x\", \"y\"]"),
            "{text}"
        );
        assert!(text.contains("token = \"***\"") && !text.contains("hush"), "{text}");
        assert_eq!(
            from_file(&text),
            "auth.token 1: token = \"***\": must be a text, and not the asterisks that are \
             printed in its place (file f.toml)"
        );
        assert!(!from_file("[[auth.token]]\nname = 1\ntoken = [\"hush\"]\n").contains("hush"));
    }

    #[test]
    fn lists_are_arrays_in_a_file_and_separated_by_commas_elsewhere() {
        let audience = |settings: &Settings| settings.table().unwrap()["auth"]["audience"].clone();
        let mut settings = Settings::default();
        settings.add_file("f.toml", "[auth]\naudience = [\"a\", \"b, c\"]\n");
        assert_eq!(audience(&settings), Value::Array(vec!["a".into(), "b, c".into()]));
        settings.add_environment(variable("GRIDCAST_AUTH_AUDIENCE", "a, b,,c"));
        assert_eq!(audience(&settings), Value::Array(vec!["a".into(), "b".into(), "c".into()]));
        settings.add_flag("--set", "auth.audience", "");
        assert_eq!(audience(&settings), Value::Array(Vec::new()));
        assert!(from_file("[auth]\naudience = \"a\"\n").contains("must be a list of texts"));
    }

    #[test]
    fn variables_of_others_are_skipped() {
        let mut settings = Settings::default();
        settings.add_environment(variable("GRIDCAST_PORT_9400_TCP", "tcp://10.0.0.1:9400"));
        settings.add_environment(variable("GRIDCAST_SERVICE_HOST", "10.0.0.1"));
        for name in [
            "GRIDCAST_PORT",
            "GRIDCAST_SERVICE_PORT",
            "GRIDCAST_SERVICE_PORT_HTTP",
            "GRIDCAST_ADMIN_SERVICE_HOST",
            "GRIDCAST_ADMIN_SERVICE_PORT",
            "GRIDCAST_ADMIN_SERVICE_PORT_METRICS",
            "GRIDCAST_ADMIN_PORT",
            "GRIDCAST_ADMIN_PORT_9401_TCP",
            "GRIDCAST_ADMIN_PORT_9401_TCP_ADDR",
            "GRIDCAST_ADMIN_PORT_9401_TCP_PROTO",
            "GRIDCAST_EU_WEST_1_PORT_53_UDP_PORT",
            "GRIDCAST_NAME",
            "GRIDCAST_ENV_PATH",
            "GRIDCAST_VERSION",
            "GRIDCAST_HOME",
        ] {
            settings.add_environment(variable(name, "whatever"));
        }
        settings.add_environment(variable("PATH", "/bin"));
        assert!(settings.table().is_ok());
    }
}
