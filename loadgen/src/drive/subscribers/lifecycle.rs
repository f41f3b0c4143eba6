//! Sockets of a thread that disconnect on purpose, are cut off or reset, or join during the run.
//! Owns when that happens. What it means for frames belongs to the reception; how sockets are
//! opened belongs to the worker.

use std::mem;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::drive::ramp;
use crate::drive::reconnect::{Reconnect, Resume};
use crate::drive::run_state::KILLED;
use crate::drive::subscriber::{State, Subscriber};
use crate::drive::subscribers::worker::{OpenedBy, SubscriberThread};
use crate::os::socket;
use crate::receive::expected::End;
use crate::scenario::kill::KillPlan;
use crate::scenario::lifecycle::{CutEnd, Lifecycle, Wait};
use crate::time::clock::mono_ns;
use crate::time::draw::mix;
use crate::time::units::{SECOND_NS, nanoseconds};

impl SubscriberThread<'_> {
    /// Disconnects and connects the sockets that are due.
    pub(super) fn apply_lifecycle(&mut self, now_ns: u64) {
        let Some(publisher_index) = self.run_state.publisher_index.get() else { return };
        let (measured_from, measured_to) = self.run_state.measured_ns(publisher_index);
        self.reconnects.lingering.retain(|(until_ns, _)| *until_ns > now_ns);
        if now_ns >= measured_to || self.run_state.progress.is_stopped() {
            return;
        }
        if now_ns >= measured_from {
            self.expect_newcomers(measured_from);
            self.expect_growth(measured_from);
            self.cut_due(now_ns, measured_from);
            self.churn(now_ns);
        }
        self.reconnect_due(now_ns);
    }

    fn expect_newcomers(&mut self, measured_from: u64) {
        for newcomers in mem::take(&mut self.reconnects.newcomers) {
            for (place, subscriber) in newcomers.iter().enumerate() {
                let Some(joins) = self.lifecycle_of(*subscriber).joins else { continue };
                // Threads share each class evenly, so each thread connects its new sockets at its
                // share of the rate.
                let due_ns = measured_from + joins.joins_at_ns(place, newcomers.len());
                let absent = Reconnect::new(due_ns, None, RETURN);
                self.reconnects.queue.expect(*subscriber, absent, due_ns);
            }
        }
    }

    /// New sockets are opened no faster than in the ramp.
    fn expect_growth(&mut self, measured_from: u64) {
        let plan = self.run_state.plan;
        let threads = plan.subscriber_threads.max(1) as u64;
        let interval_ns = threads * SECOND_NS / u64::from(plan.connect_rate.max(1));
        let mut free_ns = measured_from;
        for subscriber in mem::take(&mut self.reconnects.growing) {
            let joins_at_ns = plan.joins_at(subscriber).map_or(0, nanoseconds);
            let due_ns = free_ns.max(measured_from + joins_at_ns);
            free_ns = due_ns + interval_ns;
            self.reconnects.queue.expect(subscriber, Reconnect::new(due_ns, None, RETURN), due_ns);
        }
    }

    fn cut_due(&mut self, now_ns: u64, measured_from: u64) {
        let classes = &self.run_state.plan.classes;
        let is_due = |class: &u16| {
            let cut = classes.get(usize::from(*class)).and_then(|class| class.lifecycle.cut);
            cut.is_none_or(|cut| now_ns >= measured_from + nanoseconds(cut.at))
        };
        let (due, later) =
            mem::take(&mut self.reconnects.pending_cuts).into_iter().partition(is_due);
        self.reconnects.pending_cuts = later;
        let due: Vec<u16> = due;
        due.into_iter().for_each(|class| self.cut(class, now_ns));
    }

    fn cut(&mut self, class: u16, now_ns: u64) {
        let keys: Vec<usize> = self.sockets.iter().map(|(key, _)| key).collect();
        for key in keys.into_iter().filter(|key| self.is_of(*key, class)).collect::<Vec<_>>() {
            let Some((socket, account)) = self.disconnect(key, CUT) else { continue };
            let Some(cut) = self.lifecycle_of(socket.plan).cut else { continue };
            let word = mix(self.run_state.plan.seed ^ WAIT_STREAM, u64::from(socket.plan), 0);
            let due_ns = now_ns + cut.wait.delay_ns(0, word);
            let absent = Reconnect::new(now_ns, Some(account), cut.wait);
            self.reconnects.queue.expect(socket.plan, absent, due_ns);
            match cut.end {
                CutEnd::Reset => reset(socket),
                CutEnd::Silent(silence) => {
                    self.reconnects.lingering.push((now_ns + nanoseconds(silence), socket));
                }
            }
        }
    }

    fn churn(&mut self, now_ns: u64) {
        for index in 0..self.reconnects.churning.len() {
            while let Some((class, draw)) = self.reconnects.churning[index].due(now_ns) {
                if let Some(key) = self.drawn(class, draw) {
                    self.disconnect_in_order(key, now_ns);
                }
            }
        }
    }

    /// An open socket of a class: the first at or after a random index.
    fn drawn(&self, class: u16, draw: u64) -> Option<usize> {
        let places = self.sockets.capacity().max(1);
        let from = mix(self.run_state.plan.seed ^ CHURN_STREAM, u64::from(class), draw) as usize;
        let keys = (0..places).map(|step| (from % places + step) % places);
        keys.into_iter().find(|key| self.is_of(*key, class))
    }

    fn disconnect_in_order(&mut self, key: usize, now_ns: u64) {
        let Some((mut socket, account)) = self.disconnect(key, CHURN) else { return };
        let absent = Reconnect::new(now_ns, Some(account), RETURN);
        self.reconnects.queue.expect(socket.plan, absent, now_ns);
        socket.connection.send_close();
        // Closing a socket with unread bytes sends a reset, so the server gets this long to answer
        // the close.
        self.reconnects.lingering.push((now_ns + LINGER_NS, socket));
    }

    /// Removes an open socket; the data it still receives is not counted.
    fn disconnect(&mut self, key: usize, reason: &str) -> Option<(Subscriber, u32)> {
        let State::Open(account) = self.sockets.get(key)?.state else { return None };
        let mut socket = self.sockets.try_remove(key)?;
        if let Err(error) = self.poll.registry().deregister(socket.connection.link.socket_mut()) {
            tracing::debug!(%error, "a disconnected socket is still registered with the poll");
        }
        self.context.reception.disconnect(account, reason);
        Some((socket, account))
    }

    /// Has a socket that the server has ended connect again and go on where it was, if its class
    /// does that and the run goes on. Answers whether it will.
    pub(super) fn resume_later(&mut self, key: usize, account: u32, reason: &str) -> bool {
        let Some(publisher_index) = self.run_state.publisher_index.get() else { return false };
        let (now_ns, (_, measured_to)) = (mono_ns(), self.run_state.measured_ns(publisher_index));
        let Some(socket) = self.sockets.get(key) else { return false };
        let (subscriber, after) = (socket.plan, socket.newest_event());
        let goes_on = now_ns < measured_to && !self.run_state.progress.is_stopped();
        if !goes_on || !self.lifecycle_of(subscriber).resumes {
            return false;
        }
        self.sockets.remove(key);
        self.context.reception.interrupted(account, reason);
        let mut absent = Reconnect::new(now_ns, Some(account), RESUME);
        absent.resumes = Some(Resume { after });
        // All that a dead server leaves behind do not come in one moment.
        let word = mix(self.run_state.plan.seed ^ WAIT_STREAM, u64::from(subscriber), now_ns);
        self.reconnects.queue.expect(subscriber, absent, now_ns + word % RESUME_SPREAD_NS);
        true
    }

    fn reconnect_due(&mut self, now_ns: u64) {
        while let Some(subscriber) = self.reconnects.queue.due(now_ns) {
            if let Err(error) = self.open(subscriber, OpenedBy::Again) {
                self.connect_failed(subscriber, socket::failure_name(&error));
            }
        }
        while let Some(subscriber) = self.reconnects.queue.overdue(now_ns) {
            if let Some((key, _)) = self.opening.get(&subscriber) {
                self.give_up(*key, ramp::TIMEOUT);
            }
        }
    }

    /// The account of a socket that connected during the run, and whether the account is new.
    pub(super) fn connected_again(&mut self, subscriber: u32) -> (u32, bool) {
        let now_ns = mono_ns();
        let plan = &self.run_state.plan.subscribers[subscriber as usize];
        let absent = self.reconnects.queue.connected(subscriber);
        let since_ns = absent.map_or(now_ns, |absent| absent.since_ns);
        let reception = &mut self.context.reception;
        let resumes = absent.is_some_and(|absent| absent.resumes.is_some());
        match absent.and_then(|absent| absent.account) {
            Some(account) if resumes => {
                reception.resumed(account);
                (account, false)
            }
            Some(account) => {
                reception.rejoin(account, since_ns, now_ns);
                (account, false)
            }
            None => (reception.join(plan.class, plan.follows, since_ns, now_ns), true),
        }
    }

    /// An attempt to connect has failed.
    pub(super) fn connect_failed(&mut self, subscriber: u32, reason: &str) {
        let now_ns = mono_ns();
        let class = self.run_state.plan.subscribers[subscriber as usize].class;
        self.context.reception.connect_failed(class, reason);
        let word = mix(self.run_state.plan.seed ^ WAIT_STREAM, u64::from(subscriber), now_ns);
        self.reconnects.queue.failed(subscriber, now_ns, word);
        self.run_state.progress.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the subscribers that are still absent after an attempt.
    pub(super) fn settle_reconnects(&mut self) {
        for subscriber in self.reconnects.queue.still_absent() {
            let class = self.run_state.plan.subscribers[subscriber as usize].class;
            self.context.reception.shut_out(class);
        }
    }

    pub(super) fn kill_if_due(&mut self, now_ns: u64) {
        if self.is_killed {
            return;
        }
        let Some(kill) = self.run_state.kill_due(now_ns) else { return };
        self.is_killed = true;
        let keys: Vec<usize> = self.sockets.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(&Subscriber { state: State::Open(account), plan, .. }) = self.sockets.get(key)
            else {
                continue;
            };
            if is_chosen(self.run_state.plan.seed, plan, kill) {
                self.context.reception.close(account, End::Killed, KILLED.to_string());
                reset(self.sockets.remove(key));
            }
        }
    }

    fn is_of(&self, key: usize, class: u16) -> bool {
        let is_of_class = |socket: &Subscriber| {
            matches!(socket.state, State::Open(_))
                && self.run_state.plan.subscribers[socket.plan as usize].class == class
        };
        self.sockets.get(key).is_some_and(is_of_class)
    }

    fn lifecycle_of(&self, subscriber: u32) -> Lifecycle {
        let class = self.run_state.plan.subscribers[subscriber as usize].class;
        let class = self.run_state.plan.classes.get(usize::from(class));
        class.map(|class| class.lifecycle).unwrap_or_default()
    }
}

