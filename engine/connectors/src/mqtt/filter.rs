//! Topic filters and names of MQTT (section 4.7 of both versions). Owns what a filter matches and
//! which names may be sent. Must not know gridcast's own rules of topics.

/// Names and filters are at most this long.
const BYTES_MAX: usize = u16::MAX as usize;
/// What a filter begins with that several clients share the messages of.
const SHARE: &str = "$share/";

/// A valid filter of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter(String);

impl Filter {
    /// Checks `text`.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn new(text: &str) -> Result<Self, String> {
        let filter = Self(text.to_owned());
        if text.len() > BYTES_MAX || text.contains('\0') {
            return Err("a topic filter has at most 65,535 bytes and no NUL".to_owned());
        }
        if filter.levels().is_empty() || text.starts_with(SHARE) && filter.is_unshared() {
            return Err("a topic filter has at least one level: `plant/#`".to_owned());
        }
        let mut levels = filter.levels().split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            match level {
                "#" if is_last => {}
                "#" => return Err("`#` is the last level of a topic filter".to_owned()),
                "+" => {}
                level if level.contains(['+', '#']) => {
                    return Err("`+` and `#` stand alone in their level".to_owned());
                }
                _ => {}
            }
        }
        Ok(filter)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a subscription of one client, not of a group.
    pub fn is_unshared(&self) -> bool {
        self.levels().len() == self.0.len()
    }

    /// Whether a broker sends messages of `name` for it.
    pub fn matches(&self, name: &str) -> bool {
        let levels = self.levels();
        if name.starts_with('$') && levels.starts_with(['+', '#']) {
            return false;
        }
        let mut names = name.split('/');
        for level in levels.split('/') {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    /// Whether a name is matched by it and by `pattern`, another filter or a pattern of topics.
    pub fn overlaps(&self, pattern: &str) -> bool {
        let own: Vec<&str> = self.levels().split('/').collect();
        let other: Vec<&str> = pattern.split('/').collect();
        let is_hidden = |a: &str, b: &str| a.starts_with('$') && matches!(b, "+" | "#");
        !is_hidden(own[0], other[0]) && !is_hidden(other[0], own[0]) && meet(&own, &other)
    }

    /// What is matched: without the name of a group.
    fn levels(&self) -> &str {
        let shared = self.0.strip_prefix(SHARE).and_then(|rest| rest.split_once('/'));
        shared.map_or(&self.0, |(_, levels)| levels)
    }
}

/// Whether some list of levels is matched by both.
fn meet(one: &[&str], other: &[&str]) -> bool {
    match (one, other) {
        (["#"], _) | (_, ["#"]) | ([], []) => true,
        ([a, one @ ..], [b, other @ ..]) => (a == b || *a == "+" || *b == "+") && meet(one, other),
        _ => false,
    }
}

/// Whether a message may be sent to `name`.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= BYTES_MAX && !name.contains(['+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn filters_are_checked() {
        for good in ["#", "+", "a/#", "/a", "a//b", "+/b/+", "$SYS/#", "$share/g/a/+"] {
            assert!(Filter::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a/#/b", "a#", "a/b+", "a\0", "$share/g", "$share/g/"] {
            assert!(Filter::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_matches_as_a_broker_does() {
        for (filter, name, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/+", "a", false),
            ("a/+", "a/", true),
            ("+/+", "/a", true),
            ("+", "/a", false),
            ("#", "$SYS/x", false),
            ("$SYS/#", "$SYS/x", true),
            ("$share/g/a/+", "a/b", true),
            ("a/b", "a/b/c", false),
        ] {
            let matches = Filter::new(filter).unwrap().matches(name);
            assert_eq!(matches, expected, "{filter} on {name}");
        }
        assert!(!Filter::new("$share/g/a").unwrap().is_unshared());
        assert!(Filter::new("a/$share").unwrap().is_unshared());
    }

    #[test]
    fn overlaps_are_found() {
        for (filter, pattern, expected) in [
            ("a/#", "a/b", true),
            ("a/#", "a", true),
            ("a/+", "+/b", true),
            ("a/+/c", "a/b/#", true),
            ("a/+", "b/#", false),
            ("a", "a/b", false),
            ("#", "$sys/a", false),
            ("$share/g/a/#", "a/+", true),
        ] {
            assert_eq!(
                Filter::new(filter).unwrap().overlaps(pattern),
                expected,
                "{filter} {pattern}"
            );
        }
    }

    proptest! {
        #[test]
        fn what_both_match_is_an_overlap(
            filter in "([ab+]/){0,3}([ab+#])",
            pattern in "([ab+]/){0,3}([ab+#])",
            name in "([ab]/){0,4}[ab]",
        ) {
            let (one, other) = (Filter::new(&filter).unwrap(), Filter::new(&pattern).unwrap());
            prop_assert_eq!(one.overlaps(&pattern), other.overlaps(&filter));
            prop_assert!(!(one.matches(&name) && other.matches(&name)) || one.overlaps(&pattern));
        }

        #[test]
        fn a_name_without_wildcards_matches_itself_alone(
            name in "[ab/]{1,6}",
            other in "[ab/]{1,6}",
        ) {
            let filter = Filter::new(&name).unwrap();
            prop_assert!(filter.matches(&name) && is_name(&name));
            prop_assert_eq!(filter.matches(&other), name == other);
        }
    }
}
