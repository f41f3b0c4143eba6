//! JSON Web Tokens: which key a token is signed with, whether it is, and what it claims. Owns the
//! rule that a key has one algorithm and a token must name that one. Must not read a clock.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

use crate::auth::denied::Denied;
use crate::auth::grant::{Rights, Source};
use crate::feed::topic::Target;
use crate::settings::config::Authentication;
use crate::settings::files;
use crate::settings::layers::SettingsError;
use crate::wire::json;

/// The time, on both clocks that matter here.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// UTC, in which tokens speak.
    pub unix_ms: u64,
    /// The engine's clock, in which connections end.
    pub ns: u64,
}

/// The most keys: each is a kilobyte, and issuers rotate between two or three.
const KEYS_MAX: usize = 64;
/// RFC 7518 section 3.2: a key as long as the hash.
const SECRET_BYTES_MIN: usize = 32;
/// RFC 7518 section 3.3.
const RSA_BITS_MIN: usize = 2048;
/// Seconds that a date may have: ten thousand years, so that sums with it cannot overflow.
const DATE_MAX: f64 = 3e11;

/// Whether a text has the form of such a token: three parts.
pub fn is_one(token: &str) -> bool {
    token.split('.').count() == 3
}

/// The keys in use, and what tokens must claim.
#[derive(Debug)]
pub struct Verifier {
    keys: Vec<Key>,
    issuer: String,
    audience: Vec<String>,
    leeway_s: u64,
    unlimited: bool,
    publishes_per_s: u32,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// The part of a token that says how it is signed.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that must be understood: there are none that are.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    gridcast: Option<Value>,
}

/// The claim `gridcast`.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RightsClaim {
    subscribe: Vec<String>,
    publish: Vec<String>,
    admin: bool,
    publishes_per_s: Option<u32>,
}

impl Verifier {
    /// The keys that settings name; none when they name none.
    ///
    /// # Errors
    /// What is wrong with each file, which never says what a secret is.
    pub fn load(settings: &Authentication) -> Result<Option<Self>, SettingsError> {
        let (mut keys, secret) = SettingsError::both(
            read_jwks(&settings.jwks),
            read_secret(&settings.hs256_secret_file),
        )?;
        keys.extend(secret);
        if keys.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            keys,
            issuer: settings.issuer.clone(),
            audience: settings.audience.clone(),
            leeway_s: settings.leeway_s,
            unlimited: settings.unlimited,
            publishes_per_s: settings.publishes_per_s,
        }))
    }

    /// What a token entitles to.
    ///
    /// # Errors
    /// The first thing that is wrong: the signature comes before the claims.
    pub fn verify(&self, token: &str, now: Now) -> Result<Rights, Denied> {
        let header = read_header(token)?;
        let key = self.key(&header)?;
        let claims = key.check(token)?;
        self.check_origin(&claims)?;
        let expires_ns = self.check_dates(&claims, now)?;
        let subject = claims.sub.as_ref().and_then(Value::as_str).ok_or(SUB)?.to_owned();
        let claim = match claims.gridcast {
            Some(claim @ Value::Object(_)) => serde_json::from_value(claim).map_err(|_| RIGHTS)?,
            Some(_) => return Err(RIGHTS),
            None => RightsClaim::default(),
        };
        Ok(Rights {
            // A token of the settings may have the same name.
            subject: format!("sub:{subject}"),
            source: Source::Claim,
            subscribe: targets(&claim.subscribe)?,
            publish: targets(&claim.publish)?,
            admin: claim.admin,
            publishes_per_s: claim.publishes_per_s.unwrap_or(self.publishes_per_s),
            expires_ns,
        })
    }

    /// A key has one algorithm, whatever the token would like it to be: a public key is never
    /// taken for a secret.
    fn key(&self, header: &Header) -> Result<&Key, Denied> {
        let algorithm = algorithm(&header.alg).ok_or(Denied::Algorithm)?;
        if header.crit.is_some() {
            return Err(Denied::Malformed("the token's header has crit, and none is understood"));
        }
        if let Some(kid) = &header.kid {
            let mut named = self.keys.iter().filter(|key| key.kid.as_ref() == Some(kid)).peekable();
            if named.peek().is_some() {
                return named.find(|key| key.algorithm == algorithm).ok_or(Denied::Algorithm);
            }
        }
        let is_candidate = |key: &&Key| header.kid.is_none() || key.kid.is_none();
        let mut fitting =
            self.keys.iter().filter(is_candidate).filter(|key| key.algorithm == algorithm);
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Ok(key),
            // Trying one after another would let anybody multiply our work.
            (Some(_), Some(_)) => Err(Denied::AmbiguousKey),
            (None, _) if header.kid.is_some() => Err(Denied::Key),
            (None, _) => Err(Denied::Algorithm),
        }
    }

    fn check_origin(&self, claims: &Claims) -> Result<(), Denied> {
        let issuer = claims.iss.as_ref().and_then(Value::as_str);
        if !self.issuer.is_empty() && issuer != Some(&self.issuer) {
            return Err(Denied::Issuer);
        }
        let is_ours = |audience: &Value| {
            audience
                .as_str()
                .is_some_and(|audience| self.audience.iter().any(|own| own == audience))
        };
        let fits = match &claims.aud {
            None => self.audience.is_empty(),
            Some(Value::Array(audiences)) => audiences.iter().any(is_ours),
            Some(audience) => is_ours(audience),
        };
        fits.then_some(()).ok_or(Denied::Audience)
    }

    /// When the token ends, on the engine's clock.
    fn check_dates(&self, claims: &Claims, now: Now) -> Result<Option<u64>, Denied> {
        let leeway_ms = self.leeway_s * 1000;
        if let Some(nbf) = &claims.nbf
            && date_ms(nbf).ok_or(NBF)? > now.unix_ms + leeway_ms
        {
            return Err(Denied::NotYetValid);
        }
        match &claims.exp {
            None if self.unlimited => Ok(None),
            None => Err(NO_EXP),
            Some(exp) => {
                let end_ms = date_ms(exp).ok_or(EXP)? + leeway_ms;
                let left_ms = end_ms.checked_sub(now.unix_ms).filter(|&left_ms| left_ms > 0);
                let left_ms = left_ms.ok_or(Denied::Expired)?;
                Ok(Some(now.ns.saturating_add(left_ms.saturating_mul(1_000_000))))
            }
        }
    }
}

