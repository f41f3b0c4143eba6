//! The pages that list what there is: docs/settings.md, written from the table of settings, the
//! metrics of docs/operations.md, compared with a scrape, and docs/clients.md, compared with the
//! table of behaviours of the clients. Owns how the first looks. Must not say anything of a setting
//! that the table does not.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use gridcast::settings::layers::Settings;
use gridcast::settings::restart;
use gridcast::settings::table::{KNOBS, Knob, ROWS, Rows};
use harness::{Server, http};
use serde_json::Value;

const HEAD: &str = "\
# Settings

Written from the table of settings (`UPDATE_SAMPLE=1 cargo test -p gridcast-engine --test manual`);
not edited by hand.

Settings come from four layers, the later wins: defaults; the file of `--config`; the environment,
as `GRIDCAST_{SECTION}_{KEY}`; flags, as `--set section.key=value`. `gridcast config --print` shows
each one in effect and where it came from, `gridcast config --check FILE` says what is wrong with a
file. SIGHUP reads file and environment again; what is marked `restart` changes only with one.

The same as a file to begin with: [`engine/gridcast.toml`](../engine/gridcast.toml).
";

#[test]
fn the_page_of_settings_is_that_of_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let expected = page();
    if std::env::var_os("UPDATE_SAMPLE").is_some() {
        fs::write(&path, &expected).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap();
    assert_eq!(page, expected, "UPDATE_SAMPLE=1 cargo test -p gridcast-engine writes it anew");
}

#[test]
fn the_metrics_on_the_page_are_those_that_are_served() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(&path).unwrap();
    let codes = page.split('`').skip(1).step_by(2);
    let names = codes.filter(|code| ["gridcast_", "process_"].iter().any(|p| code.starts_with(p)));
    let shown: BTreeSet<&str> = names.map(|code| code.split('{').next().unwrap()).collect();
    let scrape = http::get(&Server::start(&[]), "/metrics").body;
    let families = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let served: BTreeSet<&str> = families.map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(shown, served, "docs/operations.md, on the left");
}

#[test]
fn the_page_of_clients_has_each_behaviour_that_is_tried() {
    let page = file("docs/clients.md");
    let table: Value = serde_json::from_str(&file("engine/clients/behaviours.json")).unwrap();
    for row in table["rows"].as_array().unwrap() {
        let [name, what] = ["name", "what"].map(|key| row[key].as_str().unwrap());
        let javascript = if row["needs"].is_null() { "yes" } else { "browsers" };
        let [python, rust] = ["python", "rust"].map(|key| row[key].as_str().unwrap_or("yes"));
        let line = format!("| {name} | {what} | {javascript} | {python} | {rust} |");
        assert!(page.contains(&line), "docs/clients.md lacks the row {line}");
        let is_in = |word: String, path: &str| {
            assert!(file(path).contains(&word), "{name}: there is no `{word}` in {path}");
        };
        is_in(format!("  async {name}("), "engine/clients/js/test/table/rows.mjs");
        for (module, test) in tests_of(&row["python"]) {
            is_in(format!("def {test}("), &format!("engine/clients/python/tests/{module}.py"));
        }
        for (module, test) in tests_of(&row["rust"]) {
            is_in(format!("fn {test}("), &format!("engine/server/tests/client/{module}.rs"));
        }
    }
}

/// `module::test`, of each test of a row; none where it does not apply.
fn tests_of(names: &Value) -> Vec<(&str, &str)> {
    let names = names.as_array().map_or(&[][..], Vec::as_slice);
    names.iter().map(|name| name.as_str().unwrap().split_once("::").unwrap()).collect()
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn page() -> String {
    let printed = Settings::default().print();
    let mut defaults =
        printed.lines().filter(|line| line.contains(" = ") && !line.starts_with('#'));
    let (mut text, mut section) = (HEAD.to_owned(), "");
    for knob in KNOBS {
        if knob.section != section {
            add_rows(&mut text, section);
            section = knob.section;
            write!(text, "\n## {section}\n\n| setting | default | values | what |\n").unwrap();
            text.push_str("|---|---|---|---|\n");
        }
        let (key, default) = defaults.next().unwrap().split_once(" = ").unwrap();
        assert_eq!(key, knob.key);
        add_row(&mut text, knob, default);
    }
    add_rows(&mut text, section);
    text
}

fn add_row(text: &mut String, knob: &Knob, default: &str) {
    let (key, values) = (knob.key, knob.kind.to_string().replace('|', "or"));
    let restart = if restart::is_needed(&knob.name()) { "; restart" } else { "" };
    writeln!(text, "| `{key}` | `{default}` | {values}{restart} | {} |", knob.reason).unwrap();
}

/// The tables of a section that a file may hold any number of times.
fn add_rows(text: &mut String, section: &str) {
    for rows in ROWS.iter().filter(|rows| rows.section == section) {
        let name = rows.name();
        write!(text, "\n### [[{name}]]\n\nAny number of these tables. ").unwrap();
        writeln!(text, "{}\n", inherited(rows)).unwrap();
        text.push_str("| key | values | what |\n|---|---|---|\n");
        for knob in rows.own {
            writeln!(text, "| `{}` | {} | {} |", knob.key, knob.kind, knob.reason).unwrap();
        }
    }
}

fn inherited(rows: &Rows) -> String {
    let keys: Vec<String> = rows.inherited.iter().map(|key| format!("`{key}`")).collect();
    format!("Beside its own keys each may say again, for itself: {}.", keys.join(", "))
}
