//! Opens the sockets of a thread, from the TCP connection to the confirmed subscription: for the
//! ramp, and again for sockets that join or reconnect. When that is due belongs to the ramp and to
//! `lifecycle`; what an open socket receives belongs to `reading`.

use std::io;
use std::sync::atomic::Ordering;

use mio::{Interest, Token};

use crate::codec::handshake;
use crate::drive::connection::Connection;
use crate::drive::subscriber::{State, Subscriber};
use crate::drive::subscribers::worker::{OpenedBy, SubscriberThread};
use crate::drive::{link, ramp, subscriber};
use crate::os::socket;
use crate::scenario::groups::ClassKind;
use crate::time::clock::mono_ns;
use crate::time::draw::mix;

impl SubscriberThread<'_> {
    pub(super) fn open_due(&mut self, now_ns: u64) {
        if self.is_ramped {
            return;
        }
        if self.run_state.progress.is_stopped() {
            self.ramp.abandon();
        }
        while let Some(attempt) = self.ramp.due(now_ns) {
            if let Err(error) = self.open(attempt.subscriber, OpenedBy::First(attempt)) {
                self.ramp.failed(attempt, socket::failure_name(&error), now_ns);
            }
        }
        while let Some(subscriber) = self.ramp.overdue(now_ns) {
            if let Some((key, _)) = self.opening.get(&subscriber) {
                self.give_up(*key, ramp::TIMEOUT);
            }
        }
        if self.ramp.is_done() {
            self.is_ramped = true;
            self.run_state.ramped.fetch_add(1, Ordering::AcqRel);
        }
    }

    pub(super) fn open(&mut self, subscriber: u32, way: OpenedBy) -> io::Result<()> {
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let is_throttled =
            matches!(self.kind_of(plan), ClassKind::Slow { .. } | ClassKind::Stalled);
        let throttled = is_throttled.then_some(SLOW_RECEIVE_BYTES);
        let failed = match &way {
            OpenedBy::First(attempt) => u32::from(attempt.tries),
            OpenedBy::Again => self.reconnects.queue.failed_attempts(subscriber),
        };
        let node = self.run_state.plan.node_of(subscriber, failed);
        let stream = socket::connect(node, plan.source, throttled)?;
        let connection = Connection::encrypted(stream, self.run_state.tls.as_ref())?;
        let entry = self.sockets.vacant_entry();
        let key = entry.key();
        let socket = entry.insert(Subscriber::new(connection, subscriber));
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) =
            self.poll.registry().register(socket.connection.link.socket_mut(), Token(key), interest)
        {
            self.sockets.remove(key);
            return Err(error);
        }
        self.opening.insert(subscriber, (key, way));
        Ok(())
    }

    pub(super) fn finish_connect(&mut self, key: usize) {
        let socket = &mut self.sockets[key];
        match socket::is_connected(socket.connection.link.socket()) {
            Ok(false) => {}
            Ok(true) => {
                if let Err(error) = self.send_request(key) {
                    self.give_up(key, &link::failure(&error));
                }
            }
            Err(error) => self.give_up(key, socket::failure_name(&error)),
        }
    }

    /// Sends the request of a connected socket.
    fn send_request(&mut self, key: usize) -> io::Result<()> {
        let (run_state, nonce) = (self.run_state, self.nonce_of(key));
        let socket = &mut self.sockets[key];
        socket.state = State::Upgrading;
        let subscriber = &run_state.plan.subscribers[socket.plan as usize];
        let after = self.reconnects.queue.resume_of(socket.plan);
        let offer = subscriber::offer(run_state.plan, subscriber, &nonce, after);
        let request = offer.request();
        socket.connection.send(request.as_bytes())
    }

    /// Reads from a socket that is being opened; returns the number of bytes to handle.
    fn fill(&mut self, key: usize) -> Option<usize> {
        match self.sockets[key].connection.fill(&mut self.buffer, usize::MAX) {
            Ok(filled) => filled.map(|filled| filled.total),
            Err(reason) => {
                self.give_up(key, &reason);
                None
            }
        }
    }

    pub(super) fn finish_upgrade(&mut self, key: usize) {
        let Some(filled) = self.fill(key) else { return };
        let (plan, nonce) = (self.run_state.plan, self.nonce_of(key));
        let socket = &mut self.sockets[key];
        let subscriber = &plan.subscribers[socket.plan as usize];
        let after = self.reconnects.queue.resume_of(socket.plan);
        let offer = subscriber::offer(plan, subscriber, &nonce, after);
        match socket.answered(&self.buffer[..filled], &offer, plan) {
            Ok(None) => {}
            Ok(Some(answer)) => {
                self.buffer.copy_within(answer.head_bytes..filled, 0);
                let left = filled - answer.head_bytes;
                match self.sockets[key].state {
                    State::Subscribing => self.take_replies(key, left),
                    _ => self.finish_opening(key, left),
                }
            }
            Err(reason) => {
                self.ramp.note_refusal(handshake::refusal_text(&self.buffer[..filled]));
                self.give_up(key, &reason);
            }
        }
    }

    pub(super) fn finish_subscribing(&mut self, key: usize) {
        // Requests that a full socket did not accept are sent first, because their replies are
        // awaited.
        self.sockets[key].connection.flush();
        // At most as many reads as replies: each read returns at least one reply, or nothing is
        // left to read.
        while self.sockets.get(key).is_some_and(|socket| socket.state == State::Subscribing) {
            let Some(filled) = self.fill(key) else { return };
            self.take_replies(key, filled);
        }
    }

    fn take_replies(&mut self, key: usize, filled: usize) {
        let (mut pongs, now_ns) = (Vec::new(), self.arrival_ns());
        let socket = &mut self.sockets[key];
        match socket.on_replies(&self.buffer[..filled], &mut self.context, now_ns, &mut pongs) {
            Ok(false) => self.send_pongs(key, &pongs),
            Ok(true) => {
                self.send_pongs(key, &pongs);
                self.finish_opening(key, 0);
            }
            Err(reason) => self.give_up(key, &reason),
        }
    }

    /// The socket is open, and the buffer begins with this many bytes that arrived with the
    /// replies.
    fn finish_opening(&mut self, key: usize, filled: usize) {
        let account = self.opened(key);
        let is_open = filled == 0 || self.take(key, account, filled, self.arrival_ns());
        if is_open && self.kind_of_account(account) == ClassKind::Healthy {
            self.read_all(key, account, true);
        }
    }

    fn opened(&mut self, key: usize) -> u32 {
        let subscriber = self.sockets[key].plan;
        let (account, is_new) = match self.opening.remove(&subscriber) {
            Some((_, OpenedBy::Again)) => self.connected_again(subscriber),
            _ => (self.ramped(subscriber), true),
        };
        let socket = &mut self.sockets[key];
        socket.state = State::Open(account);
        if is_new {
            if socket.connection.takes_deflated() {
                self.context.reception.deflated(account);
            }
            self.run_state.progress.connected.fetch_add(1, Ordering::Relaxed);
        }
        self.note_pace(key, subscriber);
        account
    }

    fn ramped(&mut self, subscriber: u32) -> u32 {
        self.ramp.succeeded(mono_ns());
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let publishers = self.run_state.plan.publishers.len();
        self.context.reception.open(plan.class, plan.follows, publishers)
    }

    pub(super) fn give_up(&mut self, key: usize, reason: &str) {
        if let Some(socket) = self.sockets.try_remove(key)
            && let Some((_, way)) = self.opening.remove(&socket.plan)
        {
            match way {
                OpenedBy::First(attempt) => self.ramp.failed(attempt, reason, mono_ns()),
                OpenedBy::Again => self.connect_failed(socket.plan, reason),
            }
        }
    }

    fn nonce_of(&self, key: usize) -> String {
        let subscriber = u64::from(self.sockets[key].plan);
        let word = |half| u128::from(mix(self.run_state.plan.seed, subscriber, half));
        handshake::key(word(0) << 64 | word(1))
    }
}

const SLOW_RECEIVE_BYTES: usize = 8 * 1024;
