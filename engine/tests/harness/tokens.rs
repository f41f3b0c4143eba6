//! Issuers of JSON Web Tokens, and the settings that trust them. Owns the keys of tests, which open
//! nothing else. Must not judge a token.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gridcast::settings::config::Config;
use gridcast::settings::layers::Settings;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The secret of HS256.
pub const SECRET: &str = "a-secret-of-tests-that-is-long-enough";

/// Somebody who signs tokens with one key.
pub struct Issuer {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The name of the key, if it has one.
    pub kid: Option<String>,
    key: EncodingKey,
}

impl Issuer {
    /// One with the tests' key of this algorithm.
    pub fn new(algorithm: Algorithm, kid: Option<&str>) -> Self {
        let key = match algorithm {
            Algorithm::RS256 => EncodingKey::from_rsa_der(include_bytes!("../keys/rsa.der")),
            Algorithm::ES256 => EncodingKey::from_ec_der(include_bytes!("../keys/ec.der")),
            Algorithm::EdDSA => EncodingKey::from_ed_der(include_bytes!("../keys/ed.der")),
            _ => EncodingKey::from_secret(SECRET.as_bytes()),
        };
        Self { algorithm, kid: kid.map(str::to_owned), key }
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: self.kid.clone(), ..Header::new(self.algorithm) };
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }

    /// The public key, as it stands in a key set.
    pub fn jwk(&self) -> Value {
        let mut jwk = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        jwk.common.key_id.clone_from(&self.kid);
        serde_json::to_value(jwk).unwrap()
    }
}

/// Seconds since 1970, `ahead` from now.
pub fn unix_s(ahead: i64) -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs() as i64 + ahead
}

/// Claims of somebody who may do everything for a minute, with some of them replaced. A null takes
/// a claim away.
pub fn claims(changes: &Value) -> Value {
    let mut claims = json!({
        "sub": "somebody",
        "exp": unix_s(60),
        "gridcast": {"subscribe": ["#"], "publish": ["#"]},
    });
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(key)),
            value => claims[key] = value.clone(),
        }
    }
    claims
}

/// A directory of keys.
pub struct Keys {
    dir: TempDir,
}

impl Keys {
    /// A key set with the keys of these issuers, and the secret of HS256.
    pub fn new(issuers: &[&Issuer]) -> Self {
        let keys = Self { dir: tempfile::tempdir().unwrap() };
        fs::write(keys.path("secret"), format!("{SECRET}\n")).unwrap();
        keys.write(issuers);
        keys
    }

    /// Replaces the key set.
    pub fn write(&self, issuers: &[&Issuer]) {
        self.write_set(&issuers.iter().map(|issuer| issuer.jwk()).collect());
    }

    /// Replaces the key set by these keys.
    pub fn write_set(&self, keys: &Value) {
        fs::write(self.path("jwks"), json!({ "keys": keys }).to_string()).unwrap();
    }

    /// A file in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// `[auth]` with the key set, the secret too if asked, and `more` lines.
    pub fn settings(&self, with_secret: bool, more: &str) -> String {
        let line = |key: &str, path: &Path| format!("{key} = {path:?}\n");
        let secret = line("hs256_secret_file", &self.path("secret"));
        let secret = if with_secret { secret } else { String::new() };
        format!("[auth]\n{}{secret}{more}\n", line("jwks", &self.path("jwks")))
    }
}

/// The typed settings of a file, for two cores on a free port.
pub fn config_of(file: &str) -> Config {
    let mut settings = Settings::default();
    settings.add_file("test.toml", file);
    for (name, value) in [("server.listen", "127.0.0.1:0"), ("server.cores", "2")] {
        settings.add_flag("--set", name, value);
    }
    Config::new(&settings).unwrap()
}
