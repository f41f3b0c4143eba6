//! Source files as the rules see them: text, tokens, and which lines are tests. Must not judge
//! them.

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// A source file, with its tokens.
pub(crate) struct Source {
    /// Its place in the workspace.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) tokens: Vec<Token>,
    /// The lines of its `mod tests`; all of them where the whole file is a test.
    tests: Option<RangeInclusive<usize>>,
}

pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Source {
    pub(crate) fn new(path: &str, text: String) -> Self {
        let stream = text.parse().unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut tokens = Vec::new();
        flatten(stream, &mut tokens);
        let mut source = Self { path: path.to_owned(), text, tokens, tests: None };
        source.tests = source.test_lines();
        source
    }

    fn test_lines(&self) -> Option<RangeInclusive<usize>> {
        let at = self.positions(&["mod", "tests", "{"]).next()?;
        let end = self.closing(at + 2);
        Some(self.tokens[at].line..=end)
    }

    /// Lines of each function outside tests, from its signature to its closing brace.
    pub(crate) fn functions(&self) -> Vec<RangeInclusive<usize>> {
        let all = self.all_functions().into_iter();
        all.filter(|function| !self.is_test(*function.start())).collect()
    }

    pub(crate) fn all_functions(&self) -> Vec<RangeInclusive<usize>> {
        let is_named = |at: usize| {
            let name = self.tokens.get(at + 1).and_then(|token| token.text.chars().next());
            name.is_some_and(|first| first.is_alphabetic() || first == '_')
        };
        let starts = self.positions(&["fn"]).filter(|&at| is_named(at));
        starts.filter_map(|at| Some(self.tokens[at].line..=self.closing(self.body(at)?))).collect()
    }

    /// The opening brace of the function at a token, if it has a body.
    fn body(&self, function: usize) -> Option<usize> {
        let mut depth = 0;
        for (at, token) in self.tokens.iter().enumerate().skip(function) {
            match token.text.as_str() {
                "(" | "[" => depth += 1,
                ")" | "]" => depth -= 1,
                "{" if depth == 0 => return Some(at),
                ";" if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// The line of the brace that closes the one at a token.
    fn closing(&self, opening: usize) -> usize {
        let mut depth = 0;
        for token in &self.tokens[opening..] {
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return token.line;
            }
        }
        unreachable!("the tokens of a file that was parsed are balanced")
    }

    /// Where a sequence of tokens begins.
    pub(crate) fn positions<'a>(
        &'a self,
        sequence: &'a [&str],
    ) -> impl Iterator<Item = usize> + 'a {
        let windows = self.tokens.windows(sequence.len()).enumerate();
        windows
            .filter(|(_, window)| {
                window.iter().map(|token| token.text.as_str()).eq(sequence.iter().copied())
            })
            .map(|(at, _)| at)
    }

    /// The lines on which a sequence of tokens begins.
    pub(crate) fn find(&self, sequence: &[&str]) -> Vec<usize> {
        self.positions(sequence).map(|at| self.tokens[at].line).collect()
    }

    /// The lines outside tests on which one of the sequences begins.
    pub(crate) fn code_with(&self, sequences: &[&[&str]]) -> Vec<usize> {
        let lines = sequences.iter().flat_map(|sequence| self.find(sequence));
        lines.filter(|&line| !self.is_test(line)).collect()
    }

    pub(crate) fn is_test(&self, line: usize) -> bool {
        self.tests.as_ref().is_some_and(|tests| tests.contains(&line))
    }

    pub(crate) fn lines_where(&self, is_broken: impl Fn(&str) -> bool) -> Vec<usize> {
        let lines = self.text.lines().enumerate();
        lines.filter(|(_, line)| is_broken(line)).map(|(at, _)| at + 1).collect()
    }

    /// A line by its number; empty beyond the ends.
    pub(crate) fn line(&self, number: usize) -> &str {
        number.checked_sub(1).and_then(|at| self.text.lines().nth(at)).unwrap_or_default()
    }

    /// The comment above the statement that a line belongs to.
    pub(crate) fn comment_before(&self, line: usize) -> String {
        let above = || (1..line).rev().map(|number| self.line(number));
        let statement = above().take_while(|text| !is_comment(text) && !ends(text)).count();
        above().skip(statement).take_while(|text| is_comment(text)).collect()
    }
}

/// Whether a statement ends, or a block begins, with this line.
fn ends(line: &str) -> bool {
    line.is_empty() || line.ends_with([';', '{', '}'])
}

/// All tokens in order, delimiters among them.
fn flatten(stream: TokenStream, tokens: &mut Vec<Token>) {
    for tree in stream {
        let line = tree.span().start().line;
        match tree {
            TokenTree::Group(group) => flatten_group(&group, tokens),
            other => tokens.push(Token { text: other.to_string(), line }),
        }
    }
}

fn flatten_group(group: &Group, tokens: &mut Vec<Token>) {
    let (open, close) = match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => ("", ""),
    };
    tokens.push(Token { text: open.to_owned(), line: group.span_open().start().line });
    flatten(group.stream(), tokens);
    tokens.push(Token { text: close.to_owned(), line: group.span_close().start().line });
}

/// Every source file of the workspace, in the order of their paths.
pub(crate) fn sources() -> Vec<Source> {
    let mut paths = Vec::new();
    collect(&root(), &mut paths);
    paths.sort_unstable();
    let mut sources: Vec<Source> = paths.iter().map(|path| read(path)).collect();
    assert!(sources.len() > 50, "the sources of the workspace were not found");
    let tests: Vec<String> = sources.iter().flat_map(test_modules).collect();
    for source in &mut sources {
        if source.path.contains("/tests/") || tests.contains(&source.path) {
            source.tests = Some(1..=usize::MAX);
        }
    }
    sources
}

/// Asked at run time: a test built for another clone, in a target directory that both share, would
/// check that one.
pub(crate) fn root() -> PathBuf {
    let engine = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs this test");
    Path::new(&engine).parent().expect("the engine has a workspace").to_owned()
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            collect(&path, paths);
        } else if name.ends_with(".rs") {
            paths.push(path);
        }
    }
}

fn read(path: &Path) -> Source {
    let name = path.strip_prefix(root()).unwrap().to_str().expect("paths are text");
    Source::new(name, fs::read_to_string(path).unwrap())
}

/// The files that a file declares under `#[cfg(test)]`.
fn test_modules(source: &Source) -> Vec<String> {
    let declaration = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    let directory = source.path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let names = source.positions(&declaration).map(|at| &source.tokens[at + declaration.len()]);
    names.map(|name| format!("{directory}/{}.rs", name.text)).collect()
}

/// A comment for the reader of the code, not of its documentation.
pub(crate) fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("// ")
}
