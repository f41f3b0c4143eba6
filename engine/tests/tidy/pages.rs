//! The documents as a book: each page of docs/ is in its summary, and each relative link leads to a
//! file that exists, and to a heading in it. Must not judge what a page says.

use std::fs;
use std::path::{Path, PathBuf};

use crate::source::root;

#[test]
fn the_summary_has_every_page_of_the_book() {
    let docs = root().join("docs");
    let mut pages: Vec<String> = pages_in(&docs)
        .iter()
        .map(|path| path.strip_prefix(&docs).unwrap().to_string_lossy().into())
        .collect();
    pages.retain(|page| page != "SUMMARY.md");
    let mut listed = links(&fs::read_to_string(docs.join("SUMMARY.md")).unwrap());
    pages.sort();
    listed.sort();
    assert_eq!(listed, pages, "docs/SUMMARY.md, on the left");
}

#[test]
fn every_link_leads_somewhere() {
    let root = root();
    let pages = [files_in(&root).0, pages_in(&root.join("docs"))].concat();
    assert!(pages.len() > 10, "the documents were not found");
    let dead: Vec<String> = pages.iter().flat_map(|page| dead_links(page)).collect();
    assert!(dead.is_empty(), "links that lead nowhere:\n{}", dead.join("\n"));
}

#[test]
fn a_dead_link_is_found() {
    let directory = std::env::temp_dir().join(format!("pages-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let page = directory.join("page.md");
    let text = "# A `page`, of-two\n[a](#a-page-of-two) [b](page.md#a-page-of-two) [c](http://c/)\n\
                [d](#no) [e](none.md) [f](page.md#no)\n```sh\n[g](none)\n# no\n```\n`[h](none)`\n";
    fs::write(&page, text).unwrap();
    let dead = dead_links(&page);
    fs::remove_dir_all(&directory).unwrap();
    let targets: Vec<_> = dead.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(targets, ["#no", "none.md", "page.md#no"]);
}

/// The Markdown files of a folder and of those in it.
fn pages_in(folder: &Path) -> Vec<PathBuf> {
    let (mut pages, folders) = files_in(folder);
    pages.extend(folders.iter().flat_map(|folder| pages_in(folder)));
    pages
}

/// The Markdown files of a folder, and its folders.
fn files_in(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let is_page = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "md");
    (files.into_iter().filter(is_page).collect(), folders)
}

/// The links of a page that lead nowhere, each with the page.
fn dead_links(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let is_dead = |link: &String| {
        let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
        let target = match path {
            "" => page.to_owned(),
            path => page.parent().unwrap().join(path),
        };
        let has_heading =
            || fs::read_to_string(&target).is_ok_and(|text| anchors(&text).any(|a| a == anchor));
        !target.exists() || !(anchor.is_empty() || has_heading())
    };
    let relative = links(&text).into_iter().filter(|link| !link.contains(':'));
    relative.filter(is_dead).map(|link| format!("{}: {link}", page.display())).collect()
}

/// The targets of the links in a page, those in code left out.
fn links(text: &str) -> Vec<String> {
    let mut links = Vec::new();
    for line in prose(text) {
        let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let targets = plain.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        links.extend(targets.map(|(target, _)| target.to_owned()));
    }
    links
}

/// The names by which the headings of a page are linked to, as GitHub and mdBook make them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    prose(text).filter_map(|line| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').strip_prefix(' ')?;
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
    })
}

/// The lines of a page outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}
