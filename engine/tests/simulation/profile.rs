//! What kinds of seeds there are, and the settings of each. Owns what is drawn before anything
//! happens. Must not act on the world.

use gridcast::settings::config::Config;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::harness;
use crate::{proxied, session, tokens};

/// How long the engine is silent at most where it shows that it lives.
pub const HEARTBEAT_MS: u64 = 1_000;

/// What a seed is mostly about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Clients of every kind, with settings that bring about what is rare.
    Mixed,
    /// As the last, and the engine drains in the midst of it.
    Drain,
    /// As the first, with little memory for connections.
    Shed,
    /// Thousands of publishers send a frame each at one instant, and all of it is followed. Seed 13
    /// showed followers that took every byte and were closed as lagging.
    Burst,
    /// As the first, and all of it through TLS.
    Secure,
    /// As the first, from balancers that say for whom, and from others.
    Proxied,
    /// As the first, with tokens that end and rights that some do not have.
    Tokens,
    /// Many requests and messages at once, and the end right behind them. Seeds 273 and 489 showed
    /// requests that were never carried out, seed 5 12,000 lines published in one turn.
    Pipeline,
    /// As the first, and what is published goes through a log. Seed 1123 showed lines of a POST
    /// that were read past while they waited.
    Log,
    /// As the first, and half of those who come poll.
    Poll,
    /// Very many connections come due in one tick. Seed 23 showed 3,000 closed in one turn.
    Due,
}

impl Profile {
    /// The profile of a seed.
    pub fn of(seed: u64) -> Self {
        match seed % 64 {
            7 | 29 | 50 => Self::Drain,
            11 | 37 => Self::Shed,
            3 | 19 | 47 => Self::Secure,
            9 | 33 | 57 => Self::Proxied,
            15 | 39 | 62 => Self::Tokens,
            13 => Self::Burst,
            5 | 17 | 41 => Self::Pipeline,
            2 | 21 | 35 | 43 | 59 => Self::Log,
            1 | 25 | 45 | 53 => Self::Poll,
            23 => Self::Due,
            _ => Self::Mixed,
        }
    }

    /// True where clients come and go at random.
    pub fn is_random(self) -> bool {
        !matches!(self, Self::Burst | Self::Pipeline | Self::Due)
    }

    /// Settings of a seed of this kind.
    pub fn config(self, rng: &mut StdRng) -> Config {
        let mut config = harness::config(&[]);
        config.keepalive.ping_interval_ms = 5_000;
        config.keepalive.idle_timeout_ms = 12_000;
        config.keepalive.heartbeat_ms = HEARTBEAT_MS;
        config.keepalive.close_timeout_ms = 2_000;
        config.limits.handshake_ms_max = 3_000;
        config.limits.body_ms_max = 5_000;
        config.drain.window_ms = 500;
        config.drain.deadline_ms = 4_000;
        self.draw_flush(&mut config, rng);
        self.draw_retention(&mut config, rng);
        config.compression.enabled = rng.random();
        // A few requests in line may be so, through TLS as well.
        if self == Self::Secure || self == Self::Pipeline && rng.random() {
            session::secure(&mut config);
        }
        if self == Self::Shed {
            config.memory.pending_bytes_max = rng.random_range(2_000..200_000);
        }
        if self == Self::Proxied {
            proxied::expect_header(&mut config);
        }
        if self == Self::Tokens {
            tokens::ask_for(&mut config);
        }
        config
    }

    /// How much goes out at once.
    pub fn draw_flush(self, config: &mut Config, rng: &mut StdRng) {
        let flush = &mut config.flush;
        flush.lag_age_ms_max = 4_000;
        flush.sockets_per_slice = *[1, 4, 64, 256].choose(rng).unwrap();
        flush.bytes_per_slice = *[1_000, 64 << 10, 4 << 20].choose(rng).unwrap();
        flush.bytes_per_socket = *[100, 5_000, 256 << 10].choose(rng).unwrap();
        if self == Self::Burst {
            flush.sockets_per_slice = 4;
        }
    }

    fn draw_retention(self, config: &mut Config, rng: &mut StdRng) {
        let kept = &mut config.retention.default;
        if self.is_random() {
            kept.frames_max = *[0, 1, 7, 100].choose(rng).unwrap();
            kept.bytes_max = *[1 << 20, 0, 500, 20_000].choose(rng).unwrap();
            kept.age_ms_max = *[0, 0, 5].choose(rng).unwrap();
        } else if self == Self::Burst {
            kept.bytes_max = 64 << 10;
        }
    }
}
