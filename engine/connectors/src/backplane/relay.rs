//! What a node hears from the others in relay mode: which frames are new, which came too late, and
//! how many of which topic were lost between the nodes. Owns what is known of each peer's counters.
//! Must not publish or tell anything itself, and must not know how batches travel.
//!
//! A peer numbers its batches, and its frames by topic. A jump of a topic's counter is a loss. A
//! jump of the batches says that something was lost, and not of which topics; then the peer is
//! asked for all its counters. An idle peer says every second that it is there, so that the last
//! batch before a silence is missed too.

use std::collections::HashMap;

use gridcast::feed::topic::Topic;

use crate::backplane::batch::{Batch, Frame, Note};

/// Topics of all peers that are remembered. With more, a peer's are forgotten and asked for again.
pub const TOPICS_MAX: usize = 1 << 20;
/// Peers and shards that are remembered.
const PEERS_MAX: usize = 4096;
/// A peer that was silent for so long is gone.
const FORGET_NS: u64 = 600_000_000_000;
/// A peer that was silent for so long answers no more. It says every second that it is there.
const GONE_NS: u64 = 10_000_000_000;
/// How often a peer is asked at most.
const ASK_NS: u64 = 1_000_000_000;
/// How long it takes at most until every peer that is there was heard.
const SETTLE_NS: u64 = 3_000_000_000;

/// What came out of a batch.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A frame to publish here.
    Frame {
        /// Its topic, as it is kept.
        topic: &'a Topic,
        /// The frame.
        frame: Frame<'a>,
    },
    /// So many frames of a topic will not come any more.
    Lost {
        /// The topic.
        topic: &'a Topic,
        /// How many.
        frames: u64,
    },
    /// A peer lost frames before it could send them, and does not know of which topics.
    LostSomewhere,
    /// A frame that was lost and told, or that came before.
    Late,
    /// What claims to be a topic is none.
    NoTopic,
}

/// The peers of a node.
#[derive(Debug)]
pub struct Peers {
    own_boots: Vec<u64>,
    /// Of the life before, whose last batches may still be on their way back.
    own_boots_before: Vec<u64>,
    peers: HashMap<u64, Peer>,
    topics: usize,
    /// When this node was connected first, and last.
    connected_ns: Option<(u64, u64)>,
}

/// What is known of one life of a peer, in one shard.
#[derive(Debug, Default)]
struct Peer {
    number: u64,
    missed: u64,
    topics: HashMap<Topic, u64>,
    /// A topic that is not known had no frames.
    knows_all: bool,
    /// Batches were missed, and the counters that would say which frames have not come yet.
    has_gap: bool,
    is_asked: Ask,
    heard_ns: u64,
}

/// Whether the counters of a peer are to be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ask {
    #[default]
    Not,
    Wanted,
    /// The question went out then.
    Sent(u64),
}

impl Peers {
    /// Of a node that has heard nobody. Batches of its own boots are passed over.
    #[must_use]
    pub fn new(own_boots: Vec<u64>) -> Self {
        let own_boots_before = Vec::new();
        Self { own_boots, own_boots_before, peers: HashMap::new(), topics: 0, connected_ns: None }
    }

    /// This node begins another life: batches of these boots are its own from now on, besides those
    /// of the life that ends.
    pub fn begin_life(&mut self, own_boots: Vec<u64>) {
        self.own_boots_before = std::mem::replace(&mut self.own_boots, own_boots);
    }

    fn is_own(&self, boot: u64) -> bool {
        self.own_boots.contains(&boot) || self.own_boots_before.contains(&boot)
    }

    /// This node begins to hear, or hears again after it was cut off.
    pub fn connected(&mut self, now_ns: u64) {
        let first = self.connected_ns.map_or(now_ns, |(first, _)| first);
        self.connected_ns = Some((first, now_ns));
    }

