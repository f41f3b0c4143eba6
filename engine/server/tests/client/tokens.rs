//! Tokens: where they come from, what happens when they end, and which are not tried again.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gridcast_client::{Client, Error, Options, SubscribeOptions};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::json;
use tempfile::TempDir;

use crate::clock::JumpingClock;
use crate::hearing::{States, resumed, texts, until, within};
use crate::server::Server;

const SECRET: &str = "a secret of at least thirty-two bytes";

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A token that ends so many seconds from now.
pub fn signed(lifetime_s: u64) -> String {
    covering("#", lifetime_s)
}

/// A token to follow `target` and publish anything.
pub fn covering(target: &str, lifetime_s: u64) -> String {
    let rights = json!({"subscribe": [target], "publish": ["#"]});
    let claims = json!({"sub": "test", "exp": now_s() + lifetime_s, "gridcast": rights});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A server that wants tokens.
pub fn guarded() -> (Server, TempDir) {
    guarded_with(&[])
}

/// The same with more settings.
fn guarded_with(settings: &[&str]) -> (Server, TempDir) {
    let directory = TempDir::new().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let setting = format!("auth.hs256_secret_file={}", secret.display());
    let settings = [&[&*setting, "auth.leeway_s=0"], settings].concat();
    (Server::start(&settings), directory)
}

/// Options that ask for one token after the other, then for the last again; and how often.
pub fn asking(url: &str, tokens: Vec<String>) -> (Options, Arc<AtomicUsize>) {
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

/// Long enough to connect on a busy machine and to be replaced, short enough to wait for.
const LASTS_S: u64 = 7;

#[tokio::test]
async fn a_token_is_replaced_before_it_ends_and_the_connection_stays() {
    let (server, _directory) = guarded();
    let states = States::default();
    let (options, asked) = asking(&server.url(), vec![signed(LASTS_S), signed(600)]);
    let client = states.client(options);
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let end_s = now_s() + LASTS_S;
    until("the first token has ended", || now_s() > end_s).await;
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut subscription, &["1"]).await;
    assert_eq!((states.opened(), asked.load(Ordering::SeqCst)), (1, 2));
}

/// The connection lives on by the token that counts, and ends with that.
#[tokio::test]
async fn a_new_token_that_is_refused_changes_nothing() {
    let (server, _directory) = guarded();
    let states = States::default();
    let tokens = vec![signed(LASTS_S), "no-token-at-all".to_owned(), signed(600)];
    let (options, asked) = asking(&server.url(), tokens);
    let client = states.client(options);
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(subscription.ready()).await.unwrap();
    let refused = "gridcast_authentications_total{outcome=\"unknown\"}";
    until("the second is refused", || server.metric(refused) == 1).await;
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut subscription, &["1"]).await;
    assert_eq!(states.opened(), 1);
    let (reason, delay) = states.waiting(1).await;
    assert!(reason.contains("expired"), "{reason}");
    assert_eq!(delay, Duration::ZERO);
    resumed(&mut subscription).await;
    within(client.publish("t", "2")).await.unwrap();
    texts(&mut subscription, &["2"]).await;
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_subscription_that_a_new_token_does_not_cover_ends_and_no_other() {
    let (server, _directory) = guarded();
    let (states, clock) = (States::default(), JumpingClock::default());
    let (options, _) = asking(&server.url(), vec![signed(4_000), covering("kept/#", 9_000)]);
    let client = states.client(options.clock(clock.clone()));
    let subscribe = |client: &Client, target| {
        let subscription = client.subscribe(target, SubscribeOptions::new()).unwrap();
        async move {
            within(subscription.ready()).await.unwrap();
            subscription
        }
    };
    let mut lost = subscribe(&client, "lost/#").await;
    let mut kept = subscribe(&client, "kept/#").await;
    within(client.publish("lost/1", "1")).await.unwrap();
    texts(&mut lost, &["1"]).await;
    clock.jump();
    let error = within(lost.next()).await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "forbidden"), "{error}");
    assert!(within(lost.next()).await.is_none());
    within(client.publish("lost/1", "2")).await.unwrap();
    within(client.publish("kept/1", "3")).await.unwrap();
    texts(&mut kept, &["3"]).await;
    assert_eq!(states.opened(), 1);
    // It is free again, and asked for by the rights that there are.
    let again = client.subscribe("lost/#", SubscribeOptions::new()).unwrap();
    let error = within(again.ready()).await.unwrap_err();
    assert!(matches!(&error, Error::Command { code, .. } if code == "forbidden"), "{error}");
}

#[tokio::test]
async fn the_token_may_be_the_first_message() {
    let (server, _directory) = guarded_with(&["auth.first_message_ms=10000"]);
    let states = States::default();
    let client = states.client(Options::new(server.url()).token(signed(600)).token_first());
    let mut subscription = client.subscribe("t", SubscribeOptions::new()).unwrap();
    within(client.publish("t", "1")).await.unwrap();
    texts(&mut subscription, &["1"]).await;
    let (options, asked) = asking(&server.url(), vec!["no-token-at-all".to_owned()]);
    let refused = States::default().client(options.token_first());
    let error = within(refused.connected()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 6);
}

/// It stands in no header: where no first message is taken, the client has no token.
#[tokio::test]
async fn a_first_message_needs_a_server_that_takes_it() {
    let (server, _directory) = guarded();
    let client =
        States::default().client(Options::new(server.url()).token(signed(600)).token_first());
    let error = within(client.connected()).await.unwrap_err();
    assert!(matches!(error, Error::Refused { status: 401, .. }), "{error}");
}
