//! The doorbell of a core: how publishers on other threads tell it which lanes have moved, waking
//! it only when it sleeps. Owns the ordering between "parked" and "queue not empty". Must not know
//! feeds, sockets or mio.
//!
//! # Why no ring is lost
//! The publisher pushes, *then* looks at `parked`; the core announces `parked`, *then* looks at the
//! queue. A sequentially consistent fence stands between the two steps on each side, so at least
//! one of them sees the other: either the publisher finds the core parked and wakes it, or the core
//! finds the queue filled and does not sleep. Every change of `parked` is a swap, so the changes
//! have one order and exactly one publisher of many wakes the core. The model in
//! `engine/tests/loom.rs` runs every interleaving of this.

use crate::sync::{AtomicBool, Ordering, Queue, fence};

/// Wakes a sleeping core: an eventfd in the engine, a flag in a simulation.
pub trait Wake: Send + Sync {
    /// Ends the core's sleep, or makes its next one end at once.
    fn wake(&self);
}

/// The mailbox of one core: keys of its lanes that have moved since it last looked.
pub struct Doorbell {
    moved: Queue<u32>,
    parked: AtomicBool,
    waker: Box<dyn Wake>,
}

impl std::fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doorbell").field("parked", &self.parked).finish_non_exhaustive()
    }
}

impl Doorbell {
    /// A doorbell of a core that is awake.
    pub fn new(waker: Box<dyn Wake>) -> Self {
        Self { moved: Queue::new(), parked: AtomicBool::new(false), waker }
    }

    /// Says that the core's lane `lane_key` has moved. Called by any thread.
    pub fn ring(&self, lane_key: u32) {
        self.moved.push(lane_key);
        self.wake_if_parked();
    }

    /// Wakes the core if it sleeps, without naming a lane.
    pub fn wake_if_parked(&self) {
        fence(Ordering::SeqCst);
        if self.parked.load(Ordering::Relaxed) && self.parked.swap(false, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Ends the core's sleep, or makes its next one end at once, whether it sleeps or not.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Announces sleep. False when something is already waiting, so the core must not sleep.
    pub fn park(&self) -> bool {
        self.parked.swap(true, Ordering::AcqRel);
        fence(Ordering::SeqCst);
        let may_sleep = self.moved.is_empty();
        if !may_sleep {
            self.unpark();
        }
        may_sleep
    }

    /// Ends sleep: until the next [`park`](Self::park) no publisher wakes this core.
    pub fn unpark(&self) {
        self.parked.swap(false, Ordering::AcqRel);
    }

    /// The next lane that has moved, if any. Only the core calls it.
    pub fn take(&self) -> Option<u32> {
        self.moved.pop()
    }
}

/// One core's interest in one lane. Shared by the feed, which sets it, and the core, which clears
/// it.
#[derive(Debug)]
pub struct Tap {
    doorbell: std::sync::Arc<Doorbell>,
    lane_key: u32,
    dirty: AtomicBool,
    hurried: AtomicBool,
    dirty_since_ns: std::sync::atomic::AtomicU64,
    swept_pos: std::sync::atomic::AtomicU64,
}

impl Tap {
    /// A tap of the core behind `doorbell` on the lane it knows as `lane_key`.
    pub fn new(doorbell: std::sync::Arc<Doorbell>, lane_key: u32) -> Self {
        Self {
            doorbell,
            lane_key,
            dirty: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            dirty_since_ns: std::sync::atomic::AtomicU64::new(0),
            swept_pos: std::sync::atomic::AtomicU64::new(0),
        }
    }

    /// Called by the publisher after the head has been stored. Rings once until the core looks.
    ///
    /// The swap pairs with the one in [`clear`](Self::clear): whichever comes second sees what the
    /// other side wrote before it, so a head stored before a swap that found `dirty` set is read by
    /// the core that clears it.
    pub fn mark(&self, now_ns: u64) {
        if self.dirty.swap(true, Ordering::AcqRel) {
            return;
        }
        self.dirty_since_ns.store(now_ns, std::sync::atomic::Ordering::Relaxed);
        self.doorbell.ring(self.lane_key);
    }

    /// Called by the core when it knows that the lane has moved and will look later: until it
    /// [clears](Self::clear) this, publishers do not ring.
    pub fn hold(&self) {
        self.dirty.swap(true, Ordering::AcqRel);
    }

    /// Called by a publisher that waits for the core: it rings, even if the core looks later.
    pub fn hurry(&self) {
        if !self.hurried.swap(true, Ordering::AcqRel) {
            self.doorbell.ring(self.lane_key);
        }
    }

    /// Called by the core. True once after publishers began to wait for it.
    pub fn take_hurry(&self) -> bool {
        self.hurried.load(Ordering::Relaxed) && self.hurried.swap(false, Ordering::AcqRel)
    }

    /// Called by the core before it reads the head. Answers when the oldest unseen frame was
    /// published, in ns.
    pub fn clear(&self) -> u64 {
        self.dirty.swap(false, Ordering::AcqRel);
        self.dirty_since_ns.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Called by the core when every subscriber that takes bytes has been sent those before this
    /// lane position, and the core keeps none of them beyond retention.
    pub fn set_swept(&self, pos: u64) {
        self.swept_pos.store(pos, std::sync::atomic::Ordering::Relaxed);
    }

    /// Called when the core follows the lane no more: nobody waits for it from now on.
    pub fn close(&self) {
        self.set_swept(u64::MAX);
    }

    /// How far the core has swept, as a lane position. Advice for pacing publishers: no memory
    /// access depends on it.
    pub fn swept(&self) -> u64 {
        self.swept_pos.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// A core that is too far behind with a lane: its publishers wait until this is over.
#[derive(Clone, Debug)]
pub struct Behind {
    tap: std::sync::Arc<Tap>,
    until_pos: u64,
}

impl Behind {
    /// The core of `tap` has to sweep up to the lane position `until_pos`, and is told to hurry.
    pub fn new(tap: std::sync::Arc<Tap>, until_pos: u64) -> Self {
        tap.hurry();
        Self { tap, until_pos }
    }

    /// True once the core has come so far, or follows the lane no more.
    pub fn is_over(&self) -> bool {
        self.tap.swept() >= self.until_pos
    }
}
