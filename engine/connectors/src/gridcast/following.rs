//! What is followed at the far end: how far each subscription has come, so that it is taken up
//! there again, and which topic each number stands for. Must not know sockets, or publish anything.

use std::collections::HashMap;
use std::sync::Arc;

use gridcast::feed::epoch::Position;
use gridcast::feed::topic::Target;
use gridcast_client::wire::told::{Subscribed, Told};

/// Topics of which the far end may tell the numbers: as many as an engine has by default.
const TOPICS_MAX: usize = 1_000_000;

/// See the file header.
#[derive(Debug)]
pub struct Following {
    subscriptions: Vec<Subscription>,
    /// Of this session: which subscription and topic a number stands for.
    feeds: HashMap<u64, Feed>,
}

/// One pattern or topic.
#[derive(Debug)]
struct Subscription {
    target: Target,
    /// The command that asks for it, until it is answered.
    asked: Option<u64>,
    /// What came last; none before it stood for the first time.
    position: Option<Position>,
}

/// What a number stands for.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The topic.
    pub topic: Arc<str>,
    subscription: usize,
}

/// The far end has said something that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// An epoch that is none.
    #[error("an epoch that is none")]
    Epoch,
    /// A subscription that nobody asked for.
    #[error("a subscription that nobody asked for")]
    Subscription,
    /// Too many topics.
    #[error("more than {TOPICS_MAX} topics: follow fewer (`in`)")]
    TooManyTopics,
}

impl Following {
    /// Follows `targets`, from the first session on.
    #[must_use]
    pub fn new(targets: &[Target]) -> Self {
        let subscription =
            |target: &Target| Subscription { target: target.clone(), asked: None, position: None };
        let subscriptions = targets.iter().map(subscription).collect();
        Self { subscriptions, feeds: HashMap::new() }
    }

    /// Begins a session: what is to be followed and from which position on; `number` gives the
    /// number of the command.
    pub fn begin(
        &mut self,
        mut number: impl FnMut() -> u64,
    ) -> Vec<(u64, String, Option<Position>)> {
        self.feeds.clear();
        let ask = |subscription: &mut Subscription| {
            let id = number();
            subscription.asked = Some(id);
            (id, subscription.target.to_string(), subscription.position)
        };
        self.subscriptions.iter_mut().map(ask).collect()
    }

    /// Whether every subscription of the session stands.
    #[must_use]
    pub fn stands(&self) -> bool {
        self.subscriptions.iter().all(|subscription| subscription.asked.is_none())
    }

    /// Whether a command that was answered asked for a subscription.
    #[must_use]
    pub fn has_asked(&self, id: u64) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.asked == Some(id))
    }

    /// A subscription stands.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn subscribed(&mut self, id: u64, answer: &Subscribed<'_>) -> Result<(), Wrong> {
        let mut all = self.subscriptions.iter_mut().enumerate();
        let asked = all.find(|(_, subscription)| subscription.asked == Some(id));
        let (index, subscription) = asked.ok_or(Wrong::Subscription)?;
        let epoch = answer.epoch.parse().map_err(|_| Wrong::Epoch)?;
        subscription.asked = None;
        subscription.position = Some(Position { epoch, seq: answer.seq });
        if let Some(number) = answer.feed {
            let topic = answer.topic.as_ref().into();
            self.feeds.insert(number, Feed { topic, subscription: index });
        }
        Ok(())
    }

    /// Takes in which topic a number stands for. Answers false where nothing of that is said.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn announced(&mut self, told: &Told<'_>) -> Result<bool, Wrong> {
        let (Some(topic), Some(number)) = (&told.topic, told.feed) else { return Ok(false) };
        let target = told.pattern.as_ref().unwrap_or(topic);
        let mut all = self.subscriptions.iter();
        let own = all.position(|subscription| subscription.target.as_str() == target.as_ref());
        let subscription = own.ok_or(Wrong::Subscription)?;
        if self.feeds.len() >= TOPICS_MAX && !self.feeds.contains_key(&number) {
            return Err(Wrong::TooManyTopics);
        }
        self.feeds.insert(number, Feed { topic: topic.as_ref().into(), subscription });
        Ok(true)
    }

    /// What a number stands for.
    #[must_use]
    pub fn feed(&self, number: u64) -> Option<Feed> {
        self.feeds.get(&number).cloned()
    }

    /// The message with this number was taken in: the next session goes on behind it.
    pub fn came(&mut self, feed: &Feed, seq: u64) {
        let subscription = self.subscriptions.get_mut(feed.subscription);
        if let Some(position) = subscription.and_then(|own| own.position.as_mut()) {
            position.seq = position.seq.max(seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Told<'_> {
        serde_json::from_str(text).unwrap()
    }

    fn begin(following: &mut Following) -> Vec<(u64, String, Option<String>)> {
        let mut next = 0;
        let asked = following.begin(|| {
            next += 1;
            next
        });
        let shown = |position: Position| position.to_string();
        asked.into_iter().map(|(id, target, at)| (id, target, at.map(shown))).collect()
    }

    fn subscribed(following: &mut Following, id: u64, text: &str) -> Result<(), Wrong> {
        following.subscribed(id, &serde_json::from_str(text).unwrap())
    }

    #[test]
    fn a_session_goes_on_where_the_one_before_ended() {
        let targets = ["pmu/#", "alarms"].map(|target| target.parse().unwrap());
        let mut following = Following::new(&targets);
        assert_eq!(begin(&mut following)[0], (1, "pmu/#".to_owned(), None));
        assert!(!following.stands() && following.has_asked(2) && !following.has_asked(3));
        subscribed(&mut following, 1, r#"{"topic":"pmu/#","epoch":"k3","seq":7}"#).unwrap();
        let answer = r#"{"topic":"alarms","epoch":"k4","seq":0,"feed":9}"#;
        subscribed(&mut following, 2, answer).unwrap();
        assert!(following.stands());
        let announced = told(r#"{"topic":"pmu/1","pattern":"pmu/#","feed":12}"#);
        assert_eq!(following.announced(&announced), Ok(true));
        let feed = following.feed(12).unwrap();
        assert_eq!((&*feed.topic, &*following.feed(9).unwrap().topic), ("pmu/1", "alarms"));
        following.came(&feed, 8);
        let again = begin(&mut following);
        assert_eq!(again[0].2.as_deref(), Some("k3-8"));
        assert_eq!(again[1].2.as_deref(), Some("k4-0"));
        assert!(following.feed(12).is_none(), "numbers are those of a session");
    }

    #[test]
    fn what_nobody_asked_for_is_an_error() {
        let mut following = Following::new(&["a".parse().unwrap()]);
        begin(&mut following);
        let answer = r#"{"topic":"a","epoch":"k3","seq":0,"feed":1}"#;
        assert_eq!(subscribed(&mut following, 7, answer), Err(Wrong::Subscription));
        let answer = r#"{"topic":"a","epoch":"K","seq":0,"feed":1}"#;
        assert_eq!(subscribed(&mut following, 1, answer), Err(Wrong::Epoch));
        let announced = told(r#"{"topic":"x","pattern":"+","feed":12}"#);
        assert_eq!(following.announced(&announced), Err(Wrong::Subscription));
        assert_eq!(following.announced(&told(r#"{"beat":{"t":1}}"#)), Ok(false));
    }
}
