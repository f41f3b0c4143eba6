//! The counters of a core. Each is written by its core alone and read by whoever renders: no lock,
//! no shared cache line, no read-modify-write. Must not decide anything.

pub mod counter;
pub mod histogram;
pub mod outside;
pub mod process;
pub mod render;

use crate::http::status::Status;
use crate::metrics::counter::Counter;
use crate::metrics::histogram::Histogram;
use crate::wire::close::CloseCode;

/// The counts of one core. The alignment keeps two cores' cells off one cache line, and off the
/// pair of lines that is fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreMetrics {
    /// Connections accepted.
    pub opened: Counter,
    /// Times that accepting failed for want of descriptors or memory.
    pub accept_failures: Counter,
    /// WebSocket frames received.
    pub frames_in: Counter,
    /// Bytes received.
    pub bytes_in: Counter,
    /// Messages published.
    pub publishes: Counter,
    /// Messages of the past that were answered.
    pub history_records: Counter,
    /// Polls that were answered, with messages or without.
    pub polls_answered: Counter,
    /// Messages in those answers.
    pub poll_records: Counter,
    /// Encodings of what was published: one for each form in use, in the topic and in patterns.
    pub encodes: Counter,
    /// Times that deflating was gone through for those.
    pub deflates: Counter,
    /// Commands of multiplexed clients that were refused.
    pub commands_refused: Counter,
    /// Times that a publisher ahead of its subscribers was made to wait.
    pub publishes_paced: Counter,
    /// Frames whose last byte the kernel took.
    pub frames_out: Counter,
    /// Bytes the kernel took.
    pub bytes_out: Counter,
    /// Writes that took bytes.
    pub writes: Counter,
    /// Of those, writes that took less than they were given.
    pub writes_partial: Counter,
    /// Writes that took nothing.
    pub writes_blocked: Counter,
    /// Frames left out because the subscriber wants only the newest.
    pub frames_conflated: Counter,
    /// Subscribers passed by retention that were disconnected.
    pub lapses_disconnected: Counter,
    /// Subscribers passed by retention that were told of the gap and went on.
    pub lapses_skipped: Counter,
    /// Subscribers whose position of old was retained no longer.
    pub resumes_after_gap: Counter,
    /// Frames missed in all those cases, as far as they could be counted.
    pub gap_frames: Counter,
    /// Time from a publish to the end of the sweep that brought it to the core's sockets, ns.
    pub sweep_ns: Latency,
    /// Time a turn of the loop took, sleeping not included, ns.
    pub turn_ns: Latency,
    /// Frames that one write carried.
    pub frames_per_write: Frames,
    /// Connections that this core has descriptors for.
    pub room: Counter,
    /// Descriptors that it may have open.
    pub descriptors_max: Counter,
    descriptors_at_start: Counter,
    /// Connections whose socket has refused bytes and that are not caught up since.
    lagging: Counter,
    shedding: Counter,
    owed_max: Counter,
    slot_bytes: Counter,
    pending_bytes: Counter,
    buffer_bytes: Counter,
    roles: PerRole,
    closing: PerReason,
    closed: PerReason,
    refused: PerStatus,
    turned_away: PerGate,
    /// TLS handshakes completed.
    pub tls_handshakes: Counter,
    tls_failures: [Counter; TlsFailure::ALL.len()],
    asked: PerOutcome,
}

type PerRole = [Counter; Role::ALL.len()];
type PerReason = [Counter; CloseReason::ALL.len()];
type PerGate = [Counter; Gate::ALL.len()];
type PerOutcome = [Counter; AuthOutcome::ALL.len()];
type PerStatus = [Counter; Status::ALL.len()];

/// Bounds from 1.024 µs to 17.2 s, and the rest.
type Latency = Histogram<10, 26>;

/// Bounds from 1 to 65,536, and the rest.
type Frames = Histogram<0, 18>;

