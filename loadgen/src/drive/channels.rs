//! Whose frames may come on which channel, where another protocol names the channel of a message.
//! Shared by the sockets of a thread. Must not know what a socket has subscribed to.

use rustc_hash::FxHashMap;

use crate::plan::plan::Plan;

/// The channels of a plan.
#[derive(Debug)]
pub struct Channels {
    /// By name; none where several topics share it.
    publisher_of: FxHashMap<Vec<u8>, Option<u32>>,
    /// Whether every message names one of them.
    are_named: bool,
}

impl Channels {
    /// The channels of a plan; none where nothing is spoken inside messages.
    pub fn new(plan: &Plan) -> Channels {
        let dialect = &plan.dialect;
        let mut publisher_of = FxHashMap::default();
        let publishers = plan.publishers.iter().zip(0u32..).filter(|_| dialect.has_protocol());
        for (publisher, number) in publishers {
            let name = dialect.channel(&publisher.topic).into_bytes();
            publisher_of.entry(name).and_modify(|owner| *owner = None).or_insert(Some(number));
        }
        Channels { publisher_of, are_named: dialect.names_channels() }
    }

    /// Whether a frame of a publisher may come on this channel.
    #[inline]
    pub fn fit(&self, channel: Option<&[u8]>, publisher: u32) -> bool {
        match channel.and_then(|channel| self.publisher_of.get(channel)) {
            Some(owner) => owner.is_none_or(|owner| owner == publisher),
            None => !self.are_named,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::dialect::dialect::Dialect;
    use crate::fixtures;

    fn channels(word: &str) -> Channels {
        let publishers = vec![fixtures::publisher(1, 50), fixtures::publisher(2, 50)];
        let dialect = Dialect::named(word).unwrap();
        Channels::new(&Plan { dialect, ..fixtures::plan_of(publishers) })
    }

    #[test]
    fn a_frame_fits_the_channel_of_its_publisher_alone() {
        let named = [
            ("nats", "pmu.1"),
            ("mqtt", "pmu/1"),
            ("centrifugo", "pmu/1"),
            ("pusher", "private-pmu.1"),
        ];
        for (word, name) in named {
            let channels = channels(word);
            let fit = |name: &str, publisher| channels.fit(Some(name.as_bytes()), publisher);
            assert!(fit(name, 0) && !fit(name, 1), "{word}");
            assert!(!fit("other", 0) && !channels.fit(None, 0), "{word}: it names none of ours");
        }
    }

    #[test]
    fn events_may_have_names_of_their_own() {
        let channels = channels("socketio");
        let fit = |name: &str, publisher| channels.fit(Some(name.as_bytes()), publisher);
        assert!(fit("pmu/1", 0) && !fit("pmu/1", 1) && fit("frame", 1) && channels.fit(None, 1));
    }
}
