//! Reads the PROXY header that a trusted balancer puts before a connection, to learn the client's
//! address. Owns who is trusted to send one; others are turned away. Must not read beyond the
//! header: TLS or HTTP follows.

use std::fmt::Display;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;

use crate::core::Core;
use crate::core::flags::Flags;
use crate::core::wheel::Tick;
use crate::http::route::Door;
use crate::metrics::{CloseReason, Gate};
use crate::net::backend::{Backend, Stream};
use crate::net::proxy::{HEADER_BYTES_MAX, Header};
use crate::settings::choices::Versions;

/// How often it is told that connections are turned away, while they are.
const WARNING_TICKS: Tick = 10;

impl<B: Backend> Core<B> {
    /// True when connections have to begin with a PROXY header.
    pub(crate) fn expects_header(&self, door: Door) -> bool {
        // Administrators have a listener of their own so that balancers do not reach it.
        door != Door::Admins && self.config.proxy.protocol != Versions::Off
    }

    /// Whether a connection from `peer` may say whom it speaks for; told and counted when it may
    /// not although it has to.
    pub(crate) fn turns_away(&mut self, peer: IpAddr, door: Door) -> bool {
        let is_trusted = self.config.proxy.trusted.contains(peer);
        let turned_away = self.expects_header(door) && !is_trusted;
        if turned_away {
            self.count_refusal(Gate::Balancer, peer, &"not in proxy.trusted");
        }
        turned_away
    }

    /// Takes the header off a connection once it is whole. Until then it is only looked at: it
    /// stays with the kernel, and whatever joins it brings an event.
    pub(crate) fn take_header(&mut self, key: u32) {
        let Some(conn) = self.conns.get_mut(key as usize) else { return };
        let mut bytes = [0; HEADER_BYTES_MAX];
        let seen = match conn.transport.stream_mut().peek(&mut bytes) {
            Ok(0) => return self.end(key, CloseReason::PeerGone),
            Ok(count) => bytes.get(..count).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) if error.kind() == ErrorKind::Interrupted => return self.queue_read(key),
            Err(_) => return self.end(key, CloseReason::PeerGone),
        };
        match Header::parse(seen, self.config.proxy.protocol) {
            Ok(Some(header)) => self.take_whole_header(key, header),
            Ok(None) if conn.flags.contains(Flags::READ_CLOSED) => {
                self.end(key, CloseReason::PeerGone)
            }
            Ok(None) => {}
            Err(error) => {
                let peer = conn.source;
                self.count_refusal(Gate::ProxyHeader, peer, &error);
                self.end(key, CloseReason::BadRequest);
            }
        }
    }

    fn take_whole_header(&mut self, key: u32, header: Header) {
        let conn = &mut self.conns[key as usize];
        let mut bytes = [0; HEADER_BYTES_MAX];
        let taken =
            bytes.get_mut(..header.bytes).map(|room| conn.transport.stream_mut().read(room));
        // What was looked at is there to be read.
        if !matches!(taken, Some(Ok(count)) if count == header.bytes) {
            return self.end(key, CloseReason::PeerGone);
        }
        conn.flags.remove(Flags::ARRIVING);
        let source = header.source.unwrap_or(conn.source);
        // Now it counts as accepted: before, nobody knew for whom.
        let limits = self.config.limits.clone();
        match self.move_source(key, source, &limits) {
            Ok(()) => self.queue_read(key),
            Err(full) => self.refuse(key, full),
        }
    }

    fn count_refusal(&mut self, gate: Gate, peer: IpAddr, reason: &dyn Display) {
        self.metrics.turned_away(gate);
        if self.now >= self.proxy_warning_due {
            self.proxy_warning_due = self.now + WARNING_TICKS;
            tracing::warn!(core = self.index, %peer, %reason, "connection turned away");
        }
    }
}
