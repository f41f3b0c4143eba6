//! The house rules as tests: every rule of style is a row of [`RULES`], with an example that breaks
//! it and one that keeps it, and is held against every source file of the workspace. Must not judge
//! what the compiler, clippy or rustfmt judge already.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod imports;
mod pages;
mod source;

use source::{Source, is_comment, root, sources};
use std::fmt::Write as _;
use std::fs;

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FUNCTION_LINES_MEDIAN_MAX: usize = 8;
const FUNCTION_LINES_P90_MAX: usize = 25;
const FILE_LINES_MAX: usize = 600;
/// Files beside folders in the root of a crate.
const ROOT_FILES_MAX: usize = 8;

/// Where memory safety and system calls without a safe wrapper are argued by hand.
const UNSAFE_FILES: [&str; 4] = [
    "engine/src/feed/segment.rs",
    "engine/src/net/socket.rs",
    "loadgen/src/os/socket.rs",
    "benches/src/bin/floor.rs",
];
/// Programs without a `clock.rs`: the kernel floor shares no code with what it is held against.
const CLOCK_FILES: [&str; 4] = [
    "engine/src/clock.rs",
    "engine/clients/rust/src/clock.rs",
    "loadgen/src/time/clock.rs",
    "benches/src/bin/floor.rs",
];
/// What is handed bytes and nanoseconds, and so can be simulated.
const PURE_PATHS: [&str; 10] = [
    "engine/src/auth/",
    "engine/src/frame/",
    "engine/src/feed/",
    "engine/src/http/",
    "engine/src/limits/rate.rs",
    "engine/src/wire/",
    "engine/src/delivery/flush.rs",
    "engine/src/delivery/outbox.rs",
    "engine/src/delivery/subscriptions.rs",
    "engine/src/delivery/sweep.rs",
];
/// What reaches sockets and clocks only through the backend, and so can be simulated as well.
const BACKED_PATHS: [&str; 3] =
    ["engine/src/core/", "engine/src/net/transport.rs", "engine/src/net/tls/session.rs"];
/// The one file of the load generator that knows the engine: it starts it, and measures nothing.
const EMBEDDING_FILE: &str = "loadgen/src/server/embedded.rs";
/// Notes to oneself; split so that this file does not hold them.
const NOTES: [&str; 3] = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("X", "XX")];

/// A rule that a file keeps or breaks.
struct Rule {
    name: &'static str,
    /// What to do about it.
    remedy: &'static str,
    /// The lines of a file that break it.
    broken: fn(&Source) -> Vec<usize>,
    /// A file that breaks it in one line, as path and text; `%` stands for 40 empty lines.
    bad: (&'static str, &'static str),
    /// The same file put right.
    good: (&'static str, &'static str),
}

