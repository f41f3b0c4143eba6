//! The feeds that a thread has published to lately, so that a message of somebody who publishes to
//! many topics takes no lock and no search of all topics. Owns a fixed number of places. Must not
//! keep a feed alive.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

use rustc_hash::FxHasher;

use crate::feed::log::Feed;
use crate::feed::message::Message;
use crate::feed::published::Published;
use crate::feed::registry::{FeedError, Registry};
use crate::feed::topic::Topic;

/// Places; a topic has one of them, whoever else shares it: so a stranger that chooses names for
/// their hashes gains nothing but misses of his own.
const PLACES: usize = 1024;

/// See the file header.
#[derive(Debug, Default)]
pub struct Recent(Vec<Option<(Topic, Weak<Feed>)>>);

impl Recent {
    /// Publishes to `topic`, whose feed is looked up in `registry` only if it is not known here.
    ///
    /// # Errors
    /// [`FeedError`]; nothing was published then.
    pub fn publish(
        &mut self,
        registry: &Registry,
        topic: &Topic,
        message: Message<'_>,
        now_ns: u64,
    ) -> Result<Published, FeedError> {
        let mut held = self.find(topic);
        let known = held.as_ref().map(Arc::as_ptr);
        let published = registry.publish(topic, &mut held, message, now_ns)?;
        if let Some(feed) = held.filter(|feed| Some(Arc::as_ptr(feed)) != known) {
            self.note(topic, &feed);
        }
        Ok(published)
    }

    /// The feed of `topic`, if it was published to lately and still exists.
    fn find(&self, topic: &Topic) -> Option<Arc<Feed>> {
        let (known, feed) = self.0.get(place_of(topic))?.as_ref()?;
        (known == topic).then(|| feed.upgrade()).flatten()
    }

    /// Remembers the feed of `topic`.
    fn note(&mut self, topic: &Topic, feed: &Arc<Feed>) {
        if self.0.is_empty() {
            self.0.resize(PLACES, None);
        }
        if let Some(place) = self.0.get_mut(place_of(topic)) {
            *place = Some((topic.clone(), Arc::downgrade(feed)));
        }
    }
}

fn place_of(topic: &Topic) -> usize {
    let mut hasher = FxHasher::default();
    topic.hash(&mut hasher);
    // The high bits are the well mixed ones.
    (hasher.finish() >> 32) as usize % PLACES
}
