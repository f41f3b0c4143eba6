//! Channels of Redis as names in segments with `/`, and back, and what a pattern of Redis matches.
//! Must not know mappings or topics.

use serde::Deserialize;

/// What stands between the segments of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Separator {
    /// As most programs that use Redis have it.
    #[default]
    #[serde(rename = ":")]
    Colon,
    /// As topics have it: names stay as they are.
    #[serde(rename = "/")]
    Slash,
}

impl Separator {
    /// The name of a channel. None where it is no text, or has a `/` that no topic would keep apart
    /// from a separator.
    #[must_use]
    pub fn name(self, channel: &[u8]) -> Option<String> {
        let channel = std::str::from_utf8(channel).ok()?;
        match self {
            Self::Slash => Some(channel.to_owned()),
            Self::Colon => (!channel.contains('/')).then(|| channel.replace(':', "/")),
        }
    }

    /// The channel of a name. None where a segment has a separator of its own.
    #[must_use]
    pub fn channel(self, name: &str) -> Option<String> {
        match self {
            Self::Slash => Some(name.to_owned()),
            Self::Colon => (!name.contains(':')).then(|| name.replace('/', ":")),
        }
    }
}

/// Whether a text of `in` is a pattern, and not one channel.
#[must_use]
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '\\'])
}

/// Whether a subscription to `text`, a channel or a pattern, gets what is published on `channel`.
#[must_use]
pub fn gets(text: &str, channel: &[u8]) -> bool {
    if is_pattern(text) { matches(text.as_bytes(), channel) } else { text.as_bytes() == channel }
}

/// As Redis itself matches: `*` any bytes, `?` one, `[a-c]` one of a set, `[^a]` one that is not,
/// `\` takes the next as it is. Each byte of the name is looked at once for each part between
/// stars, so that no pattern makes it slow.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    // Behind the last star, and what it has not taken yet.
    let mut star: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            star = Some((rest, name));
            pattern = rest;
        } else if let Some((rest, after)) = one(pattern, name) {
            (pattern, name) = (rest, after);
        } else if pattern.is_empty() && name.is_empty() {
            return true;
        } else if let Some((behind, [_, after @ ..])) = star {
            // The last star takes one byte more.
            star = Some((behind, after));
            (pattern, name) = (behind, after);
        } else {
            return false;
        }
    }
}

/// What follows in the pattern and in the name, if the first of both fit.
fn one<'a>(pattern: &'a [u8], name: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (byte, after) = name.split_first()?;
    let (fits, rest) = match pattern {
        [] => return None,
        [b'?', rest @ ..] => (true, rest),
        [b'[', rest @ ..] => set(rest, *byte),
        [b'\\', escaped, rest @ ..] => (escaped == byte, rest),
        [plain, rest @ ..] => (plain == byte, rest),
    };
    fits.then_some((rest, after))
}

/// Whether a set has `byte`, and what follows its bracket; a set without one ends with the pattern.
fn set(set: &[u8], byte: u8) -> (bool, &[u8]) {
    let (is_negated, mut rest) = match set {
        [b'^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut has = false;
    loop {
        rest = match rest {
            [] => return (has != is_negated, rest),
            [b']', rest @ ..] => return (has != is_negated, rest),
            [b'\\', escaped, rest @ ..] => {
                has |= *escaped == byte;
                rest
            }
            [from, b'-', to, rest @ ..] => {
                has |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [plain, rest @ ..] => {
                has |= *plain == byte;
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_match_as_those_of_redis() {
        for (pattern, name, expected) in [
            ("news:*", "news:", true),
            ("news:*", "news:a:b", true),
            ("news:*", "new", false),
            ("h?llo", "hallo", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hello", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hxllo", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xxbxxa", false),
            ("**", "", true),
            ("[]a", "a", false),
            ("[a", "a", true),
        ] {
            assert_eq!(gets(pattern, name.as_bytes()), expected, "{pattern} on {name}");
        }
        assert!(gets("a:b", b"a:b") && !gets("a:b", b"a:bc"));
    }

    /// The rule written as recursion, with nothing clever.
    fn naive(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', pattern @ ..], _) => (0..=name.len()).any(|at| naive(pattern, &name[at..])),
            ([b'?', pattern @ ..], [_, name @ ..]) => naive(pattern, name),
            ([p, pattern @ ..], [n, name @ ..]) => p == n && naive(pattern, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_the_naive_rule(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let expected = naive(pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected);
        }

        #[test]
        fn no_pattern_makes_it_panic(
            pattern in prop::collection::vec(any::<u8>(), 0..24),
            name in prop::collection::vec(any::<u8>(), 0..24),
        ) {
            // Whatever it answers.
            let _ = matches(&pattern, &name);
        }

        #[test]
        fn a_name_comes_back_as_it_was(text in "[ab:/]{0,12}") {
            for separator in [Separator::Colon, Separator::Slash] {
                if let Some(channel) = separator.channel(&text) {
                    prop_assert_eq!(separator.name(channel.as_bytes()), Some(text.clone()));
                }
                if let Some(name) = separator.name(text.as_bytes()) {
                    prop_assert_eq!(separator.channel(&name), Some(text.clone()));
                }
            }
        }
    }
}
