//! Feeds on their way into the next process: which part of each is there already, and how many go
//! at once. Owns how long a feed is locked for that. Must not decide when the last part goes.

use std::collections::HashMap;
use std::io;

use crate::engine::handover::message::Message;
use crate::engine::handover::say;
use crate::feed::handed::HandedFeed;
use crate::feed::log::Feed;
use crate::net::passing::Passage;

/// Bytes of a feed that are read at once: publishers to it wait that long, a millisecond at most.
const PART_BYTES: usize = 256 << 10;
/// Bytes of feeds that are enough for a parcel; each is answered before the next.
const PARCEL_BYTES: usize = 1 << 20;

/// See the file header.
#[derive(Debug)]
pub struct Parcels<'p> {
    passage: &'p mut Passage,
    /// By the numbers of feeds, up to which ordinal the other process has them.
    sent: HashMap<u64, u64>,
    some: Vec<HandedFeed>,
    bytes: usize,
    /// Bytes of this round that are sent.
    round_bytes: usize,
}

impl<'p> Parcels<'p> {
    /// Nothing has been sent yet.
    pub fn new(passage: &'p mut Passage) -> Self {
        Self { passage, sent: HashMap::new(), some: Vec::new(), bytes: 0, round_bytes: 0 }
    }

    /// Sends what a feed has that the other process has not, while it is published to.
    ///
    /// # Errors
    /// As [`Passage::send`].
    pub fn add_ahead(&mut self, feed: &Feed) -> io::Result<()> {
        loop {
            let part = self.part(feed);
            let is_last = part.is_last();
            if !part.entries.is_empty() {
                self.push(part, Message::Ahead)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends the last of what was added ahead. Answers how many bytes of feeds went since the round
    /// began.
    ///
    /// # Errors
    /// As [`Passage::send`].
    pub fn end_round(&mut self) -> io::Result<usize> {
        self.send(Message::Ahead)?;
        Ok(std::mem::take(&mut self.round_bytes))
    }

    /// Sends the rest of a feed, to which nobody publishes any more.
    ///
    /// # Errors
    /// As [`Passage::send`].
    pub fn add_last(&mut self, feed: &Feed) -> io::Result<()> {
        loop {
            let part = self.part(feed);
            let is_last = part.is_last();
            self.push(part, Message::Some)?;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Sends the last of it.
    ///
    /// # Errors
    /// As [`Passage::send`].
    pub fn end(mut self) -> io::Result<&'p mut Passage> {
        self.send(Message::Some)?;
        Ok(self.passage)
    }

    fn part(&mut self, feed: &Feed) -> HandedFeed {
        let sent = self.sent.entry(feed.number()).or_default();
        let part = feed.hand(*sent, PART_BYTES);
        *sent = part.end_ordinal();
        part
    }

    fn push(
        &mut self,
        part: HandedFeed,
        message: fn(Vec<HandedFeed>) -> Message,
    ) -> io::Result<()> {
        self.bytes += part.bytes();
        self.some.push(part);
        if self.bytes < PARCEL_BYTES { Ok(()) } else { self.send(message) }
    }

    fn send(&mut self, message: fn(Vec<HandedFeed>) -> Message) -> io::Result<()> {
        if self.some.is_empty() {
            return Ok(());
        }
        self.round_bytes += std::mem::take(&mut self.bytes);
        say(self.passage, &message(std::mem::take(&mut self.some)))
    }
}