const SUB: Denied = Denied::Claim("sub is missing, or no string");
const EXP: Denied = Denied::Claim("exp is no number of seconds since 1970");
const NO_EXP: Denied = Denied::Claim("exp is missing, and auth.unlimited is not set");
const NBF: Denied = Denied::Claim("nbf is no number of seconds since 1970");
const RIGHTS: Denied = Denied::Claim(
    "gridcast is not of the form {\"subscribe\": [], \"publish\": [], \"admin\": false, \
     \"publishes_per_s\": 0}, with valid topics and patterns",
);
const NO_TOKEN: Denied = Denied::Malformed("what was sent is no JSON Web Token");

impl Key {
    fn check(&self, token: &str) -> Result<Claims, Denied> {
        let mut validation = Validation::new(self.algorithm);
        // Signatures are the library's business; claims are checked here, by the time handed in.
        validation.required_spec_claims.clear();
        (validation.validate_exp, validation.validate_aud) = (false, false);
        match jsonwebtoken::decode(token, &self.key, &validation) {
            Ok(data) => Ok(data.claims),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature => Denied::Signature,
                ErrorKind::InvalidAlgorithm => Denied::Algorithm,
                _ => NO_TOKEN,
            }),
        }
    }
}

fn read_header(token: &str) -> Result<Header, Denied> {
    let encoded = token.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| NO_TOKEN)?;
    serde_json::from_slice(&bytes).map_err(|_| NO_TOKEN)
}

/// The algorithms that are taken. `none` is not among them.
fn algorithm(name: &str) -> Option<Algorithm> {
    match name {
        "HS256" => Some(Algorithm::HS256),
        "RS256" => Some(Algorithm::RS256),
        "ES256" => Some(Algorithm::ES256),
        "EdDSA" => Some(Algorithm::EdDSA),
        _ => None,
    }
}

fn date_ms(value: &Value) -> Option<u64> {
    let seconds = value.as_f64().filter(|seconds| (0.0..=DATE_MAX).contains(seconds))?;
    Some((seconds * 1000.0) as u64)
}

fn targets(texts: &[String]) -> Result<Vec<Target>, Denied> {
    texts.iter().map(|text| text.parse().map_err(|_| RIGHTS)).collect()
}

