//! Tokens as clients of the simulation have them: of one issuer, each with an end and with rights
//! of its own. Owns the key. Must not know what a client does with it.

use std::sync::OnceLock;

use gridcast::settings::config::Config;
use jsonwebtoken::Algorithm::HS256;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::json;

use crate::harness::tokens::{Issuer, Keys, claims};
use crate::network::UNIX_MS;

const MS: u64 = 1_000_000;
/// How long tokens last: some end while their client is there, some before it has asked.
const LASTS_MS: [u64; 6] = [1, 200, 1_000, 1_000, 3_000, 3_600_000];

/// The token of a client.
#[derive(Clone, Debug)]
pub struct Token {
    /// As it is sent.
    pub text: String,
    /// When it ends, on the clock of the simulation.
    pub expires_ns: u64,
    /// Whether its client may publish.
    pub publishes: bool,
    /// Whether its client may administer.
    pub administers: bool,
}

/// Has the cores of `config` ask for tokens.
pub fn ask_for(config: &mut Config) {
    config.auth.hs256_secret_file = keys().path("secret");
    config.auth.leeway_s = 0;
}

impl Token {
    /// One that is issued now.
    pub fn draw(rng: &mut StdRng, now_ns: u64) -> Self {
        let ends_ms = now_ns / MS + LASTS_MS.choose(rng).unwrap();
        let (publishes, administers) = (rng.random_ratio(4, 5), rng.random());
        let rights = json!({
            "subscribe": ["#"],
            "publish": if publishes { ["#"].as_slice() } else { &[] },
            "admin": administers,
        });
        let exp = (UNIX_MS + ends_ms) as f64 / 1000.0;
        let text = Issuer::new(HS256, None).sign(&claims(&json!({"exp": exp, "gridcast": rights})));
        Self { text, expires_ns: ends_ms * MS, publishes, administers }
    }

    /// Whether it may have ended by now. Dates of tokens are kept to a millisecond.
    pub fn may_have_ended(&self, now_ns: u64) -> bool {
        now_ns + 2 * MS >= self.expires_ns
    }

    /// Whether its connections must have ended by now: deadlines are kept to 100 ms, and looked at
    /// as often.
    pub fn must_have_ended(&self, now_ns: u64) -> bool {
        now_ns > self.expires_ns + 250 * MS
    }
}

/// Those of all seeds.
fn keys() -> &'static Keys {
    static SHARED: OnceLock<Keys> = OnceLock::new();
    SHARED.get_or_init(|| Keys::new(&[]))
}
