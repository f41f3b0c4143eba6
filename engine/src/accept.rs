//! Accepting: who comes in, how many in one turn, and what happens when the machine has no room.
//! Must not read from a connection: once it is in, the core's turn does.

use std::io;
use std::net::IpAddr;

use mio::net::TcpStream;
use mio::{Interest, Token};
use rustls::ServerConfig;

use crate::conn::Conn;
use crate::core::Core;
use crate::current::View;
use crate::timer::{self, Tick};
use crate::transport::Transport;

/// Connections accepted in one turn: a storm of them must not hold up delivery.
const ACCEPTS_PER_TURN: usize = 64;
/// How long accepting rests after it failed for want of descriptors or memory.
const ACCEPT_REST_TICKS: Tick = 2;
/// How often that is told, while it lasts.
const ACCEPT_WARNING_TICKS: Tick = 10;

/// Whether connections wait to be accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepting {
    /// The kernel will say when there are.
    Waiting,
    /// There may be more.
    More,
    /// Not before this tick: the machine had no room for one.
    Resting(Tick),
}

impl Core {
    pub(crate) fn accept(&mut self) {
        match self.accepting {
            Accepting::Waiting => return,
            Accepting::Resting(until) if self.now < until => return,
            _ => self.accepting = Accepting::More,
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((_, peer)) if self.turns_away(peer.ip()) => {}
                Ok((stream, peer)) => self.admit(stream, peer.ip()),
                Err(error) => {
                    self.accepting = self.after_accept_error(&error);
                    return;
                }
            }
        }
    }

    fn after_accept_error(&mut self, error: &io::Error) -> Accepting {
        match error.kind() {
            io::ErrorKind::WouldBlock => Accepting::Waiting,
            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => Accepting::More,
            _ => {
                self.metrics.accept_failed();
                if self.now >= self.accept_warning_due {
                    self.accept_warning_due = self.now + ACCEPT_WARNING_TICKS;
                    tracing::warn!(core = self.index, %error, "cannot accept: trying again");
                }
                Accepting::Resting(self.now + ACCEPT_REST_TICKS)
            }
        }
    }

    fn admit(&mut self, mut stream: TcpStream, source: IpAddr) {
        let admitted = self.shared.admission.enter(source);
        let expects_header = self.expects_header();
        let entry = self.conns.vacant_entry();
        let key = entry.key() as u32;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(key as usize);
        if let Err(error) = self.poll.registry().register(&mut stream, token, interest) {
            tracing::warn!(core = self.index, %error, "cannot watch a connection: dropped");
            self.shared.admission.leave(source);
            return;
        }
        let transport = match transport(stream, self.tls.as_ref()) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(core = self.index, %error, "no TLS session: dropped");
                self.shared.admission.leave(source);
                return;
            }
        };
        let now = self.now;
        let conn = entry.insert(Conn::new(transport, source, now));
        conn.queued.arriving = expects_header;
        self.metrics.opened();
        self.set_due(key, now + timer::tick_of_ms(self.config.limits.handshake_ms_max));
        match admitted {
            // Whose connection it is, and so whether it is one too many, its header will say.
            _ if expects_header => self.queue_read(key),
            Ok(()) => self.queue_read(key),
            Err(refusal) => self.refuse(key, refusal),
        }
    }
}

fn transport(
    stream: TcpStream,
    tls: Option<&View<ServerConfig>>,
) -> Result<Transport, rustls::Error> {
    match tls {
        Some(tls) => Transport::secure(stream, tls.share()),
        None => Ok(Transport::Plain(stream)),
    }
}
