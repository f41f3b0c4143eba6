//! Frames that had not arrived by the end of the drain, and their ages at that time.
//! Sockets that stopped at the same frame are counted together: there may be 100,000 of them. Must
//! not decide which sockets miss what.

use std::collections::BTreeMap;

use crate::receive::outcome::class::ClassOutcome;
use crate::receive::stamp::PublisherIndex;

/// The undelivered tails of sockets, by class, publisher and first undelivered frame.
#[derive(Debug, Default)]
pub struct Tails {
    sockets: BTreeMap<(u16, u32), BTreeMap<u32, u64>>,
}

impl Tails {
    /// A socket received none of a publisher's frames from this number on.
    pub fn note(&mut self, class: u16, publisher: u32, from: u32) {
        *self.sockets.entry((class, publisher)).or_default().entry(from).or_default() += 1;
    }

    /// Adds the ages of the measured frames in these tails to their classes, at an instant. `ends`
    /// has the number of frames of each publisher.
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
