//! Tokens and keys against the verdict on them, without sockets. Owns what is right and what is
//! wrong with a token, and attempts to pass one key for another. Must not test what follows.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod harness;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gridcast::auth::{Auth, Denied, Now};
use gridcast::feed::topic::Topic;
use harness::tokens::{Issuer, Keys, SECRET, claims, config_of, unix_s};
use jsonwebtoken::Algorithm::{ES256, EdDSA, HS256, HS384, RS256};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};

fn now() -> Now {
    Now { unix_ms: 1000 * unix_s(0) as u64, ns: 5_000_000_000 }
}

fn verdict(auth: &Auth, token: &str) -> Result<String, Denied> {
    auth.authenticate(token, now()).map(|grant| grant.subject().to_owned())
}

fn load(keys: &Keys, with_secret: bool, more: &str) -> Auth {
    Auth::load(&config_of(&keys.settings(with_secret, more))).unwrap()
}

/// A token of the parts given, whose signature is that of `key` by HS256.
fn forge(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, HS256).unwrap();
    format!("{message}.{signature}")
}

#[test]
fn every_algorithm_is_taken_with_its_own_key() {
    let issuers = [RS256, ES256, EdDSA].map(|algorithm| Issuer::new(algorithm, Some("k")));
    let auth = load(&Keys::new(&issuers.each_ref()), true, "");
    for issuer in &issuers {
        let token = issuer.sign(&claims(&json!({})));
        assert_eq!(verdict(&auth, &token), Ok("sub:somebody".into()), "{:?}", issuer.algorithm);
        let mut broken = token.clone().into_bytes();
        let at = token.len() - 10;
        broken[at] = if broken[at] == b'A' { b'B' } else { b'A' };
        let broken = String::from_utf8(broken).unwrap();
        assert_eq!(verdict(&auth, &broken), Err(Denied::Signature), "{:?}", issuer.algorithm);
    }
    let secret = Issuer::new(HS256, None);
    assert!(verdict(&auth, &secret.sign(&claims(&json!({})))).is_ok());
    let other = Issuer::new(HS384, None).sign(&claims(&json!({})));
    assert_eq!(verdict(&auth, &other), Err(Denied::Algorithm));
}

#[test]
fn one_key_is_never_taken_for_another() {
    let rsa = Issuer::new(RS256, Some("rsa"));
    let ed = Issuer::new(EdDSA, Some("ed"));
    let auth = load(&Keys::new(&[&rsa, &ed]), false, "");
    let claims = claims(&json!({}));
    let modulus = rsa.jwk()["n"].as_str().unwrap().to_owned();
    let header = |alg: &str, kid: &str| json!({"alg": alg, "typ": "JWT", "kid": kid});
    // The public key as a secret, in the forms an attacker would have it.
    for key in [modulus.as_bytes(), &URL_SAFE_NO_PAD.decode(&modulus).unwrap(), b"", b"rsa"] {
        let token = forge(&header("HS256", "rsa"), &claims, key);
        assert_eq!(verdict(&auth, &token), Err(Denied::Algorithm));
        let nameless = forge(&json!({"alg": "HS256"}), &claims, key);
        assert_eq!(verdict(&auth, &nameless), Err(Denied::Algorithm));
    }
    for alg in ["none", "None", "", "RS512", "PS256", "HS256 ", "ES256"] {
        let token = forge(&header(alg, "rsa"), &claims, b"x");
        assert_eq!(verdict(&auth, &token), Err(Denied::Algorithm), "{alg}");
        let unsigned = token.rsplit_once('.').unwrap().0.to_owned() + ".";
        assert_eq!(verdict(&auth, &unsigned), Err(Denied::Algorithm), "{alg}");
    }
    // Signed by one key, in the name of the other.
    let stolen = Issuer::new(EdDSA, Some("rsa"));
    assert_eq!(verdict(&auth, &stolen.sign(&claims)), Err(Denied::Algorithm));
    let unknown = Issuer::new(RS256, Some("other"));
    assert_eq!(verdict(&auth, &unknown.sign(&claims)), Err(Denied::Key));
    // A token that brings its own key is judged by ours.
    let mut own = header("HS256", "rsa");
    own["jwk"] = json!({"kty": "oct", "k": "eA"});
    assert_eq!(verdict(&auth, &forge(&own, &claims, b"x")), Err(Denied::Algorithm));
    let mut critical = header("RS256", "rsa");
    critical["crit"] = json!(["b64"]);
    let denied = verdict(&auth, &forge(&critical, &claims, b"x")).unwrap_err();
    assert!(denied.to_string().contains("crit"), "{denied}");
}

