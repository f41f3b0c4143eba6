//! What the documents say of gridload, against the program: the keys of a scenario with their
//! defaults and values, the scenario that is shown, and every command line. Must not run a load.
//!
//! A table of keys follows a mark, `<!-- keys: TABLE -->`; its columns are key, default, values,
//! what. A default that begins with code is the parser's own. The codes in values, up to the first
//! `: `, are values that are accepted.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a page that cannot be read fails its test

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use clap::Parser;
use clap::error::ErrorKind;
use gridload::cli::command::{Cli, Command};
use gridload::cli::options::{RunArgs, RunOptions};
use gridload::cli::overrides;
use gridload::scenario::scenario::Scenario;
use gridload::scenario::{builtin, keys};
use toml::{Table, Value};

#[test]
fn every_key_is_on_the_page_and_no_other() {
    let page = page();
    for (table, keys) in keys::tables() {
        let rows = rows(&page, &format!("keys: {table}"));
        let shown: Vec<String> = rows.iter().flat_map(|row| codes(&row[0])).collect();
        assert_eq!(set_of(&shown), set_of(&keys), "the keys of {table}");
    }
    let shown = rows(&page, "overlays");
    assert_eq!(shown.len(), keys::overlays().len());
    for (kind, keys) in keys::overlays() {
        let row = shown.iter().find(|row| codes(&row[0]) == [kind]).expect(kind);
        let settings = codes(&row[2]).into_iter().filter(|code| !code.starts_with('"'));
        let shown: Vec<String> =
            settings.map(|code| code.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(set_of(&shown), set_of(&keys), "the keys of {kind}");
    }
}

#[test]
fn defaults_are_those_of_the_parser() {
    let page = page();
    for (table, _) in keys::tables() {
        for row in rows(&page, &format!("keys: {table}")) {
            let default = codes(&row[1]).into_iter().next().filter(|_| row[1].starts_with('`'));
            for (key, default) in codes(&row[0]).iter().zip(default.iter().cycle()) {
                assert_default(table, key, &format!("{key} = {default}"));
            }
        }
    }
    for row in rows(&page, "overlays") {
        let kind = &codes(&row[0])[0];
        for setting in codes(&row[2]).iter().filter(|code| code.contains(" = ")) {
            assert_default(kind, setting.split(' ').next().unwrap(), setting);
        }
    }
}

fn assert_default(table: &str, key: &str, setting: &str) {
    let beside = beside(table, key);
    let (set, unset) = (parse(table, &format!("{beside}{setting}")), parse(table, beside));
    assert!(unset.is_ok() && set == unset, "{table}: {setting}: {set:?}");
}

#[test]
fn values_are_accepted() {
    let page = page();
    let mut values = 0;
    for (table, _) in keys::tables() {
        for row in rows(&page, &format!("keys: {table}")) {
            for value in codes(row[2].split(": ").next().unwrap()) {
                for key in codes(&row[0]) {
                    let parsed = parse(table, &format!("{}{key} = {value}", beside(table, &key)));
                    assert!(parsed.is_ok(), "{table}: {key} = {value}: {parsed:?}");
                    values += 1;
                }
            }
        }
    }
    assert!(values >= 50, "only {values} values are on the page");
}

/// What has to be set for a key to be allowed.
fn beside(table: &str, key: &str) -> &'static str {
    match (table, key) {
        ("target", "dialect" | "subscriber_nodes") => "url = 'ws://h:1'\n",
        ("subscribers", "resume") => "form = 'sse'\n",
        ("target", "publish_path" | "subscribe_path" | "subscribe_message") => {
            "url = 'ws://h:1'\ndialect = 'raw'\n"
        }
        ("target", "path") => "url = 'ws://h:1'\ndialect = 'centrifugo'\n",
        ("target", "namespace" | "publish_event" | "subscribe_event" | "subscribe_acks") => {
            "url = 'ws://h:1'\ndialect = 'socketio'\n"
        }
        ("faults", "kind") => "at = '1s'\n",
        ("faults", "at") => "kind = 'kill'\n",
        ("faults", _) => "kind = 'kill'\nat = '1s'\n",
        ("flap-reconnect", "silence") => "cut = 'silent'\n",
        _ => "",
    }
}

/// A small scenario with these lines in one of its tables.
fn parse(table: &str, lines: &str) -> Result<Scenario, String> {
    let mut root: Table = "name = 'x'\npublishers = [{ name = 'p', count = 100, fps = 30 }]\n\
                           subscribers = [{ name = 's', count = 10 }]"
        .parse()
        .unwrap();
    let mut added: Table = lines.parse().map_err(|error| format!("{error}"))?;
    match table {
        "root" => root.extend(added),
        "publishers" | "subscribers" => root[table][0].as_table_mut().unwrap().extend(added),
        "faults" => drop(root.insert(table.into(), Value::Array(vec![added.into()]))),
        kind if keys::overlays().iter().any(|(overlay, _)| *overlay == kind) => {
            added.insert("kind".into(), kind.into());
            root.insert("overlays".into(), Value::Array(vec![added.into()]));
        }
        table => drop(root.insert(table.into(), added.into())),
    }
    Scenario::from_table(&root).map_err(|error| error.to_string())
}

