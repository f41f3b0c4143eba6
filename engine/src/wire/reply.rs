//! Messages to multiplexed clients other than data and gaps: greeting, beats, answers, errors. Must
//! not know what caused them, nor how they are framed.

use crate::feed::epoch::Epoch;
use crate::feed::topic::Target;
use crate::wire::command::Id;
use crate::wire::text;

/// The kinds of failure a client can act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The command is malformed or makes no sense.
    BadRequest,
    /// The client has not shown who it is.
    Unauthorised,
    /// The client has no right to this.
    Forbidden,
    /// The client has this subscription.
    AlreadySubscribed,
    /// The client has no such subscription.
    NotSubscribed,
    /// The client has as many subscriptions as one may have.
    TooManySubscriptions,
    /// The client does this too often.
    RateLimited,
    /// A limit of the engine is reached.
    OverCapacity,
    /// What the engine depends on does not answer.
    Unavailable,
}

impl ErrorCode {
    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::Unauthorised => "unauthorised",
            Self::Forbidden => "forbidden",
            Self::AlreadySubscribed => "already_subscribed",
            Self::NotSubscribed => "not_subscribed",
            Self::TooManySubscriptions => "too_many_subscriptions",
            Self::RateLimited => "rate_limited",
            Self::OverCapacity => "over_capacity",
            Self::Unavailable => "unavailable",
        }
    }
}

/// The greeting: which engine this is, in which of its lives, how long it is silent at most, and
/// how long a message may be that it is sent.
pub fn hello(heartbeat_ms: u64, epoch: Epoch, message_bytes_max: u32) -> Vec<u8> {
    let version = env!("CARGO_PKG_VERSION");
    answer(None, "hello", |out| {
        text::text(out, format_args!(r#""version":"{version}","heartbeat_ms":{heartbeat_ms}"#));
        text::text(out, format_args!(r#","epoch":"{epoch}""#));
        text::text(out, format_args!(r#","message_bytes_max":{message_bytes_max}"#));
    })
}

/// The engine lives, though it has had nothing to send; `unix_ms` is its clock.
pub fn beat(unix_ms: u64) -> Vec<u8> {
    answer(None, "beat", |out| text::text(out, format_args!(r#""t":{unix_ms}"#)))
}

/// A subscription has begun: what comes next follows `seq`. In binary envelopes `feed` stands for
/// it.
pub fn subscribed(
    id: Option<&Id>,
    target: &Target,
    epoch: Epoch,
    seq: u64,
    feed: Option<u64>,
) -> Vec<u8> {
    answer(id, "subscribed", |out| {
        topic(out, target);
        text::text(out, format_args!(r#","epoch":"{epoch}","seq":{seq}"#));
        if let Some(feed) = feed {
            text::text(out, format_args!(r#","feed":{feed}"#));
        }
    })
}

/// A subscription is over.
pub fn unsubscribed(id: &Id, target: &Target) -> Vec<u8> {
    answer(Some(id), "unsubscribed", |out| topic(out, target))
}

/// A message was published as number `seq`, for so many subscribers.
pub fn published(id: &Id, epoch: Epoch, seq: u64, subscribers: u64) -> Vec<u8> {
    answer(Some(id), "published", |out| {
        text::text(
            out,
            format_args!(r#""epoch":"{epoch}","seq":{seq},"subscribers":{subscribers}"#),
        );
    })
}

/// A command was not carried out; `message` says why to a person. It is told without an id as well,
/// or a publish could be lost in silence.
pub fn error(id: Option<&Id>, code: ErrorCode, message: &str) -> Vec<u8> {
    answer(id, "error", |out| {
        text::text(out, format_args!(r#""code":"{}","message":"#, code.word()));
        text::json_string(out, message);
    })
}

/// A token counts from now on, until `expires_ms` of UTC since 1970 if it ends.
pub fn authenticated(id: &Id, expires_ms: Option<u64>) -> Vec<u8> {
    answer(Some(id), "authenticated", |out| {
        if let Some(expires_ms) = expires_ms {
            text::text(out, format_args!(r#""expires_ms":{expires_ms}"#));
        }
    })
}

/// A subscription is over although nobody asked for that; `message` says why to a person.
pub fn ended(target: &Target, code: ErrorCode, message: &str) -> Vec<u8> {
    answer(None, "error", |out| {
        topic(out, target);
        text::text(out, format_args!(r#","code":"{}","message":"#, code.word()));
        text::json_string(out, message);
    })
}

fn answer(id: Option<&Id>, word: &str, body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"{".to_vec();
    if let Some(id) = id {
        text::text(&mut out, format_args!(r#""id":{id},"#));
    }
    text::text(&mut out, format_args!(r#""{word}":{{"#));
    body(&mut out);
    out.extend_from_slice(b"}}");
    out
}

fn topic(out: &mut Vec<u8>, target: &Target) {
    out.extend_from_slice(br#""topic":"#);
    text::json_string(out, target.as_str());
}
