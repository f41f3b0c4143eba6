//! Tokens that come over an open `/v1/ws`: the first one, of a client that came without, and those
//! that replace another before it ends. Owns what a change of rights does to what the connection
//! has. Must not judge tokens (that is `auth`).

use crate::auth::{Denied, Forbidden, Grant};
use crate::core::Core;
use crate::core::conn::{Guest, Role};
use crate::core::multiplex::Failure;
use crate::core::wheel;
use crate::feed::topic::Target;
use crate::frame::Kind;
use crate::http::refusal::Refusal;
use crate::http::route::Route;
use crate::http::status::Status;
use crate::metrics::{AuthOutcome, Gate};
use crate::net::backend::Backend;
use crate::wire::close::{Close, CloseCode};
use crate::wire::command::{Action, Command, Id, Token};
use crate::wire::reply;
use crate::wire::reply::ErrorCode;
use std::sync::Arc;

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let code = match denied {
            Denied::Full => ErrorCode::OverCapacity,
            _ => ErrorCode::Unauthorised,
        };
        Self::new(code, denied.to_string())
    }
}

impl<B: Backend> Core<B> {
    /// Whether a client without a token may ask for a route, because it will come by message.
    pub(crate) fn may_come_first(&self, route: &Route) -> bool {
        matches!(route, Route::Multiplexed { .. }) && self.config.auth.first_message_ms > 0
    }

    /// Lets a client in that has still to say who it is, where its token did not come with its
    /// request.
    pub(crate) fn admit_guest(&mut self, key: u32) -> Result<Option<Guest>, Refusal> {
        if !self.auth.is_on() || self.conns[key as usize].grant.is_some() {
            return Ok(None);
        }
        let auth = &self.config.auth;
        let Some(place) = self.shared.guests.take(auth.first_message_max) else {
            self.metrics.turned_away(Gate::Guests);
            let message = "too many connections wait for their token (auth.first_message_max)";
            let refusal = Refusal::new(Status::Unavailable, message);
            return Err(refusal.with_header("Retry-After", "1"));
        };
        let due = self.now + wheel::tick_of_ms(auth.first_message_ms).max(1);
        Ok(Some(Guest { due, place }))
    }

    /// The longest message of a connection: of one that nobody knows, no longer than a head, in
    /// which its token would have come.
    pub(crate) fn message_bytes_max(&self, key: u32) -> u32 {
        let limits = &self.config.limits;
        match self.conns[key as usize].guest() {
            Some(_) => limits.message_bytes_max.min(limits.header_bytes_max),
            None => limits.message_bytes_max,
        }
    }

    /// Closes a connection whose token is over, or has not come in time.
    pub(crate) fn rights_ended(&mut self, key: u32) {
        if matches!(self.conns[key as usize].role, Role::Poll(_)) {
            return self.refuse_waiting(key);
        }
        let reason = match self.conns[key as usize].guest() {
            Some(_) => {
                let ms = self.config.auth.first_message_ms;
                format!("no token came within {ms} ms (auth.first_message_ms)")
            }
            None => Denied::Expired.to_string(),
        };
        self.close(key, &Close::new(CloseCode::Unauthorised, reason));
    }

    /// Acts on the first message of a client that came without a token: its token, or the end.
    pub(crate) fn take_first_message(&mut self, key: u32, kind: Kind, payload: &[u8]) {
        let mut parser = std::mem::take(&mut self.commands);
        let taken = match (kind, parser.command(payload)) {
            (Kind::Text, Ok(Command { id, action: Action::Authenticate(token) })) => {
                self.renew(key, id.as_ref(), &token).map_err(|failure| failure.message)
            }
            _ => {
                self.metrics.asked(AuthOutcome::Missing);
                Err(FIRST_MESSAGE.into())
            }
        };
        self.commands = parser;
        if let Err(reason) = taken {
            self.close(key, &Close::new(CloseCode::Unauthorised, reason));
        }
    }

    /// Has a connection judged by another token from now on. One that is refused changes nothing.
    pub(crate) fn renew(
        &mut self,
        key: u32,
        id: Option<&Id>,
        token: &Token,
    ) -> Result<(), Failure> {
        // To check a signature takes as long as hundreds of other commands.
        self.commands_left = 0;
        let grant = self.grant_of(key, token).inspect_err(|(outcome, _)| {
            self.metrics.asked(*outcome);
        });
        let grant = grant.map_err(|(_, failure)| failure)?;
        if let Some(multiplexed) = self.multiplexed(key) {
            multiplexed.guest = None;
        }
        let expires_ns = grant.as_ref().and_then(|grant| grant.expires_ns());
        let is_asked = grant.is_some();
        self.conns[key as usize].grant = grant;
        self.answer_authenticated(key, id, expires_ns);
        if is_asked {
            self.metrics.asked(AuthOutcome::Accepted);
            self.end_forbidden(key);
        }
        if let Some(expiry) = self.expiry(key) {
            self.set_due_earlier(key, expiry);
        }
        self.queue_flush(key);
        Ok(())
    }

    /// What a token gives to a connection that may have another. None where nobody is asked: there
    /// it means nothing, as in a request.
    fn grant_of(
        &self,
        key: u32,
        token: &Token,
    ) -> Result<Option<Arc<Grant>>, (AuthOutcome, Failure)> {
        if !self.auth.is_on() {
            return Ok(None);
        }
        let grant = self.auth.authenticate(token.reveal(), self.both_clocks());
        let grant = grant.map_err(|denied| (denied.outcome(), Failure::from(denied)))?;
        let own = self.conns[key as usize].grant.as_ref();
        if own.is_some_and(|own| own.subject() != grant.subject()) {
            let failure = Failure::new(ErrorCode::Forbidden, OTHER_SUBJECT);
            return Err((AuthOutcome::Forbidden, failure));
        }
        Ok(Some(grant))
    }

    fn answer_authenticated(&mut self, key: u32, id: Option<&Id>, expires_ns: Option<u64>) {
        let Some(id) = id else { return };
        let now = self.both_clocks();
        let expires_ms = expires_ns.map(|ns| now.unix_ms + ns.saturating_sub(now.ns) / 1_000_000);
        self.answer(key, &reply::authenticated(id, expires_ms));
    }

    /// Ends what a connection follows and may no longer.
    fn end_forbidden(&mut self, key: u32) {
        let Some(multiplexed) = self.multiplexed(key) else { return };
        let targets: Vec<Target> = multiplexed.topics.keys().cloned().collect();
        let lacking = |target: Target| Some((self.may_subscribe(key, &target).err()?, target));
        let forbidden: Vec<(Forbidden, Target)> = targets.into_iter().filter_map(lacking).collect();
        for (forbidden, target) in forbidden {
            // It is among those that it has.
            if self.unfollow(key, None, &target).is_ok() {
                let text = reply::ended(&target, ErrorCode::Forbidden, &forbidden.to_string());
                self.answer(key, &text);
            }
        }
    }
}

/// What whoever says something else first is told.
const FIRST_MESSAGE: &str = "the first message here is the token: {\"auth\":{\"token\":\"…\"}}";

/// What is published, counted and limited is the subject's: another has a connection of its own.
const OTHER_SUBJECT: &str =
    "the token is of another subject than this connection: open another connection with it";
