//! Our own messages as Redis sends them back. Owns how many are still to come, so that each is
//! taken out once. Must not know connections: what a lost connection has not sent back never comes.
//!
//! Redis has no way to leave a publisher's own subscription out. But it handles what one connection
//! sends in order: a PUBLISH comes back exactly once for each subscription of that connection that
//! gets its channel. So as many messages of the same channel and payload as were sent are taken
//! out. If somebody else publishes the very same at that moment, one of the two goes on, and it
//! does not matter which.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

/// See the file header.
#[derive(Debug, Default)]
pub struct Echoes {
    hasher: RandomState,
    awaited: HashMap<u64, u32>,
}

impl Echoes {
    /// A message is sent that comes back so many times.
    pub fn expect(&mut self, channel: &[u8], payload: &[u8], times: u32) {
        if times > 0 {
            let fingerprint = self.hasher.hash_one((channel, payload));
            *self.awaited.entry(fingerprint).or_default() += times;
        }
    }

    /// Whether a message that came is one of our own.
    pub fn take(&mut self, channel: &[u8], payload: &[u8]) -> bool {
        self.reduce(channel, payload, 1)
    }

    /// A message was refused: it does not come back.
    pub fn withdraw(&mut self, channel: &[u8], payload: &[u8], times: u32) {
        self.reduce(channel, payload, times);
    }

    /// Whether any were awaited.
    fn reduce(&mut self, channel: &[u8], payload: &[u8], by: u32) -> bool {
        let fingerprint = self.hasher.hash_one((channel, payload));
        let Some(times) = self.awaited.get_mut(&fingerprint) else { return false };
        *times = times.saturating_sub(by);
        if *times == 0 {
            self.awaited.remove(&fingerprint);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_of_ours_is_taken_out_once_for_each_subscription() {
        let mut echoes = Echoes::default();
        echoes.expect(b"a", b"1", 2);
        echoes.expect(b"a", b"1", 1);
        echoes.expect(b"b", b"1", 0);
        assert!(!echoes.take(b"a", b"2") && !echoes.take(b"b", b"1"));
        assert_eq!([(); 4].map(|()| echoes.take(b"a", b"1")), [true, true, true, false]);
        echoes.expect(b"a", b"1", 2);
        echoes.withdraw(b"a", b"1", 1);
        assert_eq!([(); 2].map(|()| echoes.take(b"a", b"1")), [true, false]);
    }
}
