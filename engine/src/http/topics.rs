//! A question about which topics there are: its options. Must not know any topic.

use crate::feed::registry::listing::Search;
use crate::feed::topic::Topic;
use crate::http::options;
use crate::http::refusal::Refusal;
use crate::settings::nearest::hint;
use std::str::FromStr;

/// Topics of an answer where the question does not say how many.
pub const LIMIT: usize = 100;
/// Topics of an answer at most.
pub const LIMIT_MAX: usize = 1_000;

/// See the file header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Which topics.
    pub search: Search,
    /// The topic that the first of them follows.
    pub after: Option<Topic>,
    /// How many at most.
    pub limit: usize,
}

/// A topic as an option.
struct After(Topic);

impl FromStr for After {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Topic::new(text).map(Self).map_err(|error| error.to_string())
    }
}

/// A number of topics.
struct Limit(usize);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|n| is_number && (1..=LIMIT_MAX).contains(n));
        number.map(Self).ok_or_else(|| format!("a whole number of topics, 1 to {LIMIT_MAX}"))
    }
}

impl Question {
    /// Reads `search`, `after` and `limit`.
    ///
    /// # Errors
    /// 400 that names the option.
    pub fn of(query: Option<&str>) -> Result<Self, Refusal> {
        let (mut search, mut after, mut limit) = (None, None, None);
        for (key, value) in options::pairs(query)? {
            match key.as_str() {
                "search" => options::set(&mut search, &key, &value)?,
                "after" => options::set(&mut after, &key, &value)?,
                "limit" => options::set(&mut limit, &key, &value)?,
                _ => {
                    let nearest = hint(&key, &["search", "after", "limit"]);
                    return Err(Refusal::bad(format!("unknown option `{key}`: {nearest}")));
                }
            }
        }
        let limit = limit.map_or(LIMIT, |Limit(limit)| limit);
        Ok(Self {
            search: search.unwrap_or_default(),
            after: after.map(|After(topic)| topic),
            limit,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_wrong_ones_refused_by_name() {
        let question = Question::of(Some("search=pmu%2F%2B&after=pmu%2F1&limit=1000")).unwrap();
        assert!(matches!(question.search, Search::Like(_)));
        assert_eq!(question.after.unwrap().as_str(), "pmu/1");
        assert_eq!(question.limit, LIMIT_MAX);
        let plain = Question::of(None).unwrap();
        assert_eq!((plain.search, plain.after, plain.limit), (Search::All, None, LIMIT));
        for (query, part) in [
            ("limit=0", "`limit`: a whole number of topics, 1 to 1000"),
            ("limit=1001", "`limit`"),
            ("limit=%2B5", "`limit`"),
            ("limit=1&limit=2", "`limit` twice"),
            ("search=a%23", "`search`"),
            ("after=a%2F%23", "`after`"),
            ("serch=x", "search"),
        ] {
            let refusal = Question::of(Some(query)).unwrap_err();
            assert!(refusal.message.contains(part), "{query}: {}", refusal.message);
        }
    }
}
