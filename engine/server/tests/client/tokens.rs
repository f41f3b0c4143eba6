//! Tokens: where they come from, what happens when they end, and which are not tried again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridcast_client::{Error, Options, SubscribeOptions};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;

use crate::hearing::{States, resumed, texts, within};
use crate::server::Server;

const SECRET: &str = "a secret of at least thirty-two bytes";

/// A token that ends so many seconds from now.
fn signed(lifetime_s: u64) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let rights = json!({"subscribe": ["#"], "publish": ["#"]});
    let claims = json!({"sub": "test", "exp": now_s + lifetime_s, "gridcast": rights});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A server that wants tokens.
fn guarded() -> (Server, TempDir) {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let setting = format!("auth.hs256_secret_file={}", secret.display());
    (Server::start(&[&setting, "auth.leeway_s=0"]), directory)
}

/// Options that ask for one token after the other, then for the last again; and how often.
fn asking(url: &str, tokens: Vec<String>) -> (Options, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, tokens) = (Arc::clone(&asked), Arc::new(Mutex::new(tokens)));
    let options = Options::new(url).token_from(move || {
        count.fetch_add(1, Ordering::SeqCst);
        let mut tokens = tokens.lock().unwrap();
        let token = if tokens.len() > 1 { tokens.remove(0) } else { tokens[0].clone() };
        async move { Ok(token) }
    });
    (options, asked)
}

#[tokio::test]
async fn an_expired_token_is_replaced_and_the_subscription_goes_on() {
    let (server, _directory) = guarded();
    let states = States::default();
    let (options, asked) = asking(&server.url(), vec![signed(3), signed(600)]);
    let client = states.client(options);
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut subscription, &["1"]).await;
    let (reason, delay) = states.waiting(1).await;
    assert!(reason.contains("expired"), "{reason}");
    assert_eq!(delay, Duration::ZERO);
    resumed(&mut subscription).await;
    within(client.publish("t", "2")).await.unwrap();
    texts(&mut subscription, &["2"]).await;
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_token_that_was_refused_is_not_sent_again_and_becomes_final() {
    let (server, _directory) = guarded();
    let (options, asked) = asking(&server.url(), vec!["no-token-at-all".to_owned()]);
    let client = States::default().client(options);
    let error = within(client.connected()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
    assert!(!error.to_string().contains("no-token-at-all"), "{error}");
    // Once sent, and then given again until that is final.
    assert_eq!(asked.load(Ordering::SeqCst), 6);
    assert_eq!(server.metric("gridcast_connections_opened_total"), 2);
}

#[tokio::test]
async fn a_fixed_token_that_does_not_count_is_final_at_once() {
    let (server, _directory) = guarded();
    let client = States::default().client(Options::new(server.url()).token("no-token"));
    let error = within(client.connected()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
}
