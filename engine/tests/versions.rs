//! One version for all: programs, client libraries, packages, chart and descriptions; and the form
//! of the changelog. Owns where each stands. Must not say which version that is.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

use std::fs;
use std::path::Path;

/// What a version stands behind, in each file that holds one.
const PLACES: [(&str, &str); 9] = [
    ("Cargo.toml", "version = \""),
    ("engine/clients/js/package.json", "  \"version\": \""),
    ("engine/clients/python/pyproject.toml", "version = \""),
    ("engine/packages/helm/gridcast/Chart.yaml", "version: "),
    ("engine/packages/helm/gridcast/Chart.yaml", "appVersion: "),
    ("engine/packages/maintainer/changelog.yaml", "- semver: "),
    ("engine/api/openapi.yaml", "  version: "),
    ("engine/api/asyncapi.yaml", "  version: "),
    ("docs/install.md", "apt install /tmp/gridcast/gridcast_"),
];

/// Of Keep a Changelog 1.1.0.
const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];

fn read(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The first version behind `start` at the beginning of a line.
fn version_in(path: &str, start: &str) -> String {
    let text = read(path);
    let rest = text.lines().find_map(|line| line.strip_prefix(start));
    let rest = rest.unwrap_or_else(|| panic!("{path} has no line that starts with {start:?}"));
    let is_of_version = |c: &char| c.is_ascii_digit() || *c == '.';
    rest.chars().take_while(is_of_version).collect()
}

#[test]
fn every_part_has_the_version_of_the_engine() {
    for (path, start) in PLACES {
        assert_eq!(version_in(path, start), env!("CARGO_PKG_VERSION"), "{path}, after {start:?}");
    }
}

#[test]
fn the_changelog_has_the_form_it_says_and_names_the_version() {
    let text = read("CHANGELOG.md");
    assert!(text.starts_with("# Changelog\n"));
    let releases: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("## ")).collect();
    assert_eq!(releases.first(), Some(&"[Unreleased]"), "what is not released comes first");
    for release in &releases[1..] {
        let (version, day) = release.split_once(" - ").expect("`## [version] - day`");
        assert!(version.starts_with('[') && version.ends_with(']'), "{release}");
        assert!(day.len() == 10 && day.split('-').count() == 3, "{release}: a day is 2026-11-30");
    }
    for kind in text.lines().filter_map(|line| line.strip_prefix("### ")) {
        assert!(KINDS.contains(&kind), "`### {kind}`: none of {KINDS:?}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let released = format!("[{version}] - ");
    let is_named = text.contains(&format!("This will be {version},"))
        || releases.iter().any(|release| release.starts_with(&released));
    assert!(is_named, "{version} is neither released nor the next");
}