#[test]
fn the_scenarios_that_are_shown_are_valid() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shown.toml");
    let shown = blocks(&page(), |language| language == "toml run");
    assert!(!shown.is_empty());
    for text in shown {
        fs::write(&path, &text).unwrap();
        let resolved = overrides::resolve(path.to_str().unwrap(), &RunOptions::default());
        assert!(resolved.is_ok(), "{text}: {resolved:?}");
    }
}

#[test]
fn every_command_line_is_accepted() {
    let mut lines = 0;
    for (name, text) in documents() {
        for line in command_lines(&text) {
            if let Err(message) = accepted(words(&line)) {
                panic!("{name}: {line}: {message}");
            }
            lines += 1;
        }
    }
    assert!(lines >= 25, "only {lines} command lines were found");
}

#[test]
fn a_command_line_that_is_wrong_is_noticed() {
    for line in [
        "gridload run control-room --subscriber 5",
        "gridload run no-such-scenario",
        "gridload run control-room --set subscribers.wall.ramp=never",
        "gridload ab -- substation --out x --durations 3s",
    ] {
        assert!(accepted(words(line)).is_err(), "{line}");
    }
    assert_eq!(words("gridload run  'a b' \"$SECRET\" # c"), ["gridload", "run", "a b", SECRET]);
}

/// Whether the program would begin to do what the words say. Files that they name need not exist.
fn accepted(words: Vec<String>) -> Result<(), String> {
    let cli = match Cli::try_parse_from(words) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => return Ok(()),
        other => other.map_err(|error| error.to_string())?,
    };
    match cli.command {
        Some(Command::Run(args) | Command::Check(args)) => resolved(&args),
        Some(Command::Doctor(args)) => resolved(&args.run),
        Some(Command::Capture(args)) => resolved(&args.run),
        Some(Command::Capacity(args)) => resolved(&args.run),
        Some(Command::Ab(args)) => {
            Cli::check_run(args.run_args()).map_err(|error| error.to_string())
        }
        _ => Ok(()),
    }
}

fn resolved(args: &RunArgs) -> Result<(), String> {
    let name = args.scenario.as_deref().unwrap_or(builtin::DEFAULT);
    if name.ends_with(".toml") {
        return Ok(());
    }
    overrides::resolve(name, &args.options).map(drop).map_err(|error| error.to_string())
}

/// The calls of gridload in blocks of shell lines and of workflow steps.
fn command_lines(text: &str) -> Vec<String> {
    let shell = blocks(text, |language| language == "sh");
    let shell = shell.iter().flat_map(|block| block.lines()).map(str::to_owned);
    let steps = blocks(text, |language| language == "yaml");
    let steps = steps.iter().flat_map(|block| block.split("- run:"));
    let steps = steps.map(|step| step.trim_start_matches([' ', '>', '-', '\n']).replace('\n', " "));
    shell.chain(steps).filter(|line| line.split(' ').next() == Some("gridload")).collect()
}

/// As a shell splits a line, comments left out.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in line.chars() {
        let word = words.last_mut().unwrap();
        match (quote, c) {
            (Some(open), c) if open == c => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') if !word.is_empty() => words.push(String::new()),
            (None, ' ') => {}
            (None, '#') if word.is_empty() => break,
            (_, c) => word.push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words.into_iter().map(|word| word.replace("$SECRET", SECRET)).collect()
}

const SECRET: &str = "0123456789";

/// The bodies of the code blocks in these languages.
fn blocks(text: &str, is_wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let fenced = text.split("\n```").skip(1).step_by(2);
    let parts = fenced.filter_map(|block| block.split_once('\n'));
    parts.filter(|(language, _)| is_wanted(language)).map(|(_, body)| body.to_owned()).collect()
}

/// The cells of the table after a mark, without its head.
fn rows(page: &str, mark: &str) -> Vec<Vec<String>> {
    let mark = format!("<!-- {mark} -->\n\n");
    let (_, after) = page.split_once(&mark).unwrap_or_else(|| panic!("the page lacks {mark}"));
    let lines = after.lines().take_while(|line| line.starts_with('|')).skip(2);
    lines.map(cells).collect()
}

fn cells(line: &str) -> Vec<String> {
    line.split(" | ").map(|cell| cell.trim_matches(['|', ' ']).to_owned()).collect()
}

/// What stands between backticks.
fn codes(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn set_of<T: AsRef<str>>(names: &[T]) -> BTreeSet<&str> {
    names.iter().map(AsRef::as_ref).collect()
}

fn page() -> String {
    fs::read_to_string(root().join("docs/load-generator.md")).unwrap()
}

/// The documents with command lines, by name.
fn documents() -> Vec<(String, String)> {
    let pages = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let own = ["README.md", "CONTRIBUTING.md"].map(|name| root().join(name));
    let paths = pages.chain(own).filter(|path| path.extension().is_some_and(|ext| ext == "md"));
    paths.map(|path| (path.display().to_string(), fs::read_to_string(&path).unwrap())).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
