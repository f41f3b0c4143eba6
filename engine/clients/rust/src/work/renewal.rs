//! When the token of an open connection is replaced by another of its function, so that nothing is
//! interrupted. Must not send a token, or judge one.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Clock;
use crate::options::{Token, TokenFuture, check_token};

/// Of its time, before it is replaced: the rest is for an identity provider that is slow.
const SHARE: f64 = 0.8;
/// One that lasts for less is not replaced: another connection is as cheap as another token.
const LEFT_MIN: Duration = Duration::from_secs(5);
/// One that lasts for longer is replaced all the same: its function may know better by then.
const WAIT_MAX: Duration = Duration::from_secs(86_400);

/// The token of one connection.
pub struct Renewal {
    source: Token,
    clock: Arc<dyn Clock>,
    /// By which the server judges this connection.
    token: Option<String>,
    /// One that it did not take, which is not sent again.
    refused: Option<String>,
    /// When the function is asked, as time of day; none where there is nothing to ask for.
    due: Option<Duration>,
    asking: Option<TokenFuture>,
}

impl Renewal {
    /// Of a connection that was made with `token`.
    #[must_use]
    pub fn new(source: Token, token: Option<String>, clock: Arc<dyn Clock>) -> Self {
        let mut renewal = Self { source, clock, token, refused: None, due: None, asking: None };
        renewal.schedule();
        renewal
    }

    /// The token by which the server judges this connection.
    #[must_use]
    pub fn into_token(self) -> Option<String> {
        self.token
    }

    /// Asks the function, where it is time. To be called at intervals.
    pub fn look(&mut self) {
        if self.due.is_some_and(|due| due <= self.clock.wall())
            && let Token::Asked(ask) = &self.source
        {
            self.due = None;
            self.asking = Some(ask());
        }
    }

    /// A token to be sent, once the function has answered one; what it answers is said by
    /// [`accepted`](Self::accepted) or [`refused`](Self::refused). May be cancelled.
    pub async fn next(&mut self) -> String {
        loop {
            let Some(asking) = &mut self.asking else { return pending().await };
            let given = asking.await;
            self.asking = None;
            let checked = given
                .map_err(|error| error.to_string())
                .and_then(|token| check_token(&token).map(|()| token).map_err(str::to_owned));
            match checked {
                Ok(token) if self.is_new(&token) => return token,
                // Asked again while there is time; then the connection ends, and the next one asks.
                Ok(_) => tracing::debug!("the function gives the token that it gave before"),
                Err(error) => tracing::warn!(error, "no token to replace the one that ends"),
            }
            self.schedule();
        }
    }

    /// The server judges this connection by `token` from now on.
    pub fn accepted(&mut self, token: String) {
        self.token = Some(token);
        self.schedule();
    }

    /// The server did not take `token`: the one before still counts.
    pub fn refused(&mut self, token: String) {
        self.refused = Some(token);
        self.schedule();
    }

    fn is_new(&self, token: &str) -> bool {
        ![&self.token, &self.refused].into_iter().any(|known| known.as_deref() == Some(token))
    }

    fn schedule(&mut self) {
        let may_change = matches!(self.source, Token::Asked(_));
        let end = self.token.as_deref().filter(|_| may_change).and_then(end_of);
        let now = self.clock.wall();
        let left = end.map(|end| end.saturating_sub(now)).filter(|left| *left > LEFT_MIN);
        self.due = left.map(|left| now.saturating_add(left.mul_f64(SHARE).min(WAIT_MAX)));
    }
}

/// When a JSON Web Token ends, since 1970; none where it does not say.
fn end_of(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Duration::try_from_secs_f64(claims["exp"].as_f64()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Set(Mutex<Duration>);

    impl Clock for Set {
        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        fn wall(&self) -> Duration {
            *self.0.lock().unwrap()
        }
    }

    fn ending_at(end_s: u64, name: &str) -> String {
        let claims = format!(r#"{{"exp":{end_s},"sub":"{name}"}}"#);
        format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims))
    }

    fn asked(tokens: Vec<Result<String, &'static str>>) -> Token {
        let tokens = Arc::new(Mutex::new(tokens.into_iter()));
        Token::Asked(Arc::new(move || {
            let next = tokens.lock().unwrap().next().expect("it is asked no more often");
            Box::pin(async move { next.map_err(Into::into) })
        }))
    }

    fn now(renewal: &mut Renewal) -> Option<String> {
        use std::task::{Context, Poll, Waker};
        renewal.look();
        match std::pin::pin!(renewal.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(token) => Some(token),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_token_is_replaced_at_four_fifths_of_its_time() {
        let clock = Arc::new(Set::default());
        let second = ending_at(200, "second");
        let source = asked(vec![Ok(second.clone())]);
        let first = Some(ending_at(100, "first"));
        let mut renewal = Renewal::new(source, first, Arc::clone(&clock) as _);
        *clock.0.lock().unwrap() = Duration::from_secs(79);
        assert_eq!(now(&mut renewal), None);
        *clock.0.lock().unwrap() = Duration::from_secs(80);
        assert_eq!(now(&mut renewal), Some(second.clone()));
        assert_eq!(now(&mut renewal), None, "until the server has answered");
        renewal.accepted(second.clone());
        assert_eq!(renewal.due, Some(Duration::from_secs(176)));
        assert_eq!(renewal.into_token(), Some(second));
    }

    #[test]
    fn where_there_is_none_it_is_asked_again_while_there_is_time() {
        let clock = Arc::new(Set::default());
        let source = asked(vec![Err("away"), Ok("not a token".to_owned())]);
        let first = Some(ending_at(100, "first"));
        let mut renewal = Renewal::new(source, first, Arc::clone(&clock) as _);
        for due_s in [80, 96] {
            assert_eq!(renewal.due, Some(Duration::from_secs(due_s)));
            *clock.0.lock().unwrap() = Duration::from_secs(due_s);
            assert_eq!(now(&mut renewal), None);
        }
        assert_eq!(renewal.due, None, "with less than five seconds left nothing is begun");
    }

    #[test]
    fn a_token_that_was_refused_is_not_offered_again() {
        let clock = Arc::new(Set::default());
        let (first, bad) = (ending_at(10_000, "first"), ending_at(10_000, "bad"));
        let source = asked(vec![Ok(bad.clone()), Ok(bad.clone()), Ok(first.clone())]);
        let mut renewal = Renewal::new(source, Some(first), Arc::clone(&clock) as _);
        *clock.0.lock().unwrap() = renewal.due.unwrap();
        let offered = now(&mut renewal).unwrap();
        renewal.refused(offered);
        for _ in 0..2 {
            *clock.0.lock().unwrap() = renewal.due.unwrap();
            assert_eq!(now(&mut renewal), None);
        }
        assert!(renewal.due.is_some());
    }

    #[test]
    fn what_has_no_end_or_cannot_change_is_not_replaced() {
        let clock = Arc::new(Set::default());
        for (source, token) in [
            (Token::Fixed(String::new()), Some(ending_at(100, "a"))),
            (asked(Vec::new()), Some("static-0123456789".to_owned())),
            (asked(Vec::new()), Some("a.b.c".to_owned())),
            (asked(Vec::new()), Some(ending_at(5, "a"))),
            (asked(Vec::new()), None),
        ] {
            assert_eq!(Renewal::new(source, token, Arc::clone(&clock) as _).due, None);
        }
    }
}
