//! How the name of a message on one side becomes its name on the other. Owns the syntax of the
//! rules and what their wildcards catch. Must not know the separators of other systems: a kind
//! turns its names into segments with `/` first.

use serde::Deserialize;

/// One rule: names that match `from` become `to`.
///
/// `from` is a name in which `+` stands for one segment and a last `#` for the rest, which may be
/// empty. In `to`, `{1}` stands for what the first wildcard caught, `{2}` for the second.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Rule {
    from: Vec<String>,
    to: Vec<Part>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    from: String,
    to: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// What the wildcard of this index caught.
    Caught(usize),
}

/// Rules in order: the first that matches holds; where none does, names stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Mapping(Vec<Rule>);

impl Mapping {
    /// The name on the other side.
    #[must_use]
    pub fn map(&self, name: &str) -> String {
        self.0.iter().find_map(|rule| rule.map(name)).unwrap_or_else(|| name.to_owned())
    }
}

impl TryFrom<Written> for Rule {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let from: Vec<String> = written.from.split('/').map(str::to_owned).collect();
        if let Some(at) = from.iter().position(|segment| segment == "#")
            && at + 1 < from.len()
        {
            return Err(format!(
                "from = \"{}\": `#` stands in the last segment only",
                written.from
            ));
        }
        let wildcards = from.iter().filter(|segment| is_wildcard(segment)).count();
        Ok(Self { to: parts(&written.to, wildcards)?, from })
    }
}

impl Rule {
    /// A rule as it is written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(from: &str, to: &str) -> Result<Self, String> {
        Self::try_from(Written { from: from.to_owned(), to: to.to_owned() })
    }

    /// The name on the other side; none where the rule does not match.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<String> {
        let caught = self.caught(name)?;
        let mut text = String::new();
        for part in &self.to {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Caught(index) => text.push_str(caught.get(*index)?),
            }
        }
        // A rest that caught nothing leaves a separator behind.
        Some(text.trim_end_matches('/').to_owned())
    }

    /// What each wildcard caught; none where the name does not match.
    fn caught<'a>(&self, name: &'a str) -> Option<Vec<&'a str>> {
        let mut caught = Vec::new();
        let mut rest = Some(name);
        for wanted in &self.from {
            if wanted == "#" {
                caught.push(rest.unwrap_or_default());
                return Some(caught);
            }
            let (segment, after) = match rest?.split_once('/') {
                Some((segment, after)) => (segment, Some(after)),
                None => (rest?, None),
            };
            match wanted.as_str() {
                "+" => caught.push(segment),
                wanted if wanted == segment => {}
                _ => return None,
            }
            rest = after;
        }
        rest.is_none().then_some(caught)
    }
}

fn is_wildcard(segment: &str) -> bool {
    matches!(segment, "+" | "#")
}

/// The parts of a `to`, whose rule has so many wildcards.
fn parts(to: &str, wildcards: usize) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = to;
    while let Some((text, after)) = rest.split_once('{') {
        let wrong = || format!("to = \"{to}\": write {{1}} to {{{wildcards}}} for what was caught");
        let (number, after) = after.split_once('}').ok_or_else(wrong)?;
        let number: usize = number.parse().map_err(|_| wrong())?;
        if number == 0 || number > wildcards {
            return Err(wrong());
        }
        parts.push(Part::Text(text.to_owned()));
        parts.push(Part::Caught(number - 1));
        rest = after;
    }
    parts.push(Part::Text(rest.to_owned()));
    Ok(parts)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a failed step ends its test
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_caught_in_their_order() {
        for (from, to, name, expected) in [
            ("a/b", "c", "a/b", Some("c")),
            ("a/b", "c", "a/b/c", None),
            ("a/b/c", "c", "a/b", None),
            ("sites/+/meters/+", "meters/{2}/of/{1}", "sites/x/meters/7", Some("meters/7/of/x")),
            ("sites/#", "plant/{1}", "sites/a/b", Some("plant/a/b")),
            ("sites/#", "plant/{1}", "sites", Some("plant")),
            ("#", "all/{1}", "a/b", Some("all/a/b")),
            ("+/#", "{2}", "a/b/c", Some("b/c")),
            ("+", "{1}{1}", "a", Some("aa")),
        ] {
            let mapped = Rule::new(from, to).unwrap().map(name);
            assert_eq!(mapped.as_deref(), expected, "{from} -> {to}: {name}");
        }
    }

    #[test]
    fn wrong_rules_are_refused_in_words() {
        for (from, to, part) in [
            ("#/a", "b", "last segment only"),
            ("a/+", "b/{2}", "write {1} to {1}"),
            ("a/+", "b/{0}", "write {1} to {1}"),
            ("a/+", "b/{x}", "write {1} to {1}"),
            ("a/+", "b/{1", "write {1} to {1}"),
        ] {
            let error = Rule::new(from, to).unwrap_err();
            assert!(error.contains(part), "{from} -> {to}: {error}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_holds_and_else_names_stay() {
        let mapping =
            Mapping(vec![Rule::new("a/#", "x/{1}").unwrap(), Rule::new("#", "y/{1}").unwrap()]);
        assert_eq!(mapping.map("a/1"), "x/1");
        assert_eq!(mapping.map("b"), "y/b");
        assert_eq!(Mapping::default().map("b"), "b");
    }
}