macro_rules! labels {
    ($(#[$doc:meta])* $name:ident {
        $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value, in the order of the listing.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label's value.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }
    };
}

labels! {
    /// What a connection is for, once it is no longer a mere request.
    Role {
        /// A WebSocket that follows feeds.
        Subscriber = "subscriber",
        /// An event stream.
        Events = "events",
        /// A WebSocket that publishes.
        Publisher = "publisher",
        /// A WebSocket that follows many feeds, publishes, and is answered.
        Multiplexed = "multiplexed",
        /// A WebSocket that gets its messages back.
        Echo = "echo",
        /// A request that waits for what comes next.
        Poll = "poll",
    }
}

labels! {
    /// How a connection ended: by a close code of the engine's, or without one.
    CloseReason {
        /// The exchange was complete, closing handshake included.
        Done = "done",
        /// The peer was gone: end of stream, reset, or a failed write.
        PeerGone = "peer_gone",
        /// See [`CloseCode::Normal`].
        Normal = "normal",
        /// See [`CloseCode::Draining`].
        Draining = "draining",
        /// See [`CloseCode::Protocol`].
        Protocol = "protocol",
        /// See [`CloseCode::Unsupported`].
        Unsupported = "unsupported",
        /// See [`CloseCode::InvalidText`].
        InvalidText = "invalid_text",
        /// See [`CloseCode::TooBig`].
        TooBig = "too_big",
        /// See [`CloseCode::BadRequest`].
        BadRequest = "bad_request",
        /// See [`CloseCode::Unauthorised`].
        Unauthorised = "unauthorised",
        /// See [`CloseCode::Forbidden`].
        Forbidden = "forbidden",
        /// See [`CloseCode::Timeout`].
        Timeout = "timeout",
        /// See [`CloseCode::Lagged`].
        Lagged = "lagged",
        /// See [`CloseCode::Stalled`].
        Stalled = "stalled",
        /// See [`CloseCode::RateLimited`].
        RateLimited = "rate_limited",
        /// See [`CloseCode::OverCapacity`].
        OverCapacity = "over_capacity",
    }
}

labels! {
    /// Which gate turned a client away.
    Gate {
        /// `limits.connections_max`.
        Connections = "connections",
        /// `limits.connections_per_source_max`.
        Source = "source",
        /// `limits.handshakes_per_s_per_source`.
        SourceRate = "source_rate",
        /// `limits.accepts_per_s_max`.
        AcceptRate = "accept_rate",
        /// `security.origins`.
        Origin = "origin",
        /// `limits.controls_per_s_max`.
        Controls = "controls",
        /// The core has descriptors for no more.
        Descriptors = "descriptors",
        /// An administrator's endpoint, from elsewhere.
        Admin = "admin",
        /// From elsewhere than `proxy.trusted`, while a PROXY header is expected.
        Balancer = "balancer",
        /// Without the PROXY header that is expected.
        ProxyHeader = "proxy_header",
        /// `auth.first_message_max`.
        Guests = "guests",
        /// The engine drains or is not ready yet.
        Draining = "draining",
        /// Memory is short: the most lagged were disconnected.
        Memory = "memory",
    }
}

labels! {
    /// Why a TLS handshake was not completed.
    TlsFailure {
        /// The client speaks HTTP without TLS.
        NotTls = "not_tls",
        /// No version, cipher or protocol that both know.
        Incompatible = "incompatible",
        /// The client's certificate is missing or not trusted.
        Certificate = "certificate",
        /// The client broke it off and said so: most often it does not trust our certificate.
        Refused = "refused",
        /// What came was no TLS, or broke its rules.
        Protocol = "protocol",
        /// It was not done in time.
        Timeout = "timeout",
        /// The connection ended before.
        Gone = "gone",
    }
}

labels! {
    /// What became of a client that was asked for a token.
    AuthOutcome {
        /// It was let in.
        Accepted = "accepted",
        /// It has a right token, which does not hold this right.
        Forbidden = "forbidden",
        /// It had no token.
        Missing = "missing",
        /// What it had is no token.
        Malformed = "malformed",
        /// The token is none of ours.
        Unknown = "unknown",
        /// The algorithm is not that of the key.
        Algorithm = "algorithm",
        /// There is no such key, or more than one.
        Key = "key",
        /// The signature does not fit.
        Signature = "signature",
        /// It is over.
        Expired = "expired",
        /// It has not begun.
        NotYetValid = "not_yet_valid",
        /// Somebody else issued it.
        Issuer = "issuer",
        /// It was meant for somebody else.
        Audience = "audience",
        /// A claim is missing or of the wrong kind.
        Claim = "claim",
        /// There are too many subjects.
        Full = "full",
    }
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        match code {
            CloseCode::Normal => Self::Normal,
            CloseCode::Draining => Self::Draining,
            CloseCode::Protocol => Self::Protocol,
            CloseCode::Unsupported => Self::Unsupported,
            CloseCode::InvalidText => Self::InvalidText,
            CloseCode::TooBig => Self::TooBig,
            CloseCode::BadRequest => Self::BadRequest,
            CloseCode::Unauthorised => Self::Unauthorised,
            CloseCode::Forbidden => Self::Forbidden,
            CloseCode::Timeout => Self::Timeout,
            CloseCode::Lagged => Self::Lagged,
            CloseCode::Stalled => Self::Stalled,
            CloseCode::RateLimited => Self::RateLimited,
            CloseCode::OverCapacity => Self::OverCapacity,
        }
    }
}

impl CoreMetrics {
    /// A connection was accepted.
    pub fn opened(&self) {
        self.opened.add(1);
    }

    /// Accepting failed for want of descriptors or memory.
    pub fn accept_failed(&self) {
        self.accept_failures.add(1);
    }

    /// A read brought so many bytes.
    pub fn received(&self, bytes: usize) {
        self.bytes_in.add(bytes as u64);
    }

    /// A message was published, in so many encodings, so many of them deflated.
    pub fn published(&self, encodes: u32, deflates: u32) {
        self.publishes.add(1);
        self.encoded(encodes, deflates);
    }

    /// So many encodings were made, so many of them deflated.
    pub fn encoded(&self, encodes: u32, deflates: u32) {
        self.encodes.add(u64::from(encodes));
        self.deflates.add(u64::from(deflates));
    }