    /// Whoever was known before this node was cut off and has not been heard since has ended
    /// meanwhile: nobody will say what it sent last. Nor does anybody who is gone say what was in
    /// batches that were missed.
    pub fn tick(&mut self, now_ns: u64, mut hear: impl FnMut(Heard<'_>)) {
        let is_left = |peer: &&mut Peer| peer.is_asked != Ask::Not && peer.is_gone(now_ns);
        let mut has_lost = false;
        for peer in self.peers.values_mut().filter(is_left) {
            peer.is_asked = Ask::Not;
            has_lost |= std::mem::take(&mut peer.has_gap);
        }
        has_lost |= self.forget_unheard(now_ns);
        // Of however many: every topic is told, and no more is known of any.
        if has_lost {
            hear(Heard::LostSomewhere);
        }
    }

    /// Forgets who was not heard since this node is connected again. Answers whether there is one.
    fn forget_unheard(&mut self, now_ns: u64) -> bool {
        let Some((first, last)) = self.connected_ns else { return false };
        if first == last || now_ns < last + SETTLE_NS {
            return false;
        }
        let known = self.peers.len();
        self.peers.retain(|_, peer| peer.heard_ns >= last);
        self.connected_ns = Some((first, first));
        self.topics = count_topics(&self.peers);
        self.peers.len() < known
    }

    /// Takes in a batch and hands out what follows from it, in order.
    pub fn take(&mut self, batch: &Batch, now_ns: u64, mut hear: impl FnMut(Heard<'_>)) {
        let head = batch.head();
        if self.is_own(head.id.boot) {
            return;
        }
        self.make_room(now_ns);
        let is_settled = self.connected_ns.is_some_and(|(first, _)| now_ns >= first + SETTLE_NS);
        let peer = self.peers.entry(head.id.boot).or_default();
        let topics = peer.topics.len();
        // It began while this node was there to hear it, and was not heard.
        if peer.number == 0 && head.id.number > 1 && is_settled {
            hear(Heard::LostSomewhere);
        }
        peer.heard_ns = now_ns;
        peer.arrived(head.id.number);
        if head.missed > peer.missed {
            // What a peer missed before it was met is no loss of this node.
            let is_known = peer.knows_all || peer.missed > 0;
            peer.missed = head.missed;
            if is_known {
                hear(Heard::LostSomewhere);
            }
        }
        let is_count = matches!(head.note, Note::Counters { .. });
        for frame in batch.frames() {
            peer.hear(frame, is_count, &mut hear);
        }
        if head.note == (Note::Counters { is_last: true }) && peer.is_asked != Ask::Wanted {
            (peer.knows_all, peer.has_gap, peer.is_asked) = (true, false, Ask::Not);
        }
        self.topics += peer.topics.len() - topics;
    }

    /// A boot whose counters are to be asked for now.
    pub fn ask(&mut self, now_ns: u64) -> Option<u64> {
        let is_due = |peer: &Peer| match peer.is_asked {
            Ask::Not => false,
            Ask::Wanted => !peer.is_gone(now_ns),
            Ask::Sent(at) => now_ns >= at + ASK_NS && !peer.is_gone(now_ns),
        };
        let (&boot, peer) = self.peers.iter_mut().find(|(_, peer)| is_due(peer))?;
        peer.is_asked = Ask::Sent(now_ns);
        Some(boot)
    }

    /// Whether an answer is waited for.
    #[must_use]
    pub fn is_asking(&self) -> bool {
        self.peers.values().any(|peer| peer.is_asked != Ask::Not)
    }

    /// Peers that were heard of in the last ten seconds.
    #[must_use]
    pub fn count(&self, now_ns: u64) -> usize {
        self.peers.values().filter(|peer| !peer.is_gone(now_ns)).count()
    }

    /// Forgets who is gone, and then whoever has the most topics.
    fn make_room(&mut self, now_ns: u64) {
        if self.peers.len() < PEERS_MAX && self.topics < TOPICS_MAX {
            return;
        }
        self.peers.retain(|_, peer| now_ns.saturating_sub(peer.heard_ns) < FORGET_NS);
        if self.peers.len() >= PEERS_MAX {
            let silent = self.peers.iter().min_by_key(|(_, peer)| peer.heard_ns);
            if let Some(boot) = silent.map(|(&boot, _)| boot) {
                self.peers.remove(&boot);
            }
        }
        self.topics = count_topics(&self.peers);
        if self.topics >= TOPICS_MAX {
            let largest = self.peers.values_mut().max_by_key(|peer| peer.topics.len());
            largest.into_iter().for_each(Peer::forget_topics);
            self.topics = count_topics(&self.peers);
        }
    }
}

fn count_topics(peers: &HashMap<u64, Peer>) -> usize {
    peers.values().map(|peer| peer.topics.len()).sum()
}

impl Peer {
    /// Whether it was silent for so long that it answers no question any more.
    fn is_gone(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.heard_ns) > GONE_NS
    }

    fn arrived(&mut self, number: u64) {
        if self.number == 0 {
            // The first batch of all is known to be: nothing was before it.
            self.knows_all = number == 1;
            self.is_asked = if self.knows_all { Ask::Not } else { Ask::Wanted };
        } else if number > self.number + 1 {
            (self.has_gap, self.is_asked) = (true, Ask::Wanted);
        }
        self.number = self.number.max(number);
    }

    fn hear(&mut self, frame: Frame<'_>, is_count: bool, hear: &mut impl FnMut(Heard<'_>)) {
        let known = self.topics.get_key_value(frame.topic).map(|(topic, _)| topic.clone());
        let Some(topic) = known.or_else(|| Topic::new(frame.topic).ok()) else {
            return hear(Heard::NoTopic);
        };
        let counter = self.topics.get(&topic).copied();
        let before = frame.counter.saturating_sub(u64::from(!is_count));
        let counter = match counter {
            Some(counter) => counter,
            None if self.knows_all => 0,
            // Whatever was before belongs to the time before this node met the peer.
            None => before,
        };
        if frame.counter < counter || frame.counter == counter && !is_count {
            return hear(Heard::Late);
        }
        if before > counter {
            hear(Heard::Lost { topic: &topic, frames: before - counter });
        }
        if !is_count {
            hear(Heard::Frame { topic: &topic, frame });
        }
        self.topics.insert(topic, frame.counter);
    }

