//! The table of all settings: default, range, unit and reason of each. The only place for a bound.
//! Must not read values (that is `layers`) or give them types (that is `config`).

use crate::feed::options::LagPolicy;

use crate::settings::choices::{CLIENT_AUTHS, LOG_FORMATS, LOG_LEVELS, PROXY_VERSIONS};
use crate::settings::knob::{DAY_MS, GIB, KIB, MIB, YEAR_S, integer, list, path, text};
pub use crate::settings::knob::{Kind, Knob, Rows};
use crate::settings::token::TOKEN;

/// Every such table.
pub const ROWS: &[Rows] = &[
    Rows {
        section: "retention",
        key: "class",
        own: &[text("retention.class", "pattern", "The topics it holds for.")],
        inherited: &["frames_max", "bytes_max", "age_ms_max", "lag"],
    },
    Rows { section: "auth", key: "token", own: TOKEN, inherited: &["publishes_per_s"] },
];

/// Every setting, in the order of the file. What those of `retention` and `auth` say for all, a row
/// of [`ROWS`] may say again for some.
pub const KNOBS: &[Knob] = &[
    Knob {
        section: "server",
        key: "listen",
        kind: Kind::Address { default: "127.0.0.1:9400" },
        reason: "Where clients connect. Port 0 takes any free one.",
    },
    integer(
        "server",
        "cores",
        (0, 0, 1024, "threads"),
        "Event loops. 0 is one for each CPU this process may run on.",
    ),
    Knob {
        section: "server",
        key: "insecure",
        kind: Kind::Switch,
        reason: "Listening beyond loopback without [auth] needs this said aloud: nobody is asked \
                 who they are, so everybody who reaches the port may publish and subscribe.",
    },
    text(
        "server",
        "handover",
        "A Unix socket, of less than 90 bytes. A process that is started with the same path takes \
         listeners, feeds and connections over from the one that runs, and no client reconnects.",
    ),
    path(
        "auth",
        "jwks",
        "The public keys, as a JSON Web Key Set, that sign JSON Web Tokens (RS256, ES256, EdDSA). \
         Read again when the file changes. With this, a secret or an [[auth.token]], every client \
         needs a token.",
    ),
    path(
        "auth",
        "hs256_secret_file",
        "The secret of at least 32 bytes that signs JSON Web Tokens by HS256; a line break at its \
         end does not count. Whoever can check such tokens can make them: prefer auth.jwks.",
    ),
    text(
        "auth",
        "issuer",
        "The `iss` that tokens must have. When nothing is said, any: then no other issuer may use \
         these keys.",
    ),
    list(
        "auth",
        "audience",
        "The `aud` of which tokens must name one. When nothing is said, tokens that name an \
         audience are refused: they were meant for somebody else.",
    ),
    integer(
        "auth",
        "leeway_s",
        (5, 0, 600, "s"),
        "How far the clock of the issuer may be from ours when `exp` and `nbf` are judged.",
    ),
    Knob {
        section: "auth",
        key: "unlimited",
        kind: Kind::Switch,
        reason: "Takes tokens without `exp` as well. They hold until their key is taken away.",
    },
    text(
        "auth",
        "cookie",
        "The cookie in which a token may come, because browsers cannot set headers on a \
         WebSocket. Needs security.origins: browsers send cookies for any page that asks.",
    ),
    integer(
        "auth",
        "publishes_per_s",
        (0, 0, 10_000_000, "messages/s"),
        "Messages that all connections of one token, or of one `sub`, may publish together, \
         averaged over a second, unless the token itself says `publishes_per_s`. 0 sets no limit.",
    ),
    integer(
        "auth",
        "subjects_max",
        (100_000, 1, 10_000_000, "subjects"),
        "Subjects whose publishing is limited at once. Beyond it, new ones are answered 503.",
    ),
    integer(
        "auth",
        "first_message_ms",
        (0, 0, 60_000, "ms"),
        "How long the token of a client of /v1/ws may come after it, as first message. 0: not.",
    ),
    integer(
        "auth",
        "first_message_max",
        (1_000, 1, 1_000_000, "connections"),
        "Connections that may wait for that message at once. Beyond it: 503.",
    ),
    Knob {
        section: "auth",
        key: "metrics",
        kind: Kind::Switch,
        reason: "Asks for a token with admin = true at /metrics too. Off, because it tells counts \
                 and no topics, and many scrapers carry no tokens.",
    },
    path(
        "tls",
        "certificate",
        "The certificate that clients are shown, in PEM form, with those that lead to its \
         authority after it. With a key the port speaks TLS only; without, plain HTTP. Read again \
         when the file changes.",
    ),
    path("tls", "key", "The private key of that certificate, in PEM form. Read again likewise."),
    path(
        "tls",
        "client_ca",
        "The authorities, in PEM form, of which clients show certificates. Needs tls.client_auth.",
    ),
    Knob {
        section: "tls",
        key: "client_auth",
        kind: Kind::Word(CLIENT_AUTHS),
        reason: "Whether clients show a certificate of tls.client_ca: those that have one, or all.",
    },
    integer(
        "tls",
        "handshakes_per_turn",
        (8, 1, 4096, "handshakes"),
        "Steps of TLS handshakes between two rounds of delivery. A step costs 0.1 ms with an ECDSA \
         key and 1 ms with an RSA key: more at once would hold up everybody else when very many \
         clients come back together. Those that wait are not timed out meanwhile.",
    ),
    Knob {
        section: "proxy",
        key: "protocol",
        kind: Kind::Word(PROXY_VERSIONS),
        reason: "Whether balancers say in a PROXY header, before the first byte and before TLS, \
                 whose connection it is: limits per source then hold for that address. A port that \
                 expects the header takes no connection without it.",
    },
    Knob {
        section: "proxy",
        key: "trusted",
        kind: Kind::Networks,
        reason: "Proxies and load balancers in front of the engine, as addresses and networks: \
                 only what these say of a client is believed. Nobody else may connect while \
                 proxy.protocol is on, because anybody could claim to be anybody.",
    },
    Knob {
        section: "proxy",
        key: "forwarded_for",
        kind: Kind::Switch,
        reason: "Has the limits of one address hold for the client in X-Forwarded-For, where a \
                 trusted proxy passes it on: the right-most address that is not trusted.",
    },
    integer(
        "limits",
        "message_bytes_max",
        (MIB, 1, 64 * MIB, "bytes"),
        "The largest message, and the largest body of a POST. Beyond it: close code 1009, or 413.",
    ),
    integer(
        "limits",
        "header_bytes_max",
        (16 * KIB, KIB, MIB, "bytes"),
        "The largest request head: a token in its URL may be long. Beyond it: 431, or 414 where \
         the request line alone is longer.",
    ),
    integer(
        "limits",
        "handshake_ms_max",
        (5_000, 100, 600_000, "ms"),
        "How long a request may take to arrive, the first one from when the connection is there. \
         Slow or silent clients hold a descriptor for no longer.",
    ),
    integer(
        "limits",
        "body_ms_max",
        (30_000, 100, 3_600_000, "ms"),
        "How long the body of a POST may take to arrive once its head is there. Beyond it: 408.",
    ),
    integer(
        "limits",
        "connections_max",
        (1_000_000, 1, 100_000_000, "connections"),
        "Open connections of the whole engine. Beyond it: 503. The descriptor limit of the \
         process may bind earlier.",
    ),
    integer(
        "limits",
        "connections_per_source_max",
        (0, 0, 100_000_000, "connections"),
        "Open connections of one address, for IPv6 of one /64. 0 sets no limit: behind a proxy \
         all clients share one address.",
    ),
    integer(
        "limits",
        "handshakes_per_s_per_source",
        (0, 0, 1_000_000, "handshakes/s"),
        "Connections that one address, for IPv6 one /64, may open, averaged over a second. Beyond \
         it: 429. 0 sets no limit: behind a proxy all clients share one address.",
    ),
    integer(
        "limits",
        "accepts_per_s_max",
        (0, 0, 10_000_000, "connections/s"),
        "Connections that all clients together may open, averaged over a second. Beyond it: 503 \
         with Retry-After. 0 sets no limit: accepting takes turns with delivery, so a storm is \
         spread over time rather than refused.",
    ),
    integer(
        "limits",
        "controls_per_s_max",
        (10_000, 0, 10_000_000, "controls/s"),
        "Pings, pongs and commands, publishes not included, that one connection may send within \
         a second. Beyond it: close code 4429. The default lets a client subscribe to all it may \
         at once. 0 sets no limit.",
    ),
    integer(
        "limits",
        "topics_max",
        (1_000_000, 1, 100_000_000, "topics"),
        "Topics that exist at once. A topic exists from its first use until memory.topic_idle_s \
         after its last.",
    ),
    integer(
        "limits",
        "patterns_max",
        (10_000, 1, 10_000_000, "patterns"),
        "Patterns, and topics or patterns at a rate, that are followed at once: each repeats what \
         its topics get, which every publisher of theirs pays for. One lasts until 30 s after its \
         last subscriber. Beyond it: 503, or an error reply.",
    ),
    integer(
        "limits",
        "rates_per_target_max",
        (16, 1, 1000, "rates"),
        "Different rates (`rate=N`) at which one topic or pattern is followed. Who asks for one \
         more is told the nearest that is in use. Beyond it: 503, or an error reply.",
    ),
    integer(
        "limits",
        "awaited_topics_max",
        (500_000, 0, 100_000_000, "topics"),
        "Topics that somebody subscribed to and nobody has published to yet. Anybody who may \
         subscribe can invent names, so by default they take at most half of limits.topics_max: \
         publishers find room. Each costs about 1 KiB, and goes 10 s after its last subscriber. \
         Beyond it: 503, or an error reply. 0 sets no limit.",
    ),
    integer(
        "limits",
        "awaited_topics_per_token_max",
        (100_000, 0, 100_000_000, "topics"),
        "Such topics of all connections of one token, or of one `sub`. Only who subscribed first \
         is counted. 0 sets no limit.",
    ),
    integer(
        "limits",
        "awaited_topics_per_connection_max",
        (4096, 0, 1_000_000, "topics"),
        "Such topics of one multiplexed connection, those it left but are not forgotten yet \
         included. The default lets it subscribe to all it may before anybody publishes. 0 sets \
         no limit.",
    ),
    integer(
        "limits",
        "subscriptions_per_connection_max",
        (4096, 1, 1_000_000, "subscriptions"),
        "Subscriptions of one multiplexed connection. Each costs about 150 bytes. Beyond it: an \
         error reply.",
    ),
    integer(
        "limits",
        "publishes_per_s_max",
        (0, 0, 10_000_000, "messages/s"),
        "Messages that one publishing connection may send, averaged over a second. Beyond it: \
         close code 4429, or 429. 0 sets no limit: a publisher that is ahead of its subscribers \
         is slowed by not reading its socket.",
    ),
    Knob {
        section: "security",
        key: "origins",
        kind: Kind::List,
        reason: "Pages that may use the engine from a browser, as in \
                 [\"https://app.example.com\", \"https://*.example.org\"]. Others are refused \
                 with 403; empty lets all in. Clients that are no browsers send no origin and \
                 pass.",
    },
    integer(
        "retention",
        "frames_max",
        (0, 0, 1_000_000_000, "frames"),
        "Frames that a feed keeps for those who lag or come back. 0 sets no limit: bytes_max \
         decides.",
    ),
    integer(
        "retention",
        "bytes_max",
        (MIB, 4 * KIB, 64 * GIB, "bytes"),
        "Bytes that a feed keeps in each form it is sent in. At 60 frames of 128 bytes a second, \
         1 MiB is two minutes.",
    ),
    integer(
        "retention",
        "age_ms_max",
        (0, 0, 365 * DAY_MS, "ms"),
        "Age at which a frame is given up. 0 sets no limit. The last frame is always kept.",
    ),
    Knob {
        section: "retention",
        key: "lag",
        kind: Kind::Word(LagPolicy::WORDS),
        reason: "What happens to a subscriber that falls behind what is kept, unless it chose \
                 itself. Disconnecting is the default because no client can overlook it.",
    },
    integer(
        "history",
        "records_max",
        (10_000, 1, 1_000_000, "messages"),
        "Messages in one answer of /v1/history; the client asks on from where it ended.",
    ),
    integer(
        "history",
        "bytes_max",
        (8 * MIB, 64 * KIB, GIB, "bytes"),
        "Bytes after which such an answer ends, likewise. It ends with a whole message.",
    ),
    integer(
        "history",
        "store_requests_max",
        (16, 1, 1024, "requests"),
        "Questions that are with stores at once, of all clients. Beyond it: 503. Each may have \
         256 KiB of messages on their way.",
    ),
    integer(
        "history",
        "store_ms_max",
        (10_000, 100, 600_000, "ms"),
        "How long a store may take for a part of an answer. Beyond it: 503, or an answer that \
         says why it ends early.",
    ),
    integer(
        "poll",
        "wait_ms_max",
        (25_000, 1_000, 600_000, "ms"),
        "How long a request to /v1/poll may wait, and does unless it says `wait`.",
    ),
    integer(
        "poll",
        "records_max",
        (1_000, 1, 10_000, "messages"),
        "Messages in one answer of /v1/poll; the client asks on from where it ended.",
    ),
    integer(
        "poll",
        "bytes_max",
        (256 * KIB, 4 * KIB, 16 * MIB, "bytes"),
        "Bytes after which such an answer ends. It is made in one piece, and others wait for it.",
    ),
    integer(
        "memory",
        "log_bytes_max",
        (GIB, MIB, 1 << 40, "bytes"),
        "Bytes of all logs together. When they are used up, feeds keep their last frame only.",
    ),
    integer(
        "memory",
        "pending_bytes_max",
        (512 * MIB, MIB, 1 << 40, "bytes"),
        "Bytes that hang on all connections together: input that is not whole yet, and output \
         meant for one alone. From seven eighths of it, those who lag and may lose frames go on \
         with the newest; at the limit nothing new is taken on, and those furthest behind are \
         disconnected (4503).",
    ),
    integer(
        "memory",
        "socket_bytes_max",
        (0, 0, 1 << 40, "bytes"),
        "Kernel memory of sockets that lag, reckoned as flush.send_buffer_bytes each; beyond it \
         likewise. 0 sets no limit: flush.lag_age_ms_max ends those who take nothing.",
    ),
    integer(
        "memory",
        "compact_idle_s",
        (60, 1, YEAR_S, "s"),
        "Time without a publish after which a feed keeps only its last frame.",
    ),
    integer(
        "memory",
        "topic_idle_s",
        (3_600, 1, YEAR_S, "s"),
        "Time without a publish or a subscriber after which a topic is forgotten.",
    ),
    integer(
        "flush",
        "sockets_per_slice",
        (256, 1, 65_536, "sockets"),
        "Sockets written to before events are looked at again: a sweep over very many must not \
         hold up pings, publishers and new connections. At 4 µs a write, 256 are a millisecond.",
    ),
    integer(
        "flush",
        "bytes_per_slice",
        (4 * MIB, 64 * KIB, GIB, "bytes"),
        "Bytes written before events are looked at again, for the same reason.",
    ),
    integer(
        "flush",
        "bytes_per_socket",
        (256 * KIB, 4 * KIB, 64 * MIB, "bytes"),
        "Bytes written to one socket before the next has its turn.",
    ),
    integer(
        "flush",
        "rest_us_max",
        (2_000, 0, 1_000_000, "µs"),
        "A topic that moves again while it is sent, or soon after, rests for as long as that \
         took, this at most, so that one write carries more messages; not where that took less \
         than 1 ms. The first message after a quiet time never waits. 0 never rests, which \
         costs more CPU.",
    ),
    integer(
        "flush",
        "send_buffer_bytes",
        (256 * KIB, 0, 64 * MIB, "bytes"),
        "Kernel memory for what one socket has not taken yet (SO_SNDBUF). Left to itself (0) the \
         kernel grows it to 4 MiB, for every stalled client.",
    ),
    integer(
        "flush",
        "lag_age_ms_max",
        (10_000, 100, DAY_MS, "ms"),
        "How long a socket may take no bytes at all. Beyond it: close code 4410.",
    ),
    Knob {
        section: "compression",
        key: "enabled",
        kind: Kind::Switch,
        reason: "Agrees to permessage-deflate with clients that offer it. A message is deflated \
                 once for all of them, but small frames hardly shrink and every client spends time \
                 on inflating: worth it for text over links that are paid by the byte.",
    },
    integer(
        "compression",
        "level",
        (6, 1, 9, "of zlib's levels"),
        "How hard to try: 1 is fastest, 9 smallest. A message is deflated once however many \
         subscribers it has, so the balance most programs choose is affordable.",
    ),
    integer(
        "compression",
        "bytes_min",
        (64, 1, 64 * MIB, "bytes"),
        "Smaller messages are sent as they are: each is deflated for itself, and there is little \
         in so few bytes that could repeat.",
    ),
    integer(
        "keepalive",
        "ping_interval_ms",
        (30_000, 100, DAY_MS, "ms"),
        "Silence after which a client is asked whether it is there. Proxies often end \
         connections that were silent for 60 s.",
    ),
    integer(
        "keepalive",
        "idle_timeout_ms",
        (90_000, 100, DAY_MS, "ms"),
        "Silence after which a client is taken for gone. Beyond it: close code 4408. The client of \
         an event stream, which is silent anyhow, is gone when it has taken nothing for so long.",
    ),
    integer(
        "keepalive",
        "heartbeat_ms",
        (15_000, 100, DAY_MS, "ms"),
        "Silence of the engine after which event streams get a comment, and clients of /v1/ws that \
         asked for it (hello=1) a beat: browsers hide pings, and could not tell a dead server from \
         a quiet topic. The HTML standard advises 15 s for event streams. Clients are told it when \
         they connect.",
    ),
    integer(
        "keepalive",
        "http_idle_timeout_ms",
        (75_000, 100, DAY_MS, "ms"),
        "How long an HTTP connection is kept between two requests. It should be longer than what \
         a proxy in front keeps one for, often 60 s: else it may send a request into the end.",
    ),
    integer(
        "keepalive",
        "close_timeout_ms",
        (5_000, 10, 600_000, "ms"),
        "How long the closing handshake may take before the connection is cut.",
    ),
    integer(
        "drain",
        "window_ms",
        (5_000, 0, 3_600_000, "ms"),
        "After SIGTERM, connections are closed evenly over this time, so that their clients do \
         not reach the next server all at once.",
    ),
    integer(
        "drain",
        "deadline_ms",
        (10_000, 0, 3_600_000, "ms"),
        "After SIGTERM, the time at which whatever is left is cut.",
    ),
    integer(
        "drain",
        "reconnect_ms_min",
        (500, 0, 3_600_000, "ms"),
        "The shortest delay that a drained client is asked to reconnect after.",
    ),
    integer(
        "drain",
        "reconnect_ms_max",
        (10_000, 0, 3_600_000, "ms"),
        "The longest such delay; each client is given one in between.",
    ),
    Knob {
        section: "admin",
        key: "listen",
        kind: Kind::Address { default: "" },
        reason: "A listener of their own for /metrics and /v1/admin/*, which the other then does \
                 not serve. Without [auth], whoever reaches it may administer. When empty, \
                 /metrics stays with the clients' endpoints, and /v1/admin/* needs a token with \
                 admin = true: an address alone makes nobody an administrator.",
    },
    Knob {
        section: "console",
        key: "enabled",
        kind: Kind::SwitchedOn,
        reason: "Offers the page /console to administrators, and with it /v1/ws at admin.listen, \
                 for looking into topics. On, because the page is of no use without the rights \
                 of an administrator, and shows nothing that they could not ask for.",
    },
    Knob {
        section: "wall",
        key: "enabled",
        kind: Kind::SwitchedOn,
        reason: "Offers the page /wall beside the clients' endpoints. On, because it sees no \
                 more than any other client with the same token.",
    },
    Knob {
        section: "debug",
        key: "echo",
        kind: Kind::Switch,
        reason: "Offers /v1/echo, which conformance suites of the WebSocket protocol need.",
    },
    Knob {
        section: "log",
        key: "format",
        kind: Kind::Word(LOG_FORMATS),
        reason: "Lines for a person, or JSON objects for a collector. Both go to standard error.",
    },
    Knob {
        section: "log",
        key: "level",
        kind: Kind::Word(LOG_LEVELS),
        reason: "How much is told. A connection alone is told of at debug only.",
    },
];

