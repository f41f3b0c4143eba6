//! Subjects of NATS as names in segments with `/`, and back. Owns which of them the other side can
//! hold. Must not know mappings or topics.

/// Protocol lines have at most 4,096 bytes by default; a subject leaves room for the rest.
const SUBJECT_BYTES_MAX: usize = 2048;

/// The name of a subject: `a.b` is `a/b`. None where a token has a `/` of its own, which would
/// become two segments.
#[must_use]
pub fn name(subject: &str) -> Option<String> {
    (!subject.contains('/')).then(|| subject.replace('.', "/"))
}

/// The subject of a name: `a/b` is `a.b`. None where NATS cannot hold it: an empty segment, a dot,
/// white space, a control character, or what it takes as a wildcard.
#[must_use]
pub fn subject(name: &str) -> Option<String> {
    let is_token = |segment: &str| !segment.is_empty() && !segment.contains(is_foreign);
    let is_subject = name.len() <= SUBJECT_BYTES_MAX && name.split('/').all(is_token);
    is_subject.then(|| name.replace('/', "."))
}

/// Whether a text may be subscribed to: tokens, of which `*` stands for one and a last `>` for one
/// or more.
#[must_use]
pub fn is_filter(text: &str) -> bool {
    let mut tokens = text.split('.').peekable();
    let mut is_good = text.len() <= SUBJECT_BYTES_MAX;
    while let Some(token) = tokens.next() {
        is_good &= match token {
            "*" => true,
            ">" => tokens.peek().is_none(),
            token => !token.is_empty() && !token.contains(is_foreign),
        };
    }
    is_good
}

/// What no token of ours has.
fn is_foreign(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, '.' | '*' | '>')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_the_other_side_cannot_hold_has_no_name() {
        assert_eq!(name("a.b.c"), Some("a/b/c".to_owned()));
        assert_eq!(name("a.b/c"), None);
        for foreign in ["", "a//b", "a/", "a.b", "a b", "a/*", "a/>", "a\tb", "a>b"] {
            assert_eq!(subject(foreign), None, "{foreign:?}");
        }
        assert_eq!(subject(&"x".repeat(SUBJECT_BYTES_MAX + 1)), None);
    }

    #[test]
    fn filters_are_checked() {
        for good in ["a", "a.*", "*.b", "a.>", ">", "$SYS.a", "ä.b"] {
            assert!(is_filter(good), "{good}");
        }
        for bad in ["", ".", "a.", "a..b", "a.>.b", "a b", "a*", "a.>b"] {
            assert!(!is_filter(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_name_comes_back_as_it_was(text in "[ab./ *>\u{e4}]{0,12}") {
            if let Some(subject) = subject(&text) {
                prop_assert_eq!(name(&subject), Some(text.clone()));
                prop_assert!(is_filter(&subject));
            }
            if let Some(name) = name(&text) && is_filter(&text) && !text.contains(['*', '>']) {
                prop_assert_eq!(subject(&name), Some(text));
            }
        }
    }
}