#[test]
fn without_a_kid_the_algorithm_must_leave_one_key() {
    let (one, two) = (Issuer::new(ES256, Some("1")), Issuer::new(ES256, Some("2")));
    let nameless = Issuer::new(ES256, None).sign(&claims(&json!({})));
    let keys = Keys::new(&[&one]);
    assert!(verdict(&load(&keys, false, ""), &nameless).is_ok());
    keys.write(&[&one, &two]);
    assert_eq!(verdict(&load(&keys, false, ""), &nameless), Err(Denied::AmbiguousKey));
}

#[test]
fn claims_are_checked_and_named() {
    let issuer = Issuer::new(HS256, None);
    let keys = Keys::new(&[&Issuer::new(EdDSA, Some("k"))]);
    let more = "issuer = \"https://id.test\"\naudience = [\"wall\", \"grid\"]\nleeway_s = 10\n";
    let auth = load(&keys, true, more);
    let ours = json!({"iss": "https://id.test", "aud": "grid"});
    let with = |changes: Value| {
        let mut all = ours.clone();
        all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        verdict(&auth, &issuer.sign(&claims(&all)))
    };
    for good in [
        json!({}),
        json!({"aud": ["x", "wall"]}),
        json!({"exp": unix_s(-5)}),
        json!({"exp": unix_s(60) as f64 + 0.5}),
        json!({"nbf": unix_s(5)}),
        json!({"nbf": unix_s(-100)}),
        json!({"gridcast": null}),
    ] {
        assert!(with(good.clone()).is_ok(), "{good}");
    }
    for (bad, denied, words) in [
        (json!({"exp": unix_s(-15)}), Denied::Expired, "token expired"),
        (json!({"exp": 0}), Denied::Expired, "token expired"),
        (json!({"nbf": unix_s(60)}), Denied::NotYetValid, "not yet valid"),
        (json!({"iss": "https://other.test"}), Denied::Issuer, "wrong issuer"),
        (json!({"iss": null}), Denied::Issuer, "wrong issuer"),
        (json!({"aud": "other"}), Denied::Audience, "wrong audience"),
        (json!({"aud": []}), Denied::Audience, "wrong audience"),
        (json!({"aud": null}), Denied::Audience, "wrong audience"),
    ] {
        assert_eq!(with(bad.clone()), Err(denied), "{bad}");
        assert!(denied.to_string().contains(words), "{denied}");
    }
    for (bad, word) in [
        (json!({"exp": null}), "exp is missing"),
        (json!({"exp": "tomorrow"}), "exp is no number"),
        (json!({"exp": -1}), "exp is no number"),
        (json!({"exp": 1e300}), "exp is no number"),
        (json!({"nbf": []}), "nbf is no number"),
        (json!({"sub": null}), "sub is missing"),
        (json!({"sub": 7}), "sub is missing, or no string"),
        (json!({"gridcast": []}), "gridcast is not of the form"),
        (json!({"gridcast": {"subscribe": ["a/#/b"]}}), "gridcast is not of the form"),
        (json!({"gridcast": {"subscibe": []}}), "gridcast is not of the form"),
        (json!({"gridcast": {"publishes_per_s": -1}}), "gridcast is not of the form"),
    ] {
        let denied = with(bad.clone()).unwrap_err();
        assert!(denied.to_string().contains(word), "{bad}: {denied}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_needed_but_foreign_audiences_are_refused() {
    let keys = Keys::new(&[&Issuer::new(EdDSA, Some("k"))]);
    let issuer = Issuer::new(HS256, None);
    let auth = load(&keys, true, "unlimited = true\n");
    assert!(verdict(&auth, &issuer.sign(&claims(&json!({"exp": null, "iss": "any"})))).is_ok());
    let foreign = issuer.sign(&claims(&json!({"aud": "somebody else"})));
    assert_eq!(verdict(&auth, &foreign), Err(Denied::Audience));
}

#[test]
fn rights_and_end_are_those_of_the_token() {
    let keys = Keys::new(&[&Issuer::new(EdDSA, Some("k"))]);
    let auth = load(&keys, true, "leeway_s = 0\n");
    let rights = json!({"subscribe": ["pmu/#"], "admin": true, "publishes_per_s": 1});
    let token = Issuer::new(HS256, None).sign(&claims(&json!({"gridcast": rights, "exp": 1000})));
    let grant = auth.authenticate(&token, Now { unix_ms: 990_000, ns: 7 }).unwrap();
    assert_eq!(grant.expires_ns(), Some(10_000_000_007));
    assert!(grant.may_subscribe(&"pmu/+".parse().unwrap()).is_ok());
    assert!(grant.may_publish(&Topic::new("pmu/1").unwrap()).is_err());
    assert!(grant.may_administer().is_ok());
    let again = auth.authenticate(&token, Now { unix_ms: 990_000, ns: 7 }).unwrap();
    assert_eq!((grant.take_publish(7), again.take_publish(7)), (Ok(()), Err(1)));
}

#[test]
fn texts_that_are_no_tokens_are_refused_quietly() {
    let auth = load(&Keys::new(&[&Issuer::new(EdDSA, Some("k"))]), true, "");
    for text in ["", ".", "..", "a.b.c", "....", "e30.e30.e30", "\u{e9}.\u{e9}.\u{e9}", SECRET] {
        let denied = verdict(&auth, text).unwrap_err();
        assert!(text.len() < 3 || !denied.to_string().contains(text), "{denied}");
    }
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(5000));
    assert!(verdict(&auth, &format!("{deep}.{deep}.{deep}")).is_err());
}

#[test]
fn keys_that_are_weak_or_broken_keep_the_engine_from_starting() {
    let good = Issuer::new(EdDSA, Some("k")).jwk();
    let keys = Keys::new(&[]);
    let mut short = Issuer::new(RS256, Some("k")).jwk();
    short["n"] = URL_SAFE_NO_PAD.encode([0xFF; 128]).into();
    let mut for_encryption = good.clone();
    for_encryption["use"] = "enc".into();
    let weak_secret = json!({"kty": "oct", "k": "eA"});
    let cut = json!({"kty": "EC", "crv": "P-256", "x": "eA", "y": "eA"});
    for (set, part) in [
        (json!([]), "no key in it is for"),
        (json!([for_encryption]), "no key in it is for"),
        (json!([{"kty": "EC", "crv": "P-384", "x": "eA", "y": "eA"}]), "no key in it is for"),
        (json!([good, good]), "key 2: there is another of the same kid"),
        (json!([short]), "key 1: an RSA key of 1024 bits, where 2048 are needed"),
        (json!([weak_secret]), "a secret needs 32 bytes"),
        (json!([cut]), "a coordinate of 1 bytes"),
        (json!(7), "it is no JSON Web Key Set"),
    ] {
        keys.write_set(&set);
        let error = Auth::load(&config_of(&keys.settings(false, ""))).unwrap_err().to_string();
        assert!(error.starts_with("auth.jwks = \"") && error.contains(part), "{error}");
    }
    for unusable in [
        for_encryption,
        short,
        weak_secret,
        cut,
        json!({"kty": "OKP", "crv": "X25519", "x": "eA"}),
        json!({"kty": "future", "x": 1}),
        json!({"kid": "no kind"}),
        json!({"kty": "RSA", "n": "?", "e": "AQAB"}),
        json!({"kty": "RSA"}),
        json!("no object"),
        json!(null),
    ] {
        for set in [json!([good, unusable]), json!([unusable, good])] {
            keys.write_set(&set);
            assert!(Auth::load(&config_of(&keys.settings(false, ""))).is_ok(), "{set}");
        }
    }
    std::fs::write(keys.path("secret"), "hush-hush\n").unwrap();
    let error = Auth::load(&config_of(&keys.settings(true, ""))).unwrap_err().to_string();
    assert!(error.contains("the secret has 9 bytes") && !error.contains("hush-hush"), "{error}");
    std::fs::remove_file(keys.path("jwks")).unwrap();
    let error = Auth::load(&config_of(&keys.settings(false, ""))).unwrap_err().to_string();
    assert!(error.contains("/jwks\": cannot be read: "), "{error}");
}

#[test]
fn no_dump_shows_a_secret() {
    let issuer = Issuer::new(HS256, None);
    let keys = Keys::new(&[&Issuer::new(EdDSA, Some("k"))]);
    let file = keys.settings(true, "")
        + "[[auth.token]]\nname = \"wall\"\ntoken = \"token-of-the-wall\"\nsubscribe = [\"#\"]\n";
    let config = config_of(&file);
    let auth = Auth::load(&config).unwrap();
    let token = issuer.sign(&claims(&json!({})));
    let grants =
        [&token, "token-of-the-wall"].map(|token| auth.authenticate(token, now()).unwrap());
    let text = format!("{config:?} {auth:?} {grants:?}");
    for secret in [SECRET, "token-of-the-wall", &token] {
        assert!(!text.contains(secret), "{text}");
    }
    let digits: Vec<String> = SECRET.bytes().map(|byte| byte.to_string()).collect();
    assert!(!text.contains(&digits.join(", ")), "{text}");
    assert_eq!(grants[1].subject(), "wall");
    assert!(jsonwebtoken::decode_header(&token).is_ok_and(|header: Header| header.alg == HS256));
}
