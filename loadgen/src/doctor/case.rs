//! The inputs of all limits: the load, the host, and the budget's result. Must not judge.

use crate::doctor::facts::Facts;
use crate::plan::budget::{Budget, Refusal};
use crate::scenario::scenario::Scenario;

/// The inputs of all limits.
pub(super) struct Case<'c> {
    pub(super) scenario: &'c Scenario,
    pub(super) facts: &'c Facts,
    pub(super) budget: Budget,
    pub(super) refusals: Vec<Refusal>,
}

impl Case<'_> {
    /// Connections of subscribers and publishers.
    pub(super) fn sockets(&self) -> u64 {
        self.budget.implied.subscriber_sockets + self.budget.implied.publisher_sockets
    }

    /// Sockets of those connections on this host.
    pub(super) fn ends(&self) -> u64 {
        self.sockets() * self.budget.layout.ends()
    }

    /// The budget's objection of the kind that `choice` selects, which `run` would report too.
    pub(super) fn refused<T>(&self, choose: impl Fn(&Refusal) -> Option<T>) -> Option<T> {
        self.refusals.iter().find_map(choose)
    }
}