impl Rows {
    /// What its tables may say.
    pub fn knobs(&self) -> impl Iterator<Item = &'static Knob> + use<> {
        let inherited = self.inherited.iter();
        let section = self.section;
        self.own.iter().chain(inherited.filter_map(move |key| Knob::find(section, key)))
    }
}

impl Knob {
    /// The knob of this name.
    #[must_use]
    pub fn find(section: &str, key: &str) -> Option<&'static Self> {
        KNOBS.iter().find(|knob| knob.section == section && knob.key == key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn defaults_lie_in_their_range_and_fit_the_file() {
        for knob in KNOBS {
            if let Kind::Integer { default, min, max, unit } = knob.kind {
                assert!(min <= default && default <= max, "{}", knob.name());
                assert!(i64::try_from(max).is_ok(), "{}", knob.name());
                assert!(!unit.is_empty(), "{}", knob.name());
            }
        }
    }

    #[test]
    fn names_are_unique_and_carry_their_unit() {
        let names: HashSet<String> = KNOBS.iter().map(Knob::name).collect();
        assert_eq!(names.len(), KNOBS.len());
        for knob in KNOBS {
            let Kind::Integer { unit, .. } = knob.kind else { continue };
            let expected = match unit {
                "bytes" => "bytes",
                "ms" => "_ms",
                "s" => "_s",
                "messages/s" | "handshakes/s" | "connections/s" | "controls/s" => "_per_s",
                _ => continue,
            };
            assert!(knob.key.contains(expected), "{} in {unit}", knob.name());
        }
    }

    #[test]
    fn every_reason_is_a_sentence() {
        let own = ROWS.iter().flat_map(|rows| rows.own);
        assert!(KNOBS.iter().chain(own).all(|knob| knob.reason.ends_with('.')));
    }

    #[test]
    fn what_rows_inherit_is_there() {
        for rows in ROWS {
            assert_eq!(rows.knobs().count(), rows.own.len() + rows.inherited.len());
        }
    }
}
