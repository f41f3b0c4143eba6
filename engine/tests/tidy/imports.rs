//! Imports: which file takes something from which, that none runs in a circle, and that all run
//! down the layers of [`CRATES`]. Must not judge what else a file does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::source::{Source, Token, sources};

/// A crate, and the order of its layers.
struct Layers {
    /// Where its files are.
    src: &'static str,
    /// The lowest first, as beginnings of paths; the longest that fits a file counts. Within a
    /// layer imports may run to any file, but not round.
    layers: &'static [&'static [&'static str]],
}

const ENGINE: Layers = Layers {
    src: "engine/src/",
    layers: &[
        // What has no meaning of its own.
        &["clock.rs", "sync.rs", "settings/nearest.rs"],
        // Words: what a feed and a client say, as values and as bytes.
        &[
            "frame/",
            "wire/",
            "feed/epoch.rs",
            "feed/gap.rs",
            "feed/kind.rs",
            "feed/message.rs",
            "feed/options.rs",
            "feed/source.rs",
            "feed/topic.rs",
        ],
        &["settings/"],
        // A feed rings the doorbell that cores listen to.
        &["feed/", "delivery/doorbell.rs"],
        &["delivery/"],
        &["net/", "http/", "auth/", "limits/", "metrics/"],
        &["core/"],
        &["engine/"],
        &["status.rs"],
        &["cli.rs"],
        &["lib.rs", "main.rs"],
    ],
};

const CLIENT: Layers = Layers {
    src: "engine/clients/rust/src/",
    layers: &[
        &["clock.rs", "error.rs"],
        &["items.rs"],
        &["options.rs", "wire/"],
        &["link/"],
        &["work/"],
        &["subscription.rs"],
        &["client.rs"],
        &["lib.rs"],
    ],
};

const CONNECTORS: Layers = Layers {
    src: "engine/connectors/src/",
    layers: &[
        &["table.rs"],
        &["bridge/"],
        // What several kinds do alike.
        &["outbox.rs", "store/"],
        // Each kind by itself: none knows another.
        &[
            "aggregate/",
            "amqp/",
            "backplane/",
            "c37118/",
            "gridcast/",
            "influx/",
            "kafka/",
            "mqtt/",
            "nats/",
            "postgres/",
            "redis/",
        ],
        // Reads the instants of frames, and of messages made of them.
        &["align/"],
        &["kinds.rs"],
        &["started.rs"],
        &["lib.rs"],
    ],
};

const LOADGEN: Layers = Layers {
    src: "loadgen/src/",
    layers: &[
        &["time/"],
        &["os/"],
        // What is on the wire has names of its own, and a scenario is written in them.
        &["codec/"],
        &["scenario/"],
        &["plan/"],
        &["receive/", "observe/"],
        &["drive/", "server/"],
        &["judge/"],
        &["result/"],
        &["report/"],
        &["agents/", "capacity/", "cli/", "compare/", "doctor/", "replay/", "selftest/"],
        &["lib.rs", "main.rs", "fixtures.rs"],
    ],
};

/// The crates, each with its layers from the lowest up.
const CRATES: [Layers; 4] = [ENGINE, CLIENT, CONNECTORS, LOADGEN];

#[test]
fn imports_run_down_the_layers_and_never_round() {
    let sources = sources();
    let mut report = String::new();
    for layers in CRATES {
        let house = House::new(&layers, &sources);
        assert!(house.files.len() > 5, "the sources of {} were not found", layers.src);
        for fault in house.faults() {
            writeln!(report, "{fault}").unwrap();
        }
    }
    assert!(report.is_empty(), "imports (ARCHITECTURE.md, the layers):\n{report}");
}

#[test]
fn every_way_to_name_a_file_is_seen() {
    for text in [
        "use crate::core::wheel::Tick;",
        "use crate::core::{conn::Conn, wheel::{self, Tick}};",
        "use super::wheel;",
        "use super::{wheel as clockwork};",
        "fn f() -> super::wheel::Tick { 0 }",
        "fn f() { crate::core::wheel::tick_of_ms(1); }",
        "use self::inner::A; use super::super::core::wheel::Tick;",
    ] {
        let made = made(&[("core/accept.rs", text), ("core/wheel.rs", ""), ("core/conn.rs", "")]);
        let house = House::new(&ENGINE, &made);
        let named: Vec<&str> = house.imports.iter().map(|import| import.to).collect();
        assert!(named.contains(&"core/wheel.rs"), "{text}: {named:?}");
    }
    // A child that a file declares, without `self::`.
    let made = made(&[("core/mod.rs", "mod conn;\npub use conn::Conn;"), ("core/conn.rs", "")]);
    assert_eq!(House::new(&ENGINE, &made).imports.len(), 1);
}

#[test]
fn a_circle_made_on_purpose_is_found() {
    let round = [
        ("feed/lane.rs", "use crate::feed::log::Feed;"),
        ("feed/log.rs", "fn f() -> super::held::Held { g() }"),
        ("feed/held.rs", "use crate::feed::{lane, segment::Segment};"),
        ("feed/segment.rs", ""),
    ];
    let faults = House::new(&ENGINE, &made(&round)).faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    for file in ["feed/lane.rs:1", "feed/log.rs:1", "feed/held.rs:1"] {
        assert!(faults[0].contains(file), "{faults:?}");
    }
    assert!(!faults[0].contains("segment"), "{faults:?}");
    let good = [round[0], round[1], ("feed/held.rs", "use crate::feed::segment;"), round[3]];
    assert!(House::new(&ENGINE, &made(&good)).faults().is_empty());
}

#[test]
fn an_import_that_runs_up_is_found_and_a_file_of_no_layer_as_well() {
    let faults = |files: &[(&str, &str)]| House::new(&ENGINE, &made(files)).faults();
    let core = ("core/mod.rs", "");
    assert_eq!(
        faults(&[core, ("feed/log.rs", "\nuse crate::core::Core;")]),
        ["engine/src/feed/log.rs:2: imports core/mod.rs, which is of a higher layer"]
    );
    let in_test = ("feed/log.rs", "mod tests {\n    use crate::core::Core;\n}");
    assert!(faults(&[core, ("engine/mod.rs", "use crate::core::Core;"), in_test]).is_empty());
    let stray = "engine/src/stray.rs: belongs to no layer of `imports.rs`";
    assert_eq!(faults(&[("stray.rs", "")]), [stray]);
}

/// Files of the engine, made up.
fn made(files: &[(&str, &str)]) -> Vec<Source> {
    let full = |path: &str| format!("{}{path}", ENGINE.src);
    files.iter().map(|(path, text)| Source::new(&full(path), (*text).to_owned())).collect()
}

/// The files of a crate and what they import of one another.
struct House<'a> {
    layers: &'a Layers,
    /// Paths below `src`, by the path of the module.
    files: BTreeMap<Vec<&'a str>, &'a str>,
    imports: Vec<Import<'a>>,
}

