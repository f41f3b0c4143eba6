//! What outlives connections: the subscriptions, and the publishes that wait for one. Must not
//! connect or send.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::feed::Feed;
use super::request::{Attempt, Request};
use crate::error::Error;

/// What is followed, by topic or pattern: one subscription each.
#[derive(Default)]
pub struct Targets(Mutex<HashMap<Arc<str>, u64>>);

impl Targets {
    /// Takes a target for the feed `id`; false where another has it.
    pub fn add(&self, target: &Arc<str>, id: u64) -> bool {
        *self.all().entry(Arc::clone(target)).or_insert(id) == id
    }

    /// Frees the target, where it is still that of the feed `id`.
    pub fn remove(&self, target: &str, id: u64) {
        let mut all = self.all();
        if all.get(target) == Some(&id) {
            all.remove(target);
        }
    }

    /// A panic of whoever held it left it whole: it is changed in single steps.
    fn all(&self) -> MutexGuard<'_, HashMap<Arc<str>, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What outlives connections.
pub struct Work {
    /// By number, and so in the order in which they were asked for.
    pub feeds: BTreeMap<u64, Feed>,
    /// Publishes that wait for a connection.
    pub waiting: VecDeque<Attempt>,
    waiting_max: usize,
    targets: Arc<Targets>,
}

impl Work {
    /// Nothing yet; so many publishes may wait.
    #[must_use]
    pub fn new(waiting_max: usize, targets: Arc<Targets>) -> Self {
        Self { feeds: BTreeMap::new(), waiting: VecDeque::new(), waiting_max, targets }
    }

    /// Takes a feed away; what it followed may be asked for anew.
    pub fn remove(&mut self, id: u64) -> Option<Feed> {
        let feed = self.feeds.remove(&id)?;
        self.targets.remove(&feed.target, id);
        Some(feed)
    }

    /// A paused feed has room again.
    pub fn go_on(&mut self, id: u64) {
        if let Some(feed) = self.feeds.get_mut(&id) {
            feed.is_paused = false;
        }
    }

    /// Takes a request while there is no connection; answers one to close.
    pub fn take(&mut self, request: Request) -> Option<oneshot::Sender<()>> {
        match request {
            Request::Subscribe(feed) => drop(self.feeds.insert(feed.id, *feed)),
            Request::Leave(id) => drop(self.remove(id)),
            Request::GoOn(id) => self.go_on(id),
            Request::Publish(attempt) => self.wait(attempt),
            Request::Close(done) => return Some(done),
        }
        None
    }

    fn wait(&mut self, attempt: Attempt) {
        // As many may wait as are under way; above that some are given up by now.
        if self.waiting.len() >= self.waiting_max {
            self.waiting.retain(|waiting| !waiting.reply.is_closed());
        }
        self.waiting.push_back(attempt);
    }

    /// Everything is over.
    pub fn end(&mut self, error: &Error, at_once: bool) {
        for (id, mut feed) in std::mem::take(&mut self.feeds) {
            self.targets.remove(&feed.target, id);
            feed.end(error, at_once);
        }
        for attempt in std::mem::take(&mut self.waiting) {
            attempt.fail(error.clone());
        }
    }
}
