//! Accepting connections: limits, registration, and a pause when the machine has no descriptors or
//! memory left. `newcomers` says for how long in one turn. Must not read from a connection.

use std::borrow::Cow;
use std::io;
use std::net::IpAddr;

use rustls::ServerConfig;

use crate::core::Core;
use crate::core::conn::Conn;
use crate::core::entrance::Accepting;
use crate::core::flags::Flags;
use crate::core::wheel;
use crate::core::wheel::Tick;
use crate::http::route::Door;
use crate::limits::admission::Full;
use crate::net::backend::{Backend, Stream};
use crate::net::forwarded;
use crate::net::transport::Transport;
use crate::settings::config::{Config, Limits};
use crate::settings::current::View;

/// How often that is told, while it lasts.
const ACCEPT_WARNING_TICKS: Tick = 10;

impl<B: Backend> Core<B> {
    /// True when an entrance is in this state.
    pub(crate) fn accepts(&self, accepting: Accepting) -> bool {
        self.entrances.iter().any(|entrance| entrance.accepting == accepting)
    }

    /// While accepting is suspended for want of descriptors, a new connection is no reason to try
    /// again.
    pub(crate) fn accept_ready(&mut self, at: usize) {
        let entrance = &mut self.entrances[at];
        if entrance.accepting == Accepting::Waiting {
            entrance.accepting = Accepting::More;
        }
    }

    /// Accepts until `end_ns`, and at least one at each entrance.
    pub(crate) fn accept(&mut self, end_ns: u64) {
        for at in 0..self.entrances.len() {
            self.accept_at(at, end_ns);
        }
    }

    fn accept_at(&mut self, at: usize, end_ns: u64) {
        let door = self.entrances[at].door;
        match self.entrances[at].accepting {
            Accepting::Waiting => return,
            Accepting::Resting(until) if self.now < until => return,
            _ if self.is_full() => return self.rest_while_full(at),
            _ => self.entrances[at].accepting = Accepting::More,
        }
        loop {
            let entered = self.backend.accept(at).and_then(|(stream, source)| {
                if self.turns_away(source, door) {
                    return Ok(());
                }
                self.admit(stream, source, door)
            });
            if let Err(error) = entered {
                self.entrances[at].accepting = self.after_accept_error(&error);
                return;
            }
            if self.is_full() {
                return self.rest_while_full(at);
            }
            if self.now_ns() >= end_ns {
                return;
            }
        }
    }

    /// Whether no connection fits any more, not even one to be told so.
    fn is_full(&self) -> bool {
        self.conns.len() > self.room.connections.saturating_add(self.room.reserve)
    }

    fn rest_while_full(&mut self, at: usize) {
        self.entrances[at].accepting = Accepting::Full;
        self.metrics.accept_failed();
        self.warn_of_room(&"the descriptors of this core are used up");
    }

    /// A connection has ended: one that waits may have its descriptor.
    pub(crate) fn descriptor_freed(&mut self) {
        if self.is_full() {
            return;
        }
        for entrance in &mut self.entrances {
            if entrance.accepting == Accepting::Full {
                entrance.accepting = Accepting::More;
            }
        }
    }

    fn warn_of_room(&mut self, error: &dyn std::fmt::Display) {
        if self.now < self.accept_warning_due {
            return;
        }
        self.accept_warning_due = self.now + ACCEPT_WARNING_TICKS;
        let (core, connections) = (self.index, self.conns.len());
        tracing::warn!(
            core,
            connections,
            %error,
            "cannot accept: if it is descriptors, raise their limit (ulimit -Hn, LimitNOFILE=)"
        );
    }

    /// Whether a connection is beyond those that are served: it is in the reserve, and still would
    /// be if it came now.
    pub(crate) fn is_crowded(&self, key: u32) -> bool {
        self.conns[key as usize].flags.contains(Flags::CROWDED)
            && self.conns.len() > self.room.connections
    }

    /// What an error leads to; one that says the machine has no room is counted, and told once a
    /// second.
    fn after_accept_error(&mut self, error: &io::Error) -> Accepting {
        let accepting = Accepting::after(error, self.now);
        if matches!(accepting, Accepting::Resting(_)) {
            self.metrics.accept_failed();
            self.warn_of_room(error);
        }
        accepting
    }

