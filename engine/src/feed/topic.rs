//! Topics and the patterns that select them. Owns their syntax and the rule of matching. Must not
//! know who subscribed.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// The longest topic or pattern, bytes.
pub const TOPIC_BYTES_MAX: usize = 255;

/// A valid topic: cheap to clone, compared by its text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// A valid pattern: a topic in which `+` stands for one segment and a last `#` for the rest.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pattern(Arc<str>);

/// What a subscription names: one topic, or every topic a pattern matches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// Exactly this topic.
    Topic(Topic),
    /// All topics that match.
    Pattern(Pattern),
}

/// Why a text is neither a topic nor a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// There is no text.
    #[error("a topic has at least one byte")]
    Empty,
    /// More bytes than a topic may have.
    #[error("a topic has at most {TOPIC_BYTES_MAX} bytes, this one has {0}")]
    TooLong(usize),
    /// Two slashes in a row, or one at an end.
    #[error("segment {0} is empty: slashes stand between segments, not at the ends")]
    EmptySegment(usize),
    /// A control character.
    #[error("byte {0} starts a control character")]
    Control(usize),
    /// A wildcard where a topic is needed.
    #[error("`{0}` is a wildcard: here a topic is needed, not a pattern")]
    Wildcard(char),
    /// A wildcard beside other characters of the same segment.
    #[error("`{0}` stands alone in its segment")]
    WildcardNotAlone(char),
    /// `#` before the last segment.
    #[error("`#` stands in the last segment only")]
    HashNotLast,
    /// A topic of the engine's own, where one of somebody else's is needed.
    #[error("topics that begin with `$` are the engine's own")]
    Engines,
    /// A pattern without a wildcard.
    #[error("no `+` and no `#`: that is a topic, not a pattern")]
    NoWildcard,
}

impl Topic {
    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// The first rule that `text` breaks.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_common(text)?;
        match text.chars().find(|&c| is_wildcard(c)) {
            Some(wildcard) => Err(TopicError::Wildcard(wildcard)),
            None => Ok(Self(text.into())),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of the engine's own (`$sys/...`), which clients may not publish to.
    #[must_use]
    pub fn is_engines(&self) -> bool {
        self.0.starts_with('$')
    }
}

impl Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    /// Checks `text` and keeps a copy.
    ///
    /// # Errors
    /// The first rule that `text` breaks; a text without a wildcard is a topic.
    pub fn new(text: &str) -> Result<Self, TopicError> {
        check_common(text)?;
        let last = text.split('/').count() - 1;
        for (i, segment) in text.split('/').enumerate() {
            match segment.chars().find(|&c| is_wildcard(c)) {
                Some(wildcard) if segment.len() > 1 => {
                    return Err(TopicError::WildcardNotAlone(wildcard));
                }
                Some('#') if i < last => return Err(TopicError::HashNotLast),
                _ => {}
            }
        }
        if text.contains(is_wildcard) { Ok(Self(text.into())) } else { Err(TopicError::NoWildcard) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `topic` is selected. As in MQTT, `a/#` selects `a` too, and a pattern that starts
    /// with a wildcard selects none of the engine's own topics.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        if topic.is_engines() && self.0.starts_with(is_wildcard) {
            return false;
        }
        let mut segments = topic.0.split('/');
        for wanted in self.0.split('/') {
            if wanted == "#" {
                return true;
            }
            match segments.next() {
                Some(segment) if wanted == "+" || wanted == segment => {}
                _ => return false,
            }
        }
        segments.next().is_none()
    }

    /// What every topic that is selected begins with.
    #[must_use]
    pub fn stem(&self) -> &str {
        let stem = self.0.split(is_wildcard).next().unwrap_or_default();
        match self.0.strip_prefix(stem) {
            // `a/#` selects `a` too.
            Some("#") => stem.strip_suffix('/').unwrap_or(stem),
            _ => stem,
        }
    }

    /// Whether every topic that `other` selects is selected.
    fn covers(&self, other: &Self) -> bool {
        if self.0.starts_with(is_wildcard) && other.0.starts_with('$') {
            return false;
        }
        // A topic has a segment at least: alone, `#` selects what `+/#` does.
        let other = if &*other.0 == "#" { "+/#" } else { &*other.0 };
        let mut others = other.split('/');
        for own in self.0.split('/') {
            if own == "#" {
                return true;
            }
            match others.next() {
                // What `#` stands for may be nothing, or longer: only another `#` selects it all.
                Some("#") | None => return false,
                Some(segment) if own == "+" || own == segment => {}
                Some(_) => return false,
            }
        }
        others.next().is_none()
    }
}