    fn forget_topics(&mut self) {
        self.topics = HashMap::new();
        self.knows_all = false;
        self.is_asked = Ask::Wanted;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backplane::batch::{BatchId, Builder, Head};
    use gridcast::frame::Kind;

    const S: u64 = 1_000_000_000;

    fn batch(number: u64, note: Note, missed: u64, frames: &[(&str, u64)]) -> Batch {
        batch_of(1, number, note, missed, frames)
    }

    fn batch_of(boot: u64, number: u64, note: Note, missed: u64, frames: &[(&str, u64)]) -> Batch {
        let mut builder = Builder::new("a");
        for &(topic, counter) in frames {
            let payload: &[u8] = if note == Note::Frames { b"x" } else { b"" };
            let kind = Kind::Text;
            builder.push(&Frame { topic, kind, is_bridged: false, counter, payload });
        }
        let id = BatchId { boot, number };
        let (previous, previous_at, epoch, made_ms, shards) = (0, 0, 0, 0, 1);
        let head = Head { id, previous, previous_at, missed, epoch, made_ms, shards, note };
        Batch::decode(builder.seal(&head)).unwrap()
    }

    fn heard(peers: &mut Peers, batch: &Batch) -> Vec<String> {
        let mut all = Vec::new();
        peers.take(batch, S, |heard| {
            all.push(match heard {
                Heard::Frame { frame, .. } => format!("{} {}", frame.topic, frame.counter),
                Heard::Lost { topic, frames } => format!("{} lost {frames}", topic.as_str()),
                Heard::LostSomewhere => "lost".to_owned(),
                Heard::Late => "late".to_owned(),
                Heard::NoTopic => "no topic".to_owned(),
            });
        });
        all
    }

    #[test]
    fn a_peer_that_is_met_at_its_first_batch_is_known_whole() {
        let mut peers = Peers::new(vec![2]);
        let frames = [("a", 1), ("b", 3), ("a", 2)];
        assert_eq!(
            heard(&mut peers, &batch(1, Note::Frames, 0, &frames)),
            ["a 1", "b lost 2", "b 3", "a 2"]
        );
        assert_eq!(peers.ask(S), None);
    }

    #[test]
    fn what_comes_twice_or_too_late_is_dropped() {
        let mut peers = Peers::new(vec![]);
        let first = batch(1, Note::Frames, 0, &[("a", 1)]);
        heard(&mut peers, &first);
        assert_eq!(heard(&mut peers, &first), ["late"]);
        assert_eq!(heard(&mut peers, &batch(3, Note::Frames, 0, &[("a", 3)])), ["a lost 1", "a 3"]);
        assert_eq!(heard(&mut peers, &batch(2, Note::Frames, 0, &[("a", 2)])), ["late"]);
    }

    #[test]
    fn a_topic_that_went_quiet_is_asked_for_when_batches_are_missing() {
        let mut peers = Peers::new(vec![]);
        heard(&mut peers, &batch(1, Note::Frames, 0, &[("a", 1), ("b", 1)]));
        // The second batch had frames of `b` and of a new topic, and says nothing any more.
        assert_eq!(heard(&mut peers, &batch(3, Note::Frames, 0, &[])), Vec::<String>::new());
        assert_eq!((peers.ask(S), peers.ask(S)), (Some(1), None));
        assert_eq!(peers.ask(2 * S), Some(1), "once more when nobody answers");
        let some = batch(4, Note::Counters { is_last: false }, 0, &[("a", 1), ("b", 4)]);
        assert_eq!(heard(&mut peers, &some), ["b lost 3"]);
        let last = batch(5, Note::Counters { is_last: true }, 0, &[("c", 2)]);
        assert_eq!(heard(&mut peers, &last), ["c lost 2"]);
        assert!(!peers.is_asking());
    }

    #[test]
    fn what_was_before_a_peer_was_met_is_no_loss() {
        let mut peers = Peers::new(vec![]);
        assert_eq!(heard(&mut peers, &batch(9, Note::Frames, 4, &[("a", 70)])), ["a 70"]);
        assert_eq!(peers.ask(S), Some(1));
        let answer = batch(10, Note::Counters { is_last: true }, 4, &[("a", 70), ("b", 8)]);
        assert_eq!(heard(&mut peers, &answer), Vec::<String>::new());
        let frames = [("a", 72), ("b", 9), ("c", 2)];
        assert_eq!(
            heard(&mut peers, &batch(11, Note::Frames, 5, &frames)),
            ["lost", "a lost 1", "a 72", "b 9", "c lost 1", "c 2"]
        );
    }

    #[test]
    fn own_batches_and_what_is_no_topic_are_passed_over() {
        let mut peers = Peers::new(vec![1]);
        let own = batch(1, Note::Frames, 0, &[("a", 1)]);
        assert_eq!(heard(&mut peers, &own), Vec::<String>::new());
        let bad = batch(1, Note::Frames, 0, &[("a//b", 1), ("a", 1)]);
        assert_eq!(heard(&mut Peers::new(vec![]), &bad), ["no topic", "a 1"]);
    }

    #[test]
    fn who_was_cut_off_is_told_of_peers_that_ended_or_began_meanwhile() {
        let lost = |peers: &mut Peers, now_ns| {
            let mut lost = 0;
            peers.tick(now_ns, |_| lost += 1);
            lost
        };
        let mut peers = Peers::new(vec![]);
        peers.connected(0);
        heard(&mut peers, &batch(5, Note::Frames, 0, &[]));
        assert_eq!(lost(&mut peers, 9 * S), 0);
        peers.connected(20 * S);
        assert_eq!((lost(&mut peers, 22 * S), lost(&mut peers, 23 * S)), (0, 1));
        assert_eq!(lost(&mut peers, 24 * S), 0);
        let mut begun = 0;
        peers.take(&batch(2, Note::Frames, 0, &[]), 30 * S, |_| begun += 1);
        assert_eq!(begun, 1, "its first batch came while nobody listened");
    }

    /// Every topic is told each time: a thousand peers that end at once must not cost a thousand
    /// rounds.
    #[test]
    fn however_many_peers_ended_it_is_told_once() {
        let mut peers = Peers::new(vec![]);
        peers.connected(0);
        for boot in 1..=1000 {
            peers.take(&batch_of(boot, 5, Note::Frames, 0, &[]), S, |_| {});
        }
        peers.connected(20 * S);
        let mut told = 0;
        peers.tick(23 * S, |_| told += 1);
        assert_eq!((told, peers.count(23 * S)), (1, 0));
    }

    #[test]
    fn who_is_gone_is_not_asked_for_ever() {
        let mut peers = Peers::new(vec![]);
        heard(&mut peers, &batch(9, Note::Frames, 0, &[]));
        assert_eq!(peers.ask(2 * S), Some(1));
        assert_eq!(peers.ask(60 * S), None);
        peers.tick(60 * S, |heard| panic!("{heard:?}, and nothing was lost since it was met"));
        assert!(!peers.is_asking());
    }

    #[test]
    fn who_is_gone_and_cannot_say_what_was_lost_has_lost_something() {
        let mut peers = Peers::new(vec![]);
        heard(&mut peers, &batch(1, Note::Frames, 0, &[("a", 1)]));
        heard(&mut peers, &batch(3, Note::Frames, 0, &[]));
        let told = |peers: &mut Peers, now_ns| {
            let mut told = Vec::new();
            peers.tick(now_ns, |heard| told.push(format!("{heard:?}")));
            told
        };
        assert_eq!(told(&mut peers, 11 * S), Vec::<String>::new());
        assert_eq!(told(&mut peers, 12 * S), ["LostSomewhere"]);
        assert_eq!(told(&mut peers, 13 * S), Vec::<String>::new(), "once");
    }

    #[test]
    fn own_batches_of_this_life_and_the_one_before_are_known() {
        let mut peers = Peers::new(vec![]);
        let own = batch(1, Note::Frames, 0, &[("a", 1)]);
        peers.begin_life(vec![1]);
        peers.begin_life(vec![2]);
        assert_eq!(heard(&mut peers, &own), Vec::<String>::new());
        peers.begin_life(vec![3]);
        assert_eq!((peers.own_boots.len(), peers.own_boots_before.len()), (1, 1));
        assert_eq!(heard(&mut peers, &own), ["a 1"]);
    }
}
