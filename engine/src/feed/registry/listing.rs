//! Lists topics, some at a time. Owns which of them match a search, and the bound of what one look
//! at them costs: the core that answers it has other things to do. Must not know how the answer is
//! written.

use std::str::FromStr;

use crate::feed::log::listed::Listed;
use crate::feed::registry::{LISTED_AT_ONCE, Registry};
use crate::feed::topic::{Pattern, Topic, TopicError};

/// Topics that are compared with a search in one look, some tenths of a millisecond.
const COMPARED_MAX: usize = 4 * LISTED_AT_ONCE;

/// Which topics are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Search {
    /// All of them.
    #[default]
    All,
    /// Those whose name has this in it, in upper or lower case.
    Part(String),
    /// Those that match.
    Like(Pattern),
}

/// Some topics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Those that match, in the order of their names.
    pub topics: Vec<Listed>,
    /// The topic after which to go on; none where there are no more.
    pub next: Option<Topic>,
}

impl FromStr for Search {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        match text {
            "" => Ok(Self::All),
            // No topic has a wildcard in it.
            text if text.contains(['+', '#']) => Pattern::new(text).map(Self::Like),
            text => Ok(Self::Part(text.to_owned())),
        }
    }
}

impl Search {
    fn stem(&self) -> &str {
        match self {
            Self::Like(pattern) => pattern.stem(),
            Self::All | Self::Part(_) => "",
        }
    }

    fn matches(&self, topic: &Topic) -> bool {
        match self {
            Self::All => true,
            Self::Part(part) => has(topic.as_str(), part),
            Self::Like(pattern) => pattern.matches(topic),
        }
    }
}

fn has(text: &str, part: &str) -> bool {
    text.as_bytes().windows(part.len()).any(|some| some.eq_ignore_ascii_case(part.as_bytes()))
}

impl Registry {
    /// At most `limit` topics that match, from the one that follows `after` on. There may be fewer,
    /// or none, and still more to come: a bounded number is compared.
    pub fn list(
        &self,
        search: &Search,
        after: Option<&Topic>,
        limit: usize,
        now_ns: u64,
    ) -> Listing {
        let (mut listing, mut last) = (Listing::default(), after.cloned());
        for _ in 0..COMPARED_MAX / LISTED_AT_ONCE {
            let some = self.topics_after(search.stem(), last.as_ref());
            for (topic, feed) in &some {
                if !search.matches(topic) {
                    continue;
                }
                if listing.topics.len() >= limit {
                    listing.next = listing.topics.last().map(|listed| listed.topic.clone());
                    return listing;
                }
                listing.topics.push(feed.listed(topic, now_ns));
            }
            if some.len() < LISTED_AT_ONCE {
                return listing;
            }
            last = some.into_iter().last().map(|(topic, _)| topic);
        }
        listing.next = last;
        listing
    }
}
