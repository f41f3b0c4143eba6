//! Wakes and calls what does not belong to the cores, on behalf of cores. A core has a descriptor
//! table of its own (`net::descriptors`): the number of what an outside thread is woken by, such as
//! the eventfd of its runtime, stands for a client's socket there, or for nothing. And a call that
//! takes long would hold up everybody on that core. So a core only says who is to be woken or
//! called, without any descriptor, and a thread that shares the table of the process does it. Must
//! not know who that is, or what for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::delivery::doorbell::Wake;

/// See the file header.
#[derive(Debug, Default)]
pub struct Bells {
    due: Mutex<Due>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Due {
    jobs: Vec<Job>,
    is_over: bool,
}

/// What the thread that runs them does.
enum Job {
    /// Wakes somebody.
    Ring(Arc<Ring>),
    /// Calls something, once.
    Call(Box<dyn FnOnce() + Send>),
}

impl Job {
    fn run(self) {
        match self {
            Self::Ring(ring) => {
                // Before, so that who is woken while it goes back to sleep is woken again.
                ring.is_due.store(false, Ordering::Release);
                ring.wake.wake();
            }
            Self::Call(call) => call(),
        }
    }
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ring(ring) => ring.fmt(f),
            Self::Call(_) => f.write_str("Call"),
        }
    }
}

/// Somebody to be woken.
struct Ring {
    wake: Box<dyn Wake>,
    /// Whether it is among those that are due: it stands there once at most.
    is_due: AtomicBool,
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("is_due", &self.is_due).finish_non_exhaustive()
    }
}

/// What may be called on a core: it has `ring` called elsewhere.
struct Relay {
    bells: Arc<Bells>,
    ring: Arc<Ring>,
}

impl Wake for Relay {
    fn wake(&self) {
        if !self.ring.is_due.swap(true, Ordering::AcqRel) {
            self.bells.push(Job::Ring(Arc::clone(&self.ring)));
        }
    }
}

impl Bells {
    /// The same wake, to be called on any thread: the thread that [runs](Self::run) passes it on.
    pub fn relay(self: &Arc<Self>, wake: Box<dyn Wake>) -> Box<dyn Wake> {
        let ring = Arc::new(Ring { wake, is_due: AtomicBool::new(false) });
        Box::new(Relay { bells: Arc::clone(self), ring })
    }

    /// Has the thread that [runs](Self::run) call `call`, behind what is due already. How many wait
    /// is for the caller to bound. What comes after the end is kept and not called: dropped here,
    /// it might wake somebody on the thread of a core.
    pub fn call(&self, call: impl FnOnce() + Send + 'static) {
        self.push(Job::Call(Box::new(call)));
    }

    /// Wakes and calls whoever is due, until it is stopped; what is due then as well. Not for the
    /// thread of a core.
    pub fn run(&self) {
        loop {
            let (jobs, is_over) = self.wait();
            jobs.into_iter().for_each(Job::run);
            if is_over {
                return;
            }
        }
    }

    /// Ends [`run`](Self::run).
    pub fn stop(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    fn push(&self, job: Job) {
        self.lock().jobs.push(job);
        self.changed.notify_one();
    }

    /// What is due, once there is something, and whether it is over.
    fn wait(&self) -> (Vec<Job>, bool) {
        let waits = |due: &mut Due| due.jobs.is_empty() && !due.is_over;
        let due = self.changed.wait_while(self.lock(), waits);
        let mut due = due.unwrap_or_else(PoisonError::into_inner);
        (std::mem::take(&mut due.jobs), due.is_over)
    }

    fn lock(&self) -> MutexGuard<'_, Due> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{self, Sender};
    use std::thread;
    use std::time::Duration;

    struct Named(Sender<Option<String>>);

    impl Wake for Named {
        fn wake(&self) {
            self.0.send(thread::current().name().map(str::to_owned)).unwrap();
        }
    }

    #[test]
    fn every_wake_is_passed_on_by_another_thread() {
        let (bells, (woken, wakes)) = (Arc::<Bells>::default(), mpsc::channel());
        let running = Arc::clone(&bells);
        let thread = thread::Builder::new().name("bells".into()).spawn(move || running.run());
        let relay = bells.relay(Box::new(Named(woken)));
        for _ in 0..1_000 {
            relay.wake();
            let by = wakes.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(by.as_deref(), Some("bells"));
        }
        bells.stop();
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn what_is_due_at_the_end_is_called_and_what_comes_later_is_not() {
        let (bells, (called, calls)) = (Bells::default(), mpsc::channel());
        let later = called.clone();
        bells.call(move || called.send("due").unwrap());
        bells.stop();
        bells.run();
        bells.call(move || later.send("later").unwrap());
        assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["due"]);
    }
}
