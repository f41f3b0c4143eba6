//! Frames that had not come by the end of the drain, and how long each had been under way then.
//! Sockets that stopped at the same frame are counted together: there may be 100,000 of them. Must
//! not decide which sockets owe what.

use std::collections::BTreeMap;

use crate::receive::outcome::class::ClassOutcome;
use crate::receive::stamp::PublisherIndex;

/// The tails of sockets, by class, publisher and the first frame that did not come.
#[derive(Debug, Default)]
pub struct Tails {
    sockets: BTreeMap<(u16, u32), BTreeMap<u32, u64>>,
}

impl Tails {
    /// A socket has none of a publisher's frames from this number on.
    pub fn note(&mut self, class: u16, publisher: u32, from: u32) {
        *self.sockets.entry((class, publisher)).or_default().entry(from).or_default() += 1;
    }

    /// Tells the classes how long the measured frames of these tails had been under way at an
    /// instant. `ends` has the number of frames of each publisher.
    pub fn settle(
        self,
        ends: &[u32],
        publisher_index: &PublisherIndex,
        ended_ns: u64,
        classes: &mut [ClassOutcome],
    ) {
        for ((class, publisher), from) in self.sockets {
            let Some(class) = classes.get_mut(usize::from(class)) else { continue };
            let end = ends.get(publisher as usize).copied().unwrap_or(0);
            let measured_from = publisher_index.departures(publisher).measured_from();
            let mut sockets = 0;
            let mut from = from.into_iter().peekable();
            let first = from.peek().map_or(end, |(first, _)| *first);
            for seq in first..end {
                sockets += from.next_if(|(from, _)| *from == seq).map_or(0, |(_, more)| more);
                if seq >= measured_from {
                    let intended_ns = publisher_index.intended_ns(publisher, seq);
                    let age_ns = ended_ns.saturating_sub(intended_ns).cast_signed();
                    class.note_waiting(publisher_index.laps().at(intended_ns), age_ns, sockets);
                }
            }
        }
    }
}