/// None where no file is named.
fn read_secret(path: &Path) -> Result<Option<Key>, SettingsError> {
    const KEY: &str = "auth.hs256_secret_file";
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let secret = files::read_secret(KEY, path)?;
    if secret.len() < SECRET_BYTES_MIN {
        let fault = format!(
            "the secret has {} bytes, and needs {SECRET_BYTES_MIN}: make one with `openssl rand \
             -hex 32`",
            secret.len()
        );
        return Err(files::unusable(KEY, path, fault));
    }
    let key = DecodingKey::from_secret(&secret);
    Ok(Some(Key { kid: None, algorithm: Algorithm::HS256, key }))
}

/// None where no file is named.
fn read_jwks(path: &Path) -> Result<Vec<Key>, SettingsError> {
    const KEY: &str = "auth.jwks";
    if path.as_os_str().is_empty() {
        return Ok(Vec::new());
    }
    parse_jwks(&files::read(KEY, path)?).map_err(|fault| files::unusable(KEY, path, fault))
}

/// Keys for other uses or algorithms are left out: issuers publish all they have in one file. So
/// are those that cannot be used, which is told (RFC 7517 section 5); none may be left only.
fn parse_jwks(bytes: &[u8]) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let set: Set = serde_json::from_slice(bytes).map_err(|error| {
        let fault = if error.is_data() { error.to_string() } else { json::fault(bytes) };
        format!("it is no JSON Web Key Set: {fault}")
    })?;
    let (mut keys, mut first_broken): (Vec<Key>, _) = (Vec::new(), None);
    for (at, jwk) in (1..).zip(set.keys) {
        let broken = |fault: String| format!("key {at}: {fault}");
        let key = match key_of(jwk).map_err(broken) {
            Ok(Some(key)) => key,
            Ok(None) => continue,
            Err(error) => {
                tracing::warn!(error, "a key of auth.jwks cannot be used and is left out");
                first_broken.get_or_insert(error);
                continue;
            }
        };
        let is_taken = |own: &Key| own.kid == key.kid && own.algorithm == key.algorithm;
        if keys.iter().any(is_taken) {
            return Err(broken("there is another of the same kid and algorithm".into()));
        }
        keys.push(key);
    }
    match (keys.len(), first_broken) {
        (0, Some(error)) => Err(error),
        (0, None) => Err("no key in it is for RS256, ES256, EdDSA or HS256".to_owned()),
        (1..=KEYS_MAX, _) => Ok(keys),
        (count, _) => Err(format!("{count} keys, at most {KEYS_MAX}")),
    }
}

/// A key of a set; none if it is for something else.
fn key_of(jwk: Value) -> Result<Option<Key>, String> {
    let jwk: Jwk = serde_json::from_value(jwk).map_err(|error| error.to_string())?;
    let bytes_of =
        |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).map_err(no_base64);
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(rsa) => {
            let bits = 8 * bytes_of(&rsa.n)?.iter().skip_while(|&&byte| byte == 0).count();
            if bits < RSA_BITS_MIN {
                return Err(format!("an RSA key of {bits} bits, where {RSA_BITS_MIN} are needed"));
            }
            bytes_of(&rsa.e)?;
            Algorithm::RS256
        }
        AlgorithmParameters::EllipticCurve(point) if point.curve == EllipticCurve::P256 => {
            check_bytes(&bytes_of(&point.x)?)?;
            check_bytes(&bytes_of(&point.y)?)?;
            Algorithm::ES256
        }
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            check_bytes(&bytes_of(&pair.x)?)?;
            Algorithm::EdDSA
        }
        AlgorithmParameters::OctetKey(secret) => {
            if bytes_of(&secret.value)?.len() < SECRET_BYTES_MIN {
                return Err(format!("a secret needs {SECRET_BYTES_MIN} bytes"));
            }
            Algorithm::HS256
        }
        _ => return Ok(None),
    };
    let is_for = |named: &KeyAlgorithm| *named == KeyAlgorithm::from(algorithm);
    let signs = matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature));
    if !signs || !jwk.common.key_algorithm.as_ref().is_none_or(is_for) {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(&jwk).map_err(|error| error.to_string())?;
    Ok(Some(Key { kid: jwk.common.key_id, algorithm, key }))
}

fn no_base64(_: base64::DecodeError) -> String {
    "not in base64url".to_owned()
}

/// Both curves have coordinates of 32 bytes.
fn check_bytes(coordinate: &[u8]) -> Result<(), String> {
    match coordinate.len() {
        32 => Ok(()),
        count => Err(format!("a coordinate of {count} bytes, where 32 are needed")),
    }
}