const RULES: [Rule; 13] = [
    Rule {
        name: "at most 100 columns",
        remedy: "break the line, or say it shorter",
        broken: wide_lines,
        bad: (
            "a.rs",
            "//! Far longer than a line may be, for somebody who reads two files side by side on a \
             laptop would see less.",
        ),
        good: ("a.rs", "//! Short."),
    },
    Rule {
        name: "every file opens with a header",
        remedy: "open the file with `//!`: what it owns, and what it must not do",
        broken: missing_header,
        bad: ("a.rs", "fn f() {}"),
        good: ("a.rs", "//! Owns f.\nfn f() {}"),
    },
    Rule {
        name: "functions of at most 70 lines",
        remedy: "find the parts that have a name of their own and make them functions",
        broken: long_functions,
        bad: ("a.rs", "fn f() {%%}"),
        good: ("a.rs", "fn f() {%}"),
    },
    Rule {
        name: "files of at most 600 lines without tests",
        remedy: "find the second noun in the file and give it a file of its own",
        broken: long_file,
        bad: ("a.rs", "fn f() {}%%%%%%%%%%%%%%%%"),
        good: ("a.rs", "mod tests {%%%%%%%%%%%%%%%%}"),
    },
    Rule {
        name: "`unsafe` in few files",
        remedy: "use a safe wrapper, or move it to one of UNSAFE_FILES",
        broken: scattered_unsafe,
        bad: ("engine/src/core.rs", "fn f() {\n    // SAFETY: g is.\n    unsafe { g() }\n}"),
        good: ("engine/src/net/socket.rs", "fn f() {\n    // SAFETY: g is.\n    unsafe { g() }\n}"),
    },
    Rule {
        name: "every `unsafe` is argued",
        remedy: "name the invariant it rests on in a `// SAFETY:` comment above",
        broken: unargued_unsafe,
        bad: ("engine/src/net/socket.rs", "fn f() {\n    unsafe { g() }\n}"),
        good: ("engine/src/net/socket.rs", "fn f() {\n    // SAFETY: g is.\n    unsafe { g() }\n}"),
    },
    Rule {
        name: "no notes to oneself",
        remedy: "do it now, or open an issue",
        broken: notes,
        bad: ("a.rs", concat!("// TO", "DO: soon")),
        good: ("a.rs", "// Done."),
    },
    Rule {
        name: "time is read in `clock.rs`",
        remedy: "take `now_ns` as an argument, or read the crate's clock",
        broken: clock_reads,
        bad: ("engine/src/core.rs", "fn f() {\n    g(Instant::now());\n}"),
        good: ("engine/src/core.rs", "fn f(now_ns: u64) {\n    g(now_ns);\n}"),
    },
    Rule {
        name: "pure files know no socket and no clock",
        remedy: "hand the bytes or the nanoseconds in from the shell",
        broken: impurities,
        bad: ("engine/src/delivery/flush.rs", "use std::net::TcpStream;"),
        good: ("engine/src/delivery/flush.rs", "use std::io::IoSlice;"),
    },
    Rule {
        name: "a core asks its backend for sockets and time",
        remedy: "add what is asked for to `net/backend.rs`, so that the simulation has it as well",
        broken: backend_passed_by,
        bad: ("engine/src/core/reading.rs", "use mio::Poll;"),
        good: ("engine/src/net/mio_backend.rs", "use mio::Poll;"),
    },
    Rule {
        name: "the load generator does not share the engine's code",
        remedy: "write the load generator's own: a shared error would not be seen",
        broken: shared_code,
        bad: ("loadgen/src/codec/wire.rs", "use gridcast::frame;"),
        good: ("loadgen/src/server/embedded.rs", "use gridcast::engine;"),
    },
    Rule {
        name: "what is thrown away is thrown away for a reason",
        remedy: "handle the result, or say on the line above `let _ =` why it does not matter",
        broken: silent_discards,
        bad: ("a.rs", "fn f() {\n    let _ = g();\n}"),
        good: ("a.rs", "fn f() {\n    // It may be gone.\n    let _ = g();\n    let _ = h();\n}"),
    },
    Rule {
        name: "every `allow` has a reason",
        remedy: "add `reason = \"…\"` or a comment, or do what the lint says",
        broken: bare_allows,
        bad: ("a.rs", "#[allow(dead_code)]\nfn f() {}"),
        good: ("a.rs", "#[allow(dead_code, reason = \"by tests\")]\nfn f() {}"),
    },
];

#[test]
fn every_file_keeps_every_rule() {
    let mut report = String::new();
    for source in sources() {
        for rule in &RULES {
            for line in (rule.broken)(&source) {
                let Rule { name, remedy, .. } = rule;
                writeln!(report, "{}:{line}: {name}: {remedy}", source.path).unwrap();
            }
        }
    }
    assert!(report.is_empty(), "the house rules (CONTRIBUTING.md) are broken:\n{report}");
}

#[test]
fn every_rule_tells_its_bad_example_from_its_good_one() {
    for Rule { name, broken, bad, good, .. } in RULES {
        let lines = |(path, text): (&str, &str)| {
            broken(&Source::new(path, text.replace('%', &"\n".repeat(40)))).len()
        };
        assert_eq!((lines(bad), lines(good)), (1, 0), "examples of: {name}");
    }
}

#[test]
fn functions_are_short_as_a_rule() {
    let sources = sources();
    for package in ["engine/src", "engine/clients/rust/src", "engine/connectors/src", "loadgen/src"]
    {
        let of_package = sources.iter().filter(|source| source.path.starts_with(package));
        let mut lengths: Vec<usize> = of_package
            .flat_map(|source| source.functions())
            .map(|function| function.end() - function.start() + 1)
            .collect();
        lengths.sort_unstable();
        let (median, p90) = (lengths[lengths.len() / 2], lengths[lengths.len() * 9 / 10]);
        assert!(
            median <= FUNCTION_LINES_MEDIAN_MAX && p90 <= FUNCTION_LINES_P90_MAX,
            "{package}: functions have a median of {median} lines (at most \
             {FUNCTION_LINES_MEDIAN_MAX}) and a 90th percentile of {p90} (at most \
             {FUNCTION_LINES_P90_MAX}): split the longest ones"
        );
    }
}

#[test]
fn roots_hold_few_files() {
    for package in ["engine/src", "engine/clients/rust/src", "engine/connectors/src", "loadgen/src"]
    {
        let entries = fs::read_dir(root().join(package)).unwrap();
        let files = entries.filter(|entry| entry.as_ref().unwrap().path().is_file()).count();
        assert!(
            files <= ROOT_FILES_MAX,
            "{package}: {files} files beside folders (at most {ROOT_FILES_MAX}): find the folder \
             that each belongs to"
        );
    }
}

#[test]
fn what_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> =
        text.split('`').skip(1).step_by(2).filter(|word| is_path(word)).collect();
    assert!(named.len() > 20, "the paths of ARCHITECTURE.md were not found");
    let places =
        ["", "engine/src", "engine/clients/rust/src", "engine/connectors/src", "loadgen/src"];
    let places = places.map(|place| root().join(place));
    for path in named {
        let is_there = places.iter().any(|place| place.join(path).exists());
        assert!(is_there, "ARCHITECTURE.md names `{path}`, which is no file or folder");
    }
}