    /// A connection began to lag.
    pub fn lag_began(&self) {
        self.lagging.add(1);
    }

    /// A lagging connection is caught up, or gone.
    pub fn lag_ended(&self) {
        self.lagging.subtract(1);
    }

    /// A publisher ahead of its subscribers was made to wait.
    pub fn paced(&self) {
        self.publishes_paced.add(1);
    }

    /// So many writes completed so many frames between them.
    pub fn wrote(&self, writes: u64, frames: u64, bytes: u64) {
        self.writes.add(writes);
        self.frames_out.add(frames);
        self.bytes_out.add(bytes);
        if let Some(each) = frames.checked_div(writes) {
            self.frames_per_write.record(each, writes);
        }
    }

    /// A turn of the loop took so long, sleeping not included.
    pub fn loop_turn(&self, turn_ns: u64) {
        self.turn_ns.record(turn_ns, 1);
    }

    /// A sweep ended so long after the publish it began with.
    pub fn swept(&self, since_publish_ns: u64) {
        self.sweep_ns.record(since_publish_ns, 1);
    }

    /// A connection took up a role.
    pub fn role_began(&self, role: Role) {
        self.roles[role as usize].add(1);
    }

    /// A connection gave up a role.
    pub fn role_ended(&self, role: Role) {
        self.roles[role as usize].subtract(1);
    }

    /// The engine began to close a connection.
    pub fn closing(&self, reason: CloseReason) {
        self.closing[reason as usize].add(1);
    }

    /// A connection is gone.
    pub fn closed(&self, reason: CloseReason) {
        self.closed[reason as usize].add(1);
    }

    /// A TLS handshake was completed.
    pub fn tls_opened(&self) {
        self.tls_handshakes.add(1);
    }

    /// A TLS handshake was not completed.
    pub fn tls_failed(&self, failure: TlsFailure) {
        self.tls_failures[failure as usize].add(1);
    }

    /// A request was refused with this status.
    pub fn refused(&self, status: Status) {
        self.refused[status as usize].add(1);
    }

    /// How many connections fit, and of what: descriptors open before, and their limit.
    pub fn set_room(&self, connections: usize, open: usize, limit: usize) {
        self.room.set(connections as u64);
        self.descriptors_at_start.set(open as u64);
        self.descriptors_max.set(limit as u64);
    }

    /// Descriptors open in the table of this core.
    #[must_use]
    pub fn descriptors(&self) -> u64 {
        let closed: u64 = self.closed.iter().map(Counter::value).sum();
        let open = self.opened.value().saturating_sub(closed);
        self.descriptors_at_start.value() + open
    }

    /// How much is given up for want of memory: 0 is nothing.
    pub fn set_shedding(&self, level: u64) {
        self.shedding.set(level);
    }

    /// The last connection is gone: no memory belongs to any, though no count may follow.
    pub fn emptied(&self) {
        self.pending_bytes.set(0);
        self.owed_max.set(0);
    }

    /// What the connection that owes most owes, bytes: for the other cores to compare.
    pub fn set_owed_max(&self, bytes: u64) {
        self.owed_max.set(bytes);
    }

    /// See [`set_owed_max`](Self::set_owed_max).
    pub fn owed_max(&self) -> u64 {
        self.owed_max.value()
    }

    /// Bytes that belonged to a connection are free again before the next count.
    pub fn memory_freed(&self, bytes: u64) {
        self.pending_bytes.subtract(bytes);
    }

    /// Bytes that hang on connections, as last counted.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes.value()
    }

    /// Connections that lag.
    pub fn lagging(&self) -> u64 {
        self.lagging.value()
    }

    /// A gate turned a client away.
    pub fn turned_away(&self, gate: Gate) {
        self.turned_away[gate as usize].add(1);
    }

    /// A client was asked for a token, with this outcome.
    pub fn asked(&self, outcome: AuthOutcome) {
        self.asked[outcome as usize].add(1);
    }

    /// User memory, bytes: of connection slots, of what belongs to them (incomplete input, private
    /// output), and of the read buffer.
    pub fn set_memory(&self, slot_bytes: u64, pending_bytes: u64, buffer_bytes: u64) {
        self.slot_bytes.set(slot_bytes);
        self.pending_bytes.set(pending_bytes);
        self.buffer_bytes.set(buffer_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_two_cores_share_no_cache_line() {
        assert_eq!(align_of::<CoreMetrics>(), 128);
        assert_eq!(size_of::<CoreMetrics>() % 128, 0);
    }

    #[test]
    fn every_close_code_has_a_reason_of_its_own() {
        let reasons: Vec<CloseReason> = CloseCode::ALL.map(CloseReason::from).to_vec();
        // All reasons but the two that come without a code, in the order of the codes.
        assert_eq!(reasons, CloseReason::ALL[2..]);
    }

    #[test]
    fn a_role_that_ends_twice_does_not_wrap() {
        let metrics = CoreMetrics::default();
        metrics.role_began(Role::Echo);
        metrics.role_ended(Role::Echo);
        metrics.role_ended(Role::Echo);
        assert_eq!(metrics.roles[Role::Echo as usize].value(), 0);
    }
}
