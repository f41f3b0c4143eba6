//! Topics that exist because somebody subscribed to them and nobody has published to them yet. Owns
//! how many there are and how many there may be: anybody who may subscribe can invent names. Must
//! not know feeds; a feed holds a [`Ticket`] until its first message.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many topics may be awaited; 0 sets no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AwaitedMax {
    /// By all together.
    pub in_all: usize,
    /// By all connections of one token, or of one `sub`.
    pub per_subject: usize,
    /// By one connection.
    pub per_connection: usize,
}

/// Who subscribes, as far as limits go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Follower<'a> {
    /// Whom its token stands for, if it has one.
    pub subject: Option<&'a str>,
    /// The number of its connection, where one may have many subscriptions.
    pub connection: Option<u64>,
}

/// One more topic than may be awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{max} topics that nobody has published to yet are subscribed to {who}, and no more may be \
     ({setting})"
)]
pub struct TooManyAwaited {
    max: usize,
    who: &'static str,
    setting: &'static str,
}

/// See the file header.
#[derive(Debug)]
pub struct Awaited {
    max: AwaitedMax,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    in_all: usize,
    by_owner: BTreeMap<Owner, usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Owner {
    Subject(Arc<str>),
    Connection(u64),
}

/// Stands for one awaited topic; dropped when it is awaited no more.
#[derive(Debug)]
pub struct Ticket {
    awaited: Arc<Awaited>,
    owners: [Option<Owner>; 2],
}

impl Awaited {
    /// None yet, and at most so many.
    pub fn new(max: AwaitedMax) -> Self {
        Self { max, counts: Mutex::default() }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.lock().in_all
    }

    /// Counts one in that `follower` asks for.
    ///
    /// # Errors
    /// [`TooManyAwaited`] when it would be one too many.
    pub fn enter(self: &Arc<Self>, follower: &Follower<'_>) -> Result<Ticket, TooManyAwaited> {
        let owners = [
            follower.subject.map(|subject| Owner::Subject(subject.into())),
            follower.connection.map(Owner::Connection),
        ];
        let mut counts = self.lock();
        check(counts.in_all, self.max.in_all, "in all", "limits.awaited_topics_max")?;
        for owner in owners.iter().flatten() {
            let (max, who, setting) = self.limit_of(owner);
            check(counts.by_owner.get(owner).copied().unwrap_or(0), max, who, setting)?;
        }
        counts.in_all += 1;
        for owner in owners.iter().flatten() {
            *counts.by_owner.entry(owner.clone()).or_default() += 1;
        }
        drop(counts);
        Ok(Ticket { awaited: Arc::clone(self), owners })
    }

    fn limit_of(&self, owner: &Owner) -> (usize, &'static str, &'static str) {
        match owner {
            Owner::Subject(_) => {
                (self.max.per_subject, "with this token", "limits.awaited_topics_per_token_max")
            }
            Owner::Connection(_) => (
                self.max.per_connection,
                "by this connection",
                "limits.awaited_topics_per_connection_max",
            ),
        }
    }

    fn leave(&self, owners: &[Option<Owner>]) {
        let mut counts = self.lock();
        counts.in_all = counts.in_all.saturating_sub(1);
        for owner in owners.iter().flatten() {
            let Some(count) = counts.by_owner.get_mut(owner) else { continue };
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.by_owner.remove(owner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(
    count: usize,
    max: usize,
    who: &'static str,
    setting: &'static str,
) -> Result<(), TooManyAwaited> {
    if max > 0 && count >= max {
        return Err(TooManyAwaited { max, who, setting });
    }
    Ok(())
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.awaited.leave(&self.owners);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_of_those_who_wait_for_nothing() {
        let awaited =
            Arc::new(Awaited::new(AwaitedMax { in_all: 9, per_subject: 2, per_connection: 1 }));
        let follower = Follower { subject: Some("a"), connection: Some(1) };
        let first = awaited.enter(&follower).unwrap();
        assert!(awaited.enter(&follower).is_err(), "of this connection");
        let second = awaited.enter(&Follower { connection: Some(2), ..follower }).unwrap();
        assert!(
            awaited.enter(&Follower { connection: None, ..follower }).is_err(),
            "of this token"
        );
        drop((first, second));
        assert_eq!(awaited.count(), 0);
        assert!(awaited.lock().by_owner.is_empty());
        assert!(awaited.enter(&follower).is_ok());
    }
}