impl FromStr for Target {
    type Err = TopicError;

    /// A text with a wildcard is a pattern, any other a topic.
    fn from_str(text: &str) -> Result<Self, TopicError> {
        match Pattern::new(text) {
            Ok(pattern) => Ok(Self::Pattern(pattern)),
            Err(TopicError::NoWildcard) => Topic::new(text).map(Self::Topic),
            Err(error) => Err(error),
        }
    }
}

impl Target {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Topic(topic) => topic.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// The pattern, if it is one.
    #[must_use]
    pub fn topic(&self) -> Option<&Topic> {
        match self {
            Self::Topic(topic) => Some(topic),
            Self::Pattern(_) => None,
        }
    }

    /// Whether it stands for topics that it does not name. Asked of each frame: a frame's origin
    /// knows it too, but is cold by then.
    #[must_use]
    pub fn is_pattern(&self) -> bool {
        matches!(self, Self::Pattern(_))
    }

    /// The pattern, if it is one.
    #[must_use]
    pub fn pattern(&self) -> Option<&Pattern> {
        match self {
            Self::Topic(_) => None,
            Self::Pattern(pattern) => Some(pattern),
        }
    }

    /// The text, shared.
    #[must_use]
    pub fn text(&self) -> Arc<str> {
        match self {
            Self::Topic(Topic(text)) | Self::Pattern(Pattern(text)) => Arc::clone(text),
        }
    }

    /// Whether frames of `topic` belong to it.
    #[must_use]
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::Topic(own) => own == topic,
            Self::Pattern(pattern) => pattern.matches(topic),
        }
    }

    /// Whether every topic that belongs to `other` belongs to it too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Topic(topic)) => self.matches(topic),
            (Self::Topic(_), Self::Pattern(_)) => false,
            (Self::Pattern(own), Self::Pattern(other)) => own.covers(other),
        }
    }
}

fn check_common(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > TOPIC_BYTES_MAX {
        return Err(TopicError::TooLong(text.len()));
    }
    if let Some((at, _)) = text.char_indices().find(|(_, c)| c.is_control()) {
        return Err(TopicError::Control(at));
    }
    match text.split('/').position(str::is_empty) {
        Some(i) => Err(TopicError::EmptySegment(i + 1)),
        None => Ok(()),
    }
}

const fn is_wildcard(c: char) -> bool {
    matches!(c, '+' | '#')
}

