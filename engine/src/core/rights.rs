//! Checks rights: asks `auth` about each request, keeps the grant with its connection, and checks
//! commands against it. Owns how a denial is answered. Must not judge tokens itself.

use crate::auth::{Denied, Forbidden, Now, Presented};
use crate::core::Core;
use crate::core::conn::Role;
use crate::core::wheel;
use crate::core::wheel::Tick;
use crate::feed::topic::{Target, Topic};
use crate::http::refusal::Refusal;
use crate::http::route::Route;
use crate::http::status::Status;
use crate::metrics::AuthOutcome;
use crate::net::backend::Backend;

/// What a request needs to be served.
enum Need<'r> {
    /// Nothing.
    Nothing,
    /// Any token: what it does later is judged then.
    Token,
    /// The right to subscribe to this.
    Subscribe(&'r Target),
    /// The right to publish to this.
    Publish(&'r Topic),
    /// The right to administer.
    Admin,
}

impl<B: Backend> Core<B> {
    /// Finds out who asks for a route, keeps that with the connection, and refuses who may not have
    /// it. `key` is the connection's.
    pub(crate) fn authorise(
        &mut self,
        key: u32,
        route: &Route,
        presented: &Presented,
    ) -> Result<(), Refusal> {
        // Each request of a connection that is kept stands for itself.
        self.conns[key as usize].grant = None;
        let need = self.need_of(route);
        if matches!(need, Need::Nothing) || !self.auth.is_on() {
            return Ok(());
        }
        if matches!(presented, Err(Denied::Missing)) && self.may_come_first(route) {
            return Ok(());
        }
        let now = self.both_clocks();
        let credentials = presented.as_ref().map_err(|denied| *denied);
        let granted = credentials.and_then(|held| self.auth.authenticate(held.reveal(), now));
        self.conns[key as usize].grant = match granted {
            Ok(grant) => Some(grant),
            Err(denied) => {
                self.metrics.asked(denied.outcome());
                return Err(denied.into());
            }
        };
        let allowed = match need {
            Need::Nothing | Need::Token => Ok(()),
            Need::Subscribe(target) => self.may_subscribe(key, target),
            Need::Publish(topic) => self.may_publish(key, topic),
            Need::Admin => self.may_administer(key),
        };
        let outcome = if allowed.is_ok() { AuthOutcome::Accepted } else { AuthOutcome::Forbidden };
        self.metrics.asked(outcome);
        allowed.map_err(Refusal::from)
    }

    /// The time, as tokens are judged by it.
    pub(crate) fn both_clocks(&self) -> Now {
        Now { unix_ms: self.backend.unix_ms(), ns: self.now_ns() }
    }

    /// Whether a connection may subscribe to this.
    pub(crate) fn may_subscribe(&self, key: u32, target: &Target) -> Result<(), Forbidden> {
        match &self.conns[key as usize].grant {
            Some(grant) => grant.may_subscribe(target),
            None => self.is_open().ok_or(Forbidden::NoToken),
        }
    }

    /// Whether a connection may publish to this.
    pub(crate) fn may_publish(&self, key: u32, topic: &Topic) -> Result<(), Forbidden> {
        match &self.conns[key as usize].grant {
            Some(grant) => grant.may_publish(topic),
            None => self.is_open().ok_or(Forbidden::NoToken),
        }
    }

    /// Whether a connection may administer the engine.
    pub(crate) fn may_administer(&self, key: u32) -> Result<(), Forbidden> {
        match &self.conns[key as usize].grant {
            Some(grant) => grant.may_administer(),
            None => self.is_open().ok_or(Forbidden::NoToken),
        }
    }

    /// Takes one publish from the rate that a connection shares with others of its subject.
    pub(crate) fn take_publish(&self, key: u32, now_ns: u64) -> Result<(), String> {
        let grant = self.conns[key as usize].grant.as_ref();
        let taken = grant.map_or(Ok(()), |grant| grant.take_publish(now_ns));
        taken.map_err(|per_s| {
            format!("more than {per_s} messages a second with this token (publishes_per_s)")
        })
    }

    /// When a connection's rights end, or it must have shown that it has some. Not while it is a
    /// request, nor once it is told to go.
    pub(crate) fn expiry(&self, key: u32) -> Option<Tick> {
        let conn = &self.conns[key as usize];
        if conn.role.is_passing() && !matches!(conn.role, Role::Poll(_)) {
            return None;
        }
        if let Some(guest) = conn.guest() {
            return Some(guest.due);
        }
        let expires_ns = conn.grant.as_ref()?.expires_ns()?;
        Some(wheel::tick_of_ms(expires_ns / 1_000_000))
    }

    /// Nobody is asked. A connection from before tokens were needed has no rights once they are.
    fn is_open(&self) -> Option<()> {
        (!self.auth.is_on()).then_some(())
    }

    fn need_of<'r>(&self, route: &'r Route) -> Need<'r> {
        match route {
            // Whoever asks how the engine is, or what it offers, is a machine without a token.
            Route::Health | Route::Ready | Route::Probe | Route::Allow(_) => Need::Nothing,
            // A browser that goes to a page shows no token: what the page then asks for needs one.
            Route::File(_) => Need::Nothing,
            Route::Metrics if self.config.auth.metrics => Need::Admin,
            Route::Metrics => Need::Nothing,
            Route::FeedSocket { target, .. }
            | Route::FeedEvents { target, .. }
            | Route::History { target, .. }
            | Route::Poll { target, .. } => Need::Subscribe(target),
            Route::PublishSocket { topic, .. } | Route::PublishOne { topic, .. } => {
                Need::Publish(topic)
            }
            Route::PublishMany { .. } | Route::Multiplexed { .. } | Route::Echo { .. } => {
                Need::Token
            }
            Route::Status | Route::Topics(_) | Route::Drain => Need::Admin,
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        // RFC 6750 section 3: only who presented something is told that it is wrong.
        let (status, challenge) = match denied {
            Denied::Full => {
                let refusal = Self::new(Status::Unavailable, denied.to_string());
                return refusal.with_header("Retry-After", "5");
            }
            Denied::Missing => (Status::Unauthorised, "Bearer"),
            Denied::Malformed(_) => (Status::Unauthorised, "Bearer error=\"invalid_request\""),
            _ => (Status::Unauthorised, "Bearer error=\"invalid_token\""),
        };
        Self::new(status, denied.to_string()).with_header("WWW-Authenticate", challenge)
    }
}

impl From<Forbidden> for Refusal {
    fn from(forbidden: Forbidden) -> Self {
        Self::new(Status::Forbidden, forbidden.to_string())
            .with_header("WWW-Authenticate", "Bearer error=\"insufficient_scope\"")
    }
}
