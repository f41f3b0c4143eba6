//! Sockets that do not read at once: slow ones read at a limited rate; pausing ones read nothing
//! for a while and then everything. Must not judge what is read.

use std::mem;

use crate::drive::subscriber::{State, Subscriber};
use crate::drive::subscribers::paced::{Paced, Pausing};
use crate::drive::subscribers::worker::SubscriberThread;
use crate::scenario::groups::ClassKind;
use crate::time::draw::mix;
use crate::time::units::{SECOND_NS, nanoseconds};

impl SubscriberThread<'_> {
    /// Registers how a newly opened socket reads.
    pub(super) fn note_pace(&mut self, key: usize, subscriber: u32) {
        match self.kind_at(key) {
            ClassKind::Slow { bytes_per_s } => {
                self.paced.push(Paced { key, subscriber, bytes_per_s, credit: 0 });
            }
            // Bytes that came with the response are read at the first check.
            ClassKind::Pausing { .. } => {
                self.pausing.push(Pausing { key, subscriber, is_paused: true });
            }
            ClassKind::Healthy | ClassKind::Stalled => {}
        }
    }

    /// Reads what slow sockets may take by now, and reads the sockets whose pause has ended.
    pub(super) fn read_paced(&mut self, now_ns: u64) {
        let passed_ns = now_ns - self.paced_at_ns;
        if passed_ns < PACE_NS || (self.paced.is_empty() && self.pausing.is_empty()) {
            return;
        }
        self.paced_at_ns = now_ns;
        let mut paced = mem::take(&mut self.paced);
        paced.retain_mut(|pace| self.read_at_pace(pace, passed_ns));
        self.paced = paced;
        let mut pausing = mem::take(&mut self.pausing);
        pausing.retain_mut(|socket| self.read_after_pause(socket, now_ns));
        self.pausing = pausing;
    }

    /// Whether a subscriber is in one of its pauses; each subscriber's pauses start at its own
    /// offset.
    pub(super) fn is_paused(&self, subscriber: u32, now_ns: u64) -> bool {
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let ClassKind::Pausing { pause, every } = self.kind_of(plan) else { return false };
        let every_ns = nanoseconds(every).max(1);
        let shift_ns = mix(self.run_state.plan.seed ^ PAUSE_STREAM, 0, u64::from(subscriber));
        (now_ns + shift_ns % every_ns) % every_ns < nanoseconds(pause)
    }

    /// Whether the socket still exists.
    fn read_at_pace(&mut self, pace: &mut Paced, passed_ns: u64) -> bool {
        let Some(account) = self.account_at(pace.key, pace.subscriber) else { return false };
        let earned = u128::from(pace.bytes_per_s) * u128::from(passed_ns) / u128::from(SECOND_NS);
        let quantum = (pace.bytes_per_s / PACED_READS_PER_S).max(1);
        pace.credit = (pace.credit + earned as u64).min(4 * quantum);
        if pace.credit < quantum {
            return true;
        }
        let read = self.read_once(pace.key, account, pace.credit as usize);
        if let Ok(Some(filled)) = read {
            pace.credit = pace.credit.saturating_sub(filled.read as u64);
        }
        read.is_ok()
    }

    /// Whether the socket still exists.
    fn read_after_pause(&mut self, socket: &mut Pausing, now_ns: u64) -> bool {
        let Some(account) = self.account_at(socket.key, socket.subscriber) else { return false };
        let was_paused =
            mem::replace(&mut socket.is_paused, self.is_paused(socket.subscriber, now_ns));
        if was_paused && !socket.is_paused {
            self.read_all(socket.key, account, true);
        }
        true
    }

    /// The account of a subscriber's open socket, if this key still belongs to it.
    fn account_at(&self, key: usize, subscriber: u32) -> Option<u32> {
        match self.sockets.get(key) {
            Some(&Subscriber { state: State::Open(account), plan, .. }) if plan == subscriber => {
                Some(account)
            }
            _ => None,
        }
    }
}

const PAUSE_STREAM: u64 = 0x7061_7573;
const PACE_NS: u64 = SECOND_NS / 100;
const PACED_READS_PER_S: u64 = 20;