macro_rules! show_as_text {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )+};
}
show_as_text!(Topic, Pattern, Target);

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topic({})", self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn topics_are_checked() {
        for good in ["a", "pmu/1001", "$sys/cores", "ä/ö ü", &"x".repeat(255)] {
            assert!(Topic::new(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("", TopicError::Empty),
            (&"x".repeat(256), TopicError::TooLong(256)),
            ("/a", TopicError::EmptySegment(1)),
            ("a//b", TopicError::EmptySegment(2)),
            ("a/", TopicError::EmptySegment(2)),
            ("a\n", TopicError::Control(1)),
            ("a/\u{85}", TopicError::Control(2)),
            ("a/+", TopicError::Wildcard('+')),
            ("a#", TopicError::Wildcard('#')),
        ] {
            assert_eq!(Topic::new(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn patterns_are_checked() {
        for good in ["#", "+", "a/#", "+/b/+", "$sys/#"] {
            assert!(Pattern::new(good).is_ok(), "{good}");
        }
        for (bad, error) in [
            ("a", TopicError::NoWildcard),
            ("#/a", TopicError::HashNotLast),
            ("a/b#", TopicError::WildcardNotAlone('#')),
            ("a+/b", TopicError::WildcardNotAlone('+')),
            ("##", TopicError::WildcardNotAlone('#')),
            ("a//#", TopicError::EmptySegment(2)),
        ] {
            assert_eq!(Pattern::new(bad), Err(error), "{bad:?}");
        }
    }

    #[test]
    fn a_target_is_a_pattern_when_it_has_a_wildcard() {
        assert!(matches!("a/b".parse(), Ok(Target::Topic(_))));
        assert!(matches!("a/+".parse(), Ok(Target::Pattern(_))));
        assert_eq!("a/+b".parse::<Target>(), Err(TopicError::WildcardNotAlone('+')));
    }

    #[test]
    fn matching_follows_mqtt() {
        for (pattern, topic, expected) in [
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("a/#", "ab", false),
            ("+", "a", true),
            ("+", "a/b", false),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a", false),
            ("+/+/#", "a", false),
            ("#", "$sys/cores", false),
            ("+/cores", "$sys/cores", false),
            ("$sys/#", "$sys/cores", true),
            ("$sys/+", "$sys/cores", true),
        ] {
            let matches = Pattern::new(pattern).unwrap().matches(&Topic::new(topic).unwrap());
            assert_eq!(matches, expected, "{pattern} on {topic}");
        }
    }

    /// The rule written as recursion over segments, with nothing clever.
    fn naive(pattern: &[&str], topic: &[&str]) -> bool {
        match (pattern, topic) {
            (["#"], _) | ([], []) => true,
            (["+", pattern @ ..], [_, topic @ ..]) => naive(pattern, topic),
            ([p, pattern @ ..], [t, topic @ ..]) => p == t && naive(pattern, topic),
            _ => false,
        }
    }

    #[test]
    fn what_all_its_topics_begin_with_is_the_stem_of_a_pattern() {
        for (pattern, stem) in
            [("a/#", "a"), ("a/b/+/c", "a/b/"), ("a/+/#", "a/"), ("#", ""), ("+/a", "")]
        {
            let pattern = Pattern::new(pattern).unwrap();
            assert_eq!(pattern.stem(), stem, "{pattern}");
            let mut matching = topics(4).into_iter().filter(|topic| pattern.matches(topic));
            assert!(matching.all(|topic| topic.as_str().starts_with(stem)), "{pattern}");
        }
    }

    #[test]
    fn covering_is_being_narrower() {
        for (own, other, expected) in [
            ("#", "a/#", true),
            ("#", "#", true),
            ("+/#", "#", true),
            ("#", "$sys/#", false),
            ("#", "$sys/a", false),
            ("$sys/#", "$sys/+/a", true),
            ("a/#", "a", true),
            ("a/#", "a/+", true),
            ("a/+", "a/#", false),
            ("a/+/#", "a/#", false),
            ("a/+", "a/b", true),
            ("a/b", "a/+", false),
            ("a", "a", true),
            ("+", "a/+", false),
        ] {
            let covers = own.parse::<Target>().unwrap().covers(&other.parse().unwrap());
            assert_eq!(covers, expected, "{own} over {other}");
        }
    }

    /// Every topic of up to `segments_max` segments. `c` and `$t` stand in no pattern, and so for
    /// all that do not.
    fn topics(segments_max: usize) -> Vec<Topic> {
        let words = ["a", "b", "c", "$s", "$t"].map(str::to_owned);
        let mut longest = words.to_vec();
        let mut all = longest.clone();
        for _ in 1..segments_max {
            let longer = |topic: &String| words.each_ref().map(|word| format!("{topic}/{word}"));
            longest = longest.iter().flat_map(longer).collect();
            all.extend_from_slice(&longest);
        }
        all.iter().map(|text| Topic::new(text).unwrap()).collect()
    }

    fn target() -> impl Strategy<Value = Target> {
        let segments = proptest::collection::vec("[ab+]|[$]s", 0..4);
        (segments, any::<bool>()).prop_map(|(mut segments, hash)| {
            if hash || segments.is_empty() {
                segments.push("#".to_owned());
            }
            segments.join("/").parse().unwrap()
        })
    }

    proptest! {
        #[test]
        fn covers_says_that_all_its_topics_match(own in target(), other in target()) {
            let mut topics = topics(5).into_iter().filter(|topic| other.matches(topic));
            prop_assert_eq!(own.covers(&other), topics.all(|topic| own.matches(&topic)));
        }

        #[test]
        fn equals_the_naive_matcher(
            pattern in proptest::collection::vec("[ab+]", 1..5),
            hash in any::<bool>(),
            topic in proptest::collection::vec("[ab]|[$]s", 1..5),
        ) {
            let mut pattern: Vec<&str> = pattern.iter().map(String::as_str).collect();
            if hash {
                pattern.push("#");
            }
            let topic: Vec<&str> = topic.iter().map(String::as_str).collect();
            let hidden = topic[0].starts_with('$') && ["+", "#"].contains(&pattern[0]);
            let expected = !hidden && naive(&pattern, &topic);
            let target: Target = pattern.join("/").parse().unwrap();
            prop_assert_eq!(target.matches(&Topic::new(&topic.join("/")).unwrap()), expected);
        }

        #[test]
        fn any_text_is_a_topic_or_a_pattern_or_an_error(text in any::<String>()) {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.as_str(), text.as_str());
            }
        }
    }
}
