//! Which sockets of a thread's share are absent, and which have to disconnect. Must not know
//! sockets that stay connected.

use crate::drive::reconnect::ReconnectQueue;
use crate::drive::subscriber::Subscriber;
use crate::plan::plan::Plan;

/// The subscribers of a thread's share that are absent or have to disconnect.
#[derive(Default)]
pub(super) struct Reconnects {
    pub(super) queue: ReconnectQueue,
    pub(super) churning: Vec<Churning>,
    /// Classes that will be cut off.
    pub(super) pending_cuts: Vec<u16>,
    /// Subscribers that join during the run for the first time, by class and in joining order.
    pub(super) newcomers: Vec<Vec<u32>>,
    /// Subscribers that make the load grow, in joining order.
    pub(super) growing: Vec<u32>,
    /// Connections that are no longer read, and until when they are kept.
    pub(super) lingering: Vec<(u64, Subscriber)>,
}

/// A class whose sockets disconnect one after another.
pub(super) struct Churning {
    pub(super) class: u16,
    pub(super) interval_ns: u64,
    /// The next disconnect; 0 before the first.
    pub(super) next_ns: u64,
    pub(super) left: u64,
}

impl Churning {
    /// The class and the number of the next disconnect, if it is due.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<(u16, u64)> {
        if self.next_ns == 0 {
            self.next_ns = now_ns + self.interval_ns;
        }
        (now_ns >= self.next_ns).then(|| {
            self.next_ns += self.interval_ns;
            self.left += 1;
            (self.class, self.left)
        })
    }
}

impl Reconnects {
    /// What will happen to a share of the subscribers.
    pub(super) fn new(plan: &Plan, share: &[u32]) -> Reconnects {
        let members = |class: u16| {
            let of_class = move |subscriber: &&u32| {
                let subscriber = plan.subscribers.get(**subscriber as usize);
                subscriber.is_some_and(|subscriber| subscriber.class == class)
            };
            share.iter().filter(of_class)
        };
        let growing = share.iter().filter(|subscriber| plan.joins_at(**subscriber).is_some());
        let mut reconnects =
            Reconnects { growing: growing.copied().collect(), ..Reconnects::default() };
        for (class, of) in (0u16..).zip(&plan.classes) {
            let lifecycle = of.lifecycle;
            if let Some(interval_ns) = lifecycle.churn.interval_ns(members(class).count()) {
                reconnects.churning.push(Churning { class, interval_ns, next_ns: 0, left: 0 });
            }
            reconnects.pending_cuts.extend(lifecycle.cut.map(|_| class));
            if lifecycle.joins.is_some() {
                reconnects.newcomers.push(members(class).copied().collect());
            }
        }
        reconnects
    }
}