    /// The limits for a connection from `source`: those of one address do not hold for a proxy that
    /// says whom it passes on, and it counts as accepted once the header that is due has come.
    fn limits_of(&self, source: IpAddr, expects_header: bool) -> Cow<'_, Limits> {
        let Config { limits, proxy, .. } = &*self.config;
        let passes_on = proxy.forwarded_for || expects_header;
        if !passes_on || !proxy.trusted.contains(source) {
            return Cow::Borrowed(limits);
        }
        Cow::Owned(Limits {
            connections_per_source_max: 0,
            handshakes_per_s_per_source: 0,
            accepts_per_s_max: if expects_header { 0 } else { limits.accepts_per_s_max },
            ..limits.clone()
        })
    }

    /// Has the limits of one address hold for whom a trusted proxy passes on.
    ///
    /// # Errors
    /// [`Full`] when that one has too many connections, or opens them too fast.
    pub(crate) fn take_forwarded(&mut self, key: u32, header: &str) -> Result<(), Full> {
        let proxy = &self.config.proxy;
        let conn = &mut self.conns[key as usize];
        let is_trusted =
            conn.flags.contains(Flags::IS_FORWARDED) || proxy.trusted.contains(conn.source);
        if !proxy.forwarded_for || !is_trusted {
            return Ok(());
        }
        let source = forwarded::source(header, conn.source, &proxy.trusted);
        if source == conn.source {
            return Ok(());
        }
        conn.flags.insert(Flags::IS_FORWARDED);
        // It was accepted already, and is counted at that once.
        let limits = Limits { accepts_per_s_max: 0, ..self.config.limits.clone() };
        self.move_source(key, source, &limits)
    }

    /// Counts a connection for `source` from now on, for whom it was passed on.
    ///
    /// # Errors
    /// [`Full`] when that one has too many connections, or opens them too fast.
    pub(crate) fn move_source(
        &mut self,
        key: u32,
        source: IpAddr,
        limits: &Limits,
    ) -> Result<(), Full> {
        let now_ns = self.now_ns();
        let before = std::mem::replace(&mut self.conns[key as usize].source, source);
        self.shared.admission.leave(before, now_ns);
        self.shared.admission.enter(source, limits, now_ns)
    }

    /// Takes a connection in, if only to tell it that it is one too many.
    fn admit(&mut self, mut stream: B::Stream, source: IpAddr, door: Door) -> io::Result<()> {
        let now_ns = self.now_ns();
        let expects_header = self.expects_header(door);
        let limits = self.limits_of(source, expects_header);
        let admitted = self.shared.admission.enter(source, &limits, now_ns);
        let crowded = self.conns.len() >= self.room.connections && door != Door::Admins;
        let entry = self.conns.vacant_entry();
        let key = entry.key() as u32;
        if let Err(error) = self.backend.register(&mut stream, key) {
            self.shared.admission.leave(source, now_ns);
            return Err(error);
        }
        let transport = match transport(stream, self.tls.as_ref()) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(core = self.index, %error, "no TLS session: dropped");
                self.shared.admission.leave(source, now_ns);
                return Ok(());
            }
        };
        let now = self.now;
        let conn = entry.insert(Conn::new(transport, source, now));
        conn.door = door;
        conn.flags.set(Flags::ARRIVING, expects_header);
        conn.flags.set(Flags::CROWDED, crowded);
        self.metrics.opened();
        self.set_due(key, now + wheel::tick_of_ms(self.request_ms_max(key)));
        match admitted {
            // Whose connection it is, and so whether it is one too many, its header will say.
            _ if expects_header => self.queue_read(key),
            Ok(()) => self.queue_read(key),
            Err(refusal) => self.refuse(key, refusal),
        }
        Ok(())
    }
}

fn transport<S: Stream>(
    stream: S,
    tls: Option<&View<ServerConfig>>,
) -> Result<Transport<S>, rustls::Error> {
    match tls {
        Some(tls) => Transport::secure(stream, tls.share()),
        None => Ok(Transport::Plain(stream)),
    }
}