/// Whether a word in backticks names a source file or a folder.
fn is_path(word: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-./".contains(&b);
    let names_file = word.ends_with(".rs") || word.ends_with('/') && !word.starts_with('/');
    names_file && word.bytes().all(is_plain)
}

#[test]
fn every_dependency_says_why_it_is_there() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let listed = section(&workspace, "[workspace.dependencies]");
    assert!(listed.len() > 10, "the list of dependencies was not found");
    for line in listed {
        assert!(line.contains(" # "), "Cargo.toml: say after `#` what this is needed for: {line}");
    }
    let packages = [
        "engine",
        "engine/clients/rust",
        "engine/connectors",
        "engine/server",
        "engine/tools",
        "loadgen",
        "benches",
    ];
    for package in packages {
        let manifest = fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap();
        for line in section(&manifest, "dependencies]") {
            assert!(
                line.contains("workspace = true"),
                "{package}/Cargo.toml: list it in the workspace, where its reason stands: {line}"
            );
        }
    }
}

/// The lines of all sections of a manifest whose heading ends with `heading`.
fn section<'a>(manifest: &'a str, heading: &str) -> Vec<&'a str> {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in manifest.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('[') {
            inside = line.ends_with(heading);
        } else if inside {
            lines.push(line);
        }
    }
    lines
}

fn wide_lines(source: &Source) -> Vec<usize> {
    source.lines_where(|line| line.chars().count() > COLUMNS_MAX)
}

fn missing_header(source: &Source) -> Vec<usize> {
    let opens_well = source.text.starts_with("//! ");
    if opens_well { Vec::new() } else { vec![1] }
}

fn long_functions(source: &Source) -> Vec<usize> {
    let functions = source.all_functions().into_iter();
    functions.filter(|f| f.end() - f.start() >= FUNCTION_LINES_MAX).map(|f| *f.start()).collect()
}

fn long_file(source: &Source) -> Vec<usize> {
    let lines = 1..=source.text.lines().count();
    lines.filter(|&line| !source.is_test(line)).skip(FILE_LINES_MAX).take(1).collect()
}

fn scattered_unsafe(source: &Source) -> Vec<usize> {
    let listed = UNSAFE_FILES.contains(&source.path.as_str());
    if listed { Vec::new() } else { source.find(&["unsafe"]) }
}

fn unargued_unsafe(source: &Source) -> Vec<usize> {
    let at = source.find(&["unsafe"]).into_iter();
    at.filter(|&line| !source.comment_before(line).contains("SAFETY:")).collect()
}

fn notes(source: &Source) -> Vec<usize> {
    source.lines_where(|line| NOTES.iter().any(|note| line.contains(note)))
}

fn clock_reads(source: &Source) -> Vec<usize> {
    if CLOCK_FILES.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let reads = [
        ["Instant", ":", ":", "now"].as_slice(),
        &["SystemTime", ":", ":", "now"],
        &["clock_gettime"],
    ];
    source.code_with(&reads)
}

fn impurities(source: &Source) -> Vec<usize> {
    if !PURE_PATHS.iter().any(|path| source.path.starts_with(path)) {
        return Vec::new();
    }
    source.code_with(&[&["mio"], &["net"], &["clock"], &["Instant"]])
}

fn backend_passed_by(source: &Source) -> Vec<usize> {
    if !BACKED_PATHS.iter().any(|path| source.path.starts_with(path)) {
        return Vec::new();
    }
    source.code_with(&[&["mio"], &["socket2"], &["TcpStream"], &["TcpListener"], &["clock"]])
}

fn shared_code(source: &Source) -> Vec<usize> {
    if !source.path.starts_with("loadgen/src/") || source.path == EMBEDDING_FILE {
        return Vec::new();
    }
    source.code_with(&[&["gridcast", ":", ":"]])
}

fn silent_discards(source: &Source) -> Vec<usize> {
    let discards = source.find(&["let", "_", "="]);
    let is_discard = |line: usize| source.line(line).trim_start().starts_with("let _ =");
    let is_explained = |line: usize| {
        let first = (1..=line).rev().take_while(|&above| is_discard(above)).last().unwrap_or(line);
        source.line(line).contains("// ") || is_comment(source.line(first - 1))
    };
    discards.into_iter().filter(|&line| !is_explained(line)).collect()
}

fn bare_allows(source: &Source) -> Vec<usize> {
    let mut allows = source.find(&["#", "[", "allow"]);
    allows.extend(source.find(&["#", "!", "[", "allow"]));
    let has_reason = |line: usize| {
        let text = source.line(line);
        text.contains("reason = ") || text.contains("// ") || is_comment(source.line(line - 1))
    };
    allows.into_iter().filter(|&line| !has_reason(line)).collect()
}