/// One file takes something from another.
#[derive(Clone, Copy, Debug)]
struct Import<'a> {
    from: &'a str,
    line: usize,
    to: &'a str,
}

impl<'a> House<'a> {
    fn new(layers: &'a Layers, sources: &'a [Source]) -> Self {
        let own = |source: &'a Source| Some((source.path.strip_prefix(layers.src)?, source));
        let own: Vec<_> = sources.iter().filter_map(own).collect();
        // A program is a crate of its own, which names the library by its name.
        let modules = own.iter().filter(|(path, source)| *path != "main.rs" && !source.is_test(1));
        let files = modules.clone().map(|(path, _)| (module_of(path), *path)).collect();
        let mut house = Self { layers, files, imports: Vec::new() };
        for (path, source) in modules {
            house.add_imports_of(path, source);
        }
        house
    }

    fn add_imports_of(&mut self, from: &'a str, source: &'a Source) {
        for (module, line) in Paths::of(module_of(from), source) {
            let to = (0..=module.len()).rev().find_map(|len| self.files.get(&module[..len]));
            if let Some(&to) = to.filter(|to| **to != from) {
                self.imports.push(Import { from, line, to });
            }
        }
    }

    /// Everything that is wrong, as lines to print.
    fn faults(&self) -> Vec<String> {
        let src = self.layers.src;
        let mut faults = Vec::new();
        for path in self.files.values().filter(|path| self.layer_of(path).is_none()) {
            faults.push(format!("{src}{path}: belongs to no layer of `imports.rs`"));
        }
        for Import { from, line, to } in &self.imports {
            if self.layer_of(from) < self.layer_of(to) {
                let text = format!("{src}{from}:{line}: imports {to}, which is of a higher layer");
                faults.push(text);
            }
        }
        faults.extend(self.circles().iter().map(|circle| self.tell_circle(circle)));
        faults
    }

