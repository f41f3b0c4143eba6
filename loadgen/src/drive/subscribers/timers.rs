//! Sockets of a thread whose server may have stopped sending: their timers are checked every
//! second, as real clients do. What silence means belongs to their protocol; how a socket ends
//! belongs to the worker.

use crate::drive::subscriber::State;
use crate::drive::subscribers::worker::SubscriberThread;
use crate::scenario::groups::ClassKind;
use crate::time::units::SECOND_NS;

impl SubscriberThread<'_> {
    /// Checks the timers if a second has passed. Everything that could be read has been read by
    /// then.
    pub(super) fn check_protocol_timers(&mut self, now_ns: u64) {
        let is_due = now_ns >= self.protocol_timers_checked_ns + SECOND_NS;
        if !is_due || !self.run_state.plan.dialect.has_protocol() {
            return;
        }
        self.protocol_timers_checked_ns = now_ns;
        let keys: Vec<usize> = self.sockets.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.check_socket_timers(key));
    }

    fn check_socket_timers(&mut self, key: usize) {
        let (mut out, now_ns, kind) = (Vec::new(), self.arrival_ns(), self.kind_at(key));
        let socket = &mut self.sockets[key];
        let state = socket.state;
        match (socket.check_timers(now_ns, &mut out), kind, state) {
            // This socket is about to disconnect and sends nothing more.
            (_, ClassKind::Stalled, _) => {}
            (Ok(()), ..) => self.send_pongs(key, &out),
            (Err(reason), ClassKind::Healthy, State::Open(account)) => {
                self.close(key, account, reason);
            }
            (Err(reason), ClassKind::Healthy, _) => self.give_up(key, &reason),
            // The ping that they miss may be among the bytes they have not read yet.
            (Err(_), ClassKind::Slow { .. } | ClassKind::Pausing { .. }, _) => {}
        }
    }
}
