//! The rights of one client, and until when they hold. Owns the comparison of what is asked with
//! what is allowed. Must not know where the rights come from.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::feed::topic::{Target, Topic};
use crate::limits::rate::TokenBucket;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Who it stands for.
    pub subject: String,
    /// What may be subscribed to.
    pub subscribe: Vec<Target>,
    /// What may be published to.
    pub publish: Vec<Target>,
    /// Whether the engine may be administered.
    pub admin: bool,
    /// Messages a second of all connections of the subject; 0 sets no limit.
    pub publishes_per_s: u32,
    /// When they end, on the engine's clock.
    pub expires_ns: Option<u64>,
}

/// The rights of a connection, and what is left of its subject's rate.
#[derive(Debug)]
pub struct Grant {
    rights: Arc<Rights>,
    rate: Option<Arc<Rate>>,
}

/// How much a subject may publish now: one for all its connections, on whatever core.
#[derive(Debug)]
pub struct Rate(Mutex<TokenBucket>);

/// A right that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forbidden {
    act: &'static str,
    what: String,
}

impl Grant {
    /// Rights, with what is left of their subject's rate if it has one.
    #[must_use]
    pub fn new(rights: Arc<Rights>, rate: Option<Arc<Rate>>) -> Self {
        Self { rights, rate }
    }

    /// Who was let in.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.rights.subject
    }

    /// When it ends, on the engine's clock.
    #[must_use]
    pub fn expires_ns(&self) -> Option<u64> {
        self.rights.expires_ns
    }

    /// A pattern must lie in one of the grant's own, as a whole.
    ///
    /// # Errors
    /// [`Forbidden`] that names it.
    pub fn may_subscribe(&self, wish: &Target) -> Result<(), Forbidden> {
        let is_granted = self.rights.subscribe.iter().any(|granted| granted.covers(wish));
        is_granted.then_some(()).ok_or_else(|| Forbidden::subscribe(wish))
    }

    /// Whether this topic may be published to.
    ///
    /// # Errors
    /// [`Forbidden`] that names it.
    pub fn may_publish(&self, wish: &Topic) -> Result<(), Forbidden> {
        let is_granted = self.rights.publish.iter().any(|granted| granted.matches(wish));
        is_granted.then_some(()).ok_or_else(|| Forbidden::publish(wish))
    }

    /// Whether the engine may be administered.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_administer(&self) -> Result<(), Forbidden> {
        self.rights.admin.then_some(()).ok_or_else(Forbidden::administer)
    }

    /// Takes one publish from the subject's rate; the rate when there is none left.
    ///
    /// # Errors
    /// The rate that is used up, in messages a second.
    pub fn take_publish(&self, now_ns: u64) -> Result<(), u32> {
        match &self.rate {
            Some(rate) if !rate.take(now_ns) => Err(self.rights.publishes_per_s),
            _ => Ok(()),
        }
    }
}

impl Rate {
    /// A full bucket.
    #[must_use]
    pub fn new(per_s: u32, now_ns: u64) -> Self {
        Self(Mutex::new(TokenBucket::new(per_s, now_ns)))
    }

    /// Whether forgetting it would give nothing away.
    #[must_use]
    pub fn is_full(&self, now_ns: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_full(now_ns)
    }

    fn take(&self, now_ns: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(now_ns)
    }
}

impl Forbidden {
    /// Subscribing to this is not allowed.
    #[must_use]
    pub fn subscribe(wish: &Target) -> Self {
        Self { act: "subscribe to", what: wish.to_string() }
    }

    /// Publishing to this is not allowed.
    #[must_use]
    pub fn publish(wish: &Topic) -> Self {
        Self { act: "publish to", what: wish.to_string() }
    }

    /// Administering is not allowed.
    #[must_use]
    pub fn administer() -> Self {
        Self { act: "administer", what: "the engine".to_owned() }
    }
}

impl fmt::Display for Forbidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this token may not {} {}", self.act, self.what)
    }
}

impl std::error::Error for Forbidden {}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(texts: &[&str]) -> Vec<Target> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn grant(subscribe: &[&str], publish: &[&str]) -> Grant {
        let rights = Rights {
            subscribe: targets(subscribe),
            publish: targets(publish),
            ..Rights::default()
        };
        Grant::new(rights.into(), None)
    }

    #[test]
    fn a_wish_lies_in_one_right_as_a_whole() {
        let grant = grant(&["pmu/#", "alarms", "a/+/c"], &[]);
        for (wish, expected) in [
            ("pmu/1", true),
            ("pmu/+", true),
            ("pmu/#", true),
            ("pmu", true),
            ("#", false),
            ("+/1", false),
            ("alarms", true),
            ("alarms/#", false),
            ("a/b/c", true),
            ("a/#", false),
        ] {
            let verdict = grant.may_subscribe(&wish.parse().unwrap());
            assert_eq!(verdict.is_ok(), expected, "{wish}");
        }
    }

    #[test]
    fn the_engines_topics_need_a_right_of_their_own() {
        let (all, system) = (grant(&["#"], &[]), grant(&["#", "$sys/#"], &[]));
        for wish in ["$sys/cores", "$sys/#", "$sys/+"] {
            assert!(all.may_subscribe(&wish.parse().unwrap()).is_err(), "{wish}");
            assert!(system.may_subscribe(&wish.parse().unwrap()).is_ok(), "{wish}");
        }
    }

    #[test]
    fn publishing_is_a_right_apart_and_refusals_name_the_topic() {
        let grant = grant(&["a"], &["pmu/+"]);
        assert!(grant.may_publish(&Topic::new("pmu/1").unwrap()).is_ok());
        let forbidden = grant.may_publish(&Topic::new("a").unwrap()).unwrap_err();
        assert_eq!(forbidden.to_string(), "this token may not publish to a");
        let forbidden = grant.may_subscribe(&"pmu/1".parse().unwrap()).unwrap_err();
        assert_eq!(forbidden.to_string(), "this token may not subscribe to pmu/1");
        assert!(grant.may_administer().is_err());
    }
}