    fn layer_of(&self, path: &str) -> Option<usize> {
        let layers = self.layers.layers.iter().enumerate();
        let fitting = layers.flat_map(|(rank, starts)| {
            starts.iter().filter(|start| path.starts_with(**start)).map(move |s| (s.len(), rank))
        });
        fitting.max().map(|(_, rank)| rank)
    }

    /// Files that reach one another, each set once.
    fn circles(&self) -> BTreeSet<BTreeSet<&'a str>> {
        let reached: BTreeMap<&str, BTreeSet<&str>> =
            self.files.values().map(|file| (*file, self.reached_from(file))).collect();
        let round = self.files.values().filter(|file| reached[**file].contains(**file));
        round
            .map(|file| {
                let others = reached[file].iter().copied();
                others.filter(|other| reached[other].contains(file)).collect()
            })
            .collect()
    }

    fn reached_from(&self, file: &'a str) -> BTreeSet<&'a str> {
        let mut reached = BTreeSet::new();
        let mut open = vec![file];
        while let Some(at) = open.pop() {
            let next = self.imports.iter().filter(|import| import.from == at);
            open.extend(next.map(|import| import.to).filter(|to| reached.insert(*to)));
        }
        reached
    }

    fn tell_circle(&self, circle: &BTreeSet<&str>) -> String {
        let within =
            self.imports.iter().filter(|i| circle.contains(i.from) && circle.contains(i.to));
        within.fold("imports run round:".to_owned(), |told, Import { from, line, to }| {
            format!("{told}\n    {}{from}:{line} imports {to}", self.layers.src)
        })
    }
}

/// The path of the module that a file holds.
fn module_of(path: &str) -> Vec<&str> {
    let mut names: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if matches!(names.last(), Some(&("mod" | "lib"))) {
        names.pop();
    }
    names
}

/// The paths of modules and items that a file names, outside tests, each with its line.
struct Paths<'a> {
    /// Where the file is.
    module: Vec<&'a str>,
    tokens: &'a [Token],
    found: Vec<(Vec<&'a str>, usize)>,
}

impl<'a> Paths<'a> {
    fn of(module: Vec<&'a str>, source: &'a Source) -> Vec<(Vec<&'a str>, usize)> {
        let mut paths = Self { module, tokens: &source.tokens, found: Vec::new() };
        let children: Vec<&str> = source
            .positions(&["mod"])
            .filter(|at| paths.text(at + 2) == ";")
            .map(|at| paths.text(at + 1))
            .collect();
        for at in 0..source.tokens.len() {
            let first = paths.text(at);
            let begins = matches!(first, "crate" | "super" | "self") || children.contains(&first);
            let goes_on = at >= 1 && paths.text(at - 1) == ":";
            if begins
                && !goes_on
                && paths.is_joint(at + 1)
                && !source.is_test(source.tokens[at].line)
            {
                paths.take(at, &paths.module.clone());
            }
        }
        paths.found
    }

    fn text(&self, at: usize) -> &'a str {
        self.tokens.get(at).map_or("", |token| token.text.as_str())
    }

    fn is_joint(&self, at: usize) -> bool {
        (self.text(at), self.text(at + 1)) == (":", ":")
    }

    /// Takes in the path at a token, relative to `base`, and all that its braces hold. Answers the
    /// token behind it.
    fn take(&mut self, mut at: usize, base: &[&'a str]) -> usize {
        let line = self.tokens[at].line;
        let mut path = base.to_vec();
        loop {
            match self.text(at) {
                "{" => return self.take_braces(at + 1, &path),
                "crate" => path.clear(),
                "super" => drop(path.pop()),
                "self" | "*" => {}
                name => path.push(name),
            }
            if !self.is_joint(at + 1) {
                self.found.push((path, line));
                return at + 1;
            }
            at += 3;
        }
    }

    fn take_braces(&mut self, mut at: usize, base: &[&'a str]) -> usize {
        while !matches!(self.text(at), "}" | "") {
            at = match self.text(at) {
                "," => at + 1,
                "as" => at + 2,
                _ => self.take(at, base),
            };
        }
        at + 1
    }
}
