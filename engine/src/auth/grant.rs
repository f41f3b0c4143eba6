//! The rights of one client, and until when they hold. Owns the comparison of what is asked with
//! what is allowed. Must not know where the rights come from.

use std::sync::{Arc, Mutex, PoisonError};

use crate::feed::topic::{Target, Topic};
use crate::limits::rate::TokenBucket;
use thiserror::Error;

/// What a token says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Who it stands for.
    pub subject: String,
    /// Where this is written.
    pub source: Source,
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

/// Where rights are written, and so where one that is missing would have to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// In the claim `gridcast` of a token that is signed.
    #[default]
    Claim,
    /// In an `[[auth.token]]`.
    Settings,
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

/// A right that is missing, and where it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Forbidden {
    /// The token does not give it.
    #[error("the token has no right to {act}: {written} {fault}")]
    NotGranted {
        /// What was wished.
        act: String,
        /// Where the right would have to be.
        written: String,
        /// What is wrong there.
        fault: &'static str,
    },
    /// Nobody was asked for a token when the connection began, and now one is needed.
    #[error("this connection has no token, and by now one is needed: connect again with it")]
    NoToken,
}

impl Rights {
    fn lack(&self, right: &str, act: String, fault: &'static str) -> Forbidden {
        let written = match self.source {
            Source::Claim => format!("its claim gridcast.{right}"),
            Source::Settings => format!("{right} in its [[auth.token]]"),
        };
        Forbidden::NotGranted { act, written, fault }
    }
}

impl Grant {
    /// Rights, with what is left of their subject's rate if it has one.
    #[must_use]
    pub fn new(rights: Arc<Rights>, rate: Option<Arc<Rate>>) -> Self {
        Self { rights, rate }
    }

    /// What was granted.
    #[must_use]
    pub fn rights(&self) -> &Rights {
        &self.rights
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
        let granted = &self.rights.subscribe;
        let act = || format!("subscribe to \"{wish}\"");
        let is_granted = granted.iter().any(|granted| granted.covers(wish));
        let lack = || self.rights.lack("subscribe", act(), fault_of(granted));
        is_granted.then_some(()).ok_or_else(lack)
    }

    /// Whether this topic may be published to.
    ///
    /// # Errors
    /// [`Forbidden`] that names it.
    pub fn may_publish(&self, wish: &Topic) -> Result<(), Forbidden> {
        let granted = &self.rights.publish;
        let act = || format!("publish to \"{wish}\"");
        let is_granted = granted.iter().any(|granted| granted.matches(wish));
        let lack = || self.rights.lack("publish", act(), fault_of(granted));
        is_granted.then_some(()).ok_or_else(lack)
    }

    /// Whether the engine may be administered.
    ///
    /// # Errors
    /// [`Forbidden`].
    pub fn may_administer(&self) -> Result<(), Forbidden> {
        let act = || "administer the engine".to_owned();
        let lack = || self.rights.lack("admin", act(), "is missing or false");
        self.rights.admin.then_some(()).ok_or_else(lack)
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

/// What is wrong with a list in which a wish is not.
fn fault_of(granted: &[Target]) -> &'static str {
    if granted.is_empty() { "is missing or empty" } else { "does not cover it" }
}

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
    fn publishing_is_a_right_apart_and_refusals_name_what_is_missing() {
        let signed = grant(&["a"], &["pmu/+"]);
        assert!(signed.may_publish(&Topic::new("pmu/1").unwrap()).is_ok());
        let rights = Rights { source: Source::Settings, ..Rights::default() };
        let written = Grant::new(rights.into(), None);
        let (publish, subscribe) = (Topic::new("a").unwrap(), "pmu/1".parse().unwrap());
        for (forbidden, message) in [
            (
                signed.may_publish(&publish),
                "publish to \"a\": its claim gridcast.publish does not cover it",
            ),
            (
                signed.may_subscribe(&subscribe),
                "subscribe to \"pmu/1\": its claim gridcast.subscribe does not cover it",
            ),
            (
                signed.may_administer(),
                "administer the engine: its claim gridcast.admin is missing or false",
            ),
            (
                written.may_publish(&publish),
                "publish to \"a\": publish in its [[auth.token]] is missing or empty",
            ),
            (
                written.may_administer(),
                "administer the engine: admin in its [[auth.token]] is missing or false",
            ),
        ] {
            let told = forbidden.unwrap_err().to_string();
            assert_eq!(told, format!("the token has no right to {message}"));
        }
    }
}