fn reset(socket: Subscriber) {
    if let Err(error) = socket::reset(socket.connection.link.into_socket()) {
        tracing::warn!(%error, "a killed socket was closed in order and not reset");
    }
}

/// A fixed share of the subscribers, chosen by seed and number.
fn is_chosen(seed: u64, subscriber: u32, kill: KillPlan) -> bool {
    let word = mix(seed ^ KILL_STREAM, 0, u64::from(subscriber));
    (word as f64) < kill.subscriber_fraction * u64::MAX as f64
}

/// The close reason of sockets that were cut off, and of those that disconnected in order.
const CUT: &str = "cut";
const CHURN: &str = "churn";
/// How sockets that disconnected in order, or that join late, retry after a refusal.
const RETURN: Wait = Wait::Fixed(Duration::from_secs(1));
/// How a socket retries that resumes.
const RESUME: Wait = Wait::Fixed(Duration::from_millis(500));
/// Sockets that lost the same server reconnect within this time.
const RESUME_SPREAD_NS: u64 = SECOND_NS / 2;
const LINGER_NS: u64 = SECOND_NS;
const KILL_STREAM: u64 = 0x6b69_6c6c;
const WAIT_STREAM: u64 = 0x7761_6974;
const CHURN_STREAM: u64 = 0x6368_7572;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_share_is_the_one_asked_for() {
        let kill = |subscriber_fraction| KillPlan {
            at: Duration::ZERO,
            subscriber_fraction,
            publishers: 0,
        };
        let chosen = |fraction| (0..10_000).filter(|n| is_chosen(3, *n, kill(fraction))).count();
        assert_eq!((chosen(0.0), chosen(1.0)), (0, 10_000));
        assert!((2_800..3_200).contains(&chosen(0.3)), "{}", chosen(0.3));
    }
}
