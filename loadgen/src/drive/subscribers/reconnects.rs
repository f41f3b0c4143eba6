//! Which sockets of a thread's share are away, and which are to leave. Must not know sockets of the
//! others.

use crate::drive::reconnect::ReconnectQueue;
use crate::drive::subscriber::Subscriber;
use crate::plan::plan::Plan;

/// Who of a thread's share is away, and who is to go.
#[derive(Default)]
pub(super) struct Reconnects {
    pub(super) queue: ReconnectQueue,
    pub(super) churning: Vec<Churning>,
    /// Classes that are to be cut off.
    pub(super) uncut: Vec<u16>,
    /// Those who come for the first time while the run is on, by class and in that order.
    pub(super) newcomers: Vec<Vec<u32>>,
    /// Those with whom the load grows, in the order in which they come.
    pub(super) growing: Vec<u32>,
    /// Connections nobody reads any more, and until when they are kept.
    pub(super) ghosts: Vec<(u64, Subscriber)>,
}

/// A class whose sockets leave one after another.
pub(super) struct Churning {
    pub(super) class: u16,
    pub(super) interval_ns: u64,
    /// When the next leaves; 0 before the first.
    pub(super) next_ns: u64,
    pub(super) left: u64,
}

impl Churning {
    /// The class and the number of the next leave, if its time has come.
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
    /// What a share of the subscribers has before it.
    pub(super) fn new(plan: &Plan, share: &[u32]) -> Reconnects {
        let members = |class: u16| {
            let of_class = move |subscriber: &&u32| {
                let subscriber = plan.subscribers.get(**subscriber as usize);
                subscriber.is_some_and(|subscriber| subscriber.class == class)
            };
            share.iter().filter(of_class)
        };
        let growing = share.iter().filter(|subscriber| plan.comes(**subscriber).is_some());
        let mut reconnects =
            Reconnects { growing: growing.copied().collect(), ..Reconnects::default() };
        for (class, of) in (0u16..).zip(&plan.classes) {
            let attendance = of.attendance;
            if let Some(interval_ns) = attendance.churn.interval_ns(members(class).count()) {
                reconnects.churning.push(Churning { class, interval_ns, next_ns: 0, left: 0 });
            }
            reconnects.uncut.extend(attendance.cut.map(|_| class));
            if attendance.joins.is_some() {
                reconnects.newcomers.push(members(class).copied().collect());
            }
        }
        reconnects
    }
}
