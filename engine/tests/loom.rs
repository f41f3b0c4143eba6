//! Every interleaving of the three cross-thread orderings of the engine: bytes of a segment against
//! its published length, the end of a segment against its successor, and a ring of the doorbell
//! against a core that goes to sleep. Runs only when built for it:
//! `RUSTFLAGS="--cfg loom" cargo test -p gridcast-engine --test loom --release`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking
#![cfg(loom)]

use std::sync::Arc as StdArc;

use gridcast::delivery::doorbell::{Doorbell, Tap, Wake};
use gridcast::feed::segment::{LogBudget, SegmentWriter};
use gridcast::sync::{Arc, AtomicU64, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;

fn budget() -> StdArc<LogBudget> {
    StdArc::new(LogBudget::new(1 << 20))
}

#[test]
fn a_reader_sees_only_whole_published_frames() {
    loom::model(|| {
        let mut writer = SegmentWriter::new(0, 1, 4, &budget());
        let segment = Arc::clone(writer.segment());
        let reader = thread::spawn(move || {
            let extent = segment.extent();
            let bytes = segment.bytes();
            assert!(bytes.len() >= extent.bytes as usize);
            assert!(b"abcd".starts_with(bytes), "whole frames, in order");
            assert_eq!(bytes.len() % 2, 0, "never half a frame");
        });
        assert!(writer.append(&[b"a", b"b"]));
        assert!(writer.append(&[b"cd"]));
        reader.join().unwrap();
    });
}

#[test]
fn who_sees_a_successor_sees_all_of_the_segment_before_it() {
    loom::model(|| {
        let mut first = SegmentWriter::new(0, 1, 2, &budget());
        let segment = Arc::clone(first.segment());
        let reader = thread::spawn(move || {
            let Some(next) = segment.next() else { return };
            assert_eq!(segment.bytes(), b"ab", "the end of a segment that has a successor");
            assert!(next.bytes().is_empty() || next.bytes() == b"c");
        });
        assert!(first.append(&[b"ab"]));
        let mut second = SegmentWriter::new(2, 2, 2, &budget());
        first.link(&second);
        assert!(second.append(&[b"c"]));
        reader.join().unwrap();
    });
}

/// Stands for the eventfd: a core that sleeps waits for it, and one wake is remembered.
#[derive(Default)]
struct Bell {
    rung: Mutex<bool>,
    changed: Condvar,
}

struct Rings(Arc<Bell>);

impl Wake for Rings {
    fn wake(&self) {
        *self.0.rung.lock().unwrap() = true;
        self.0.changed.notify_one();
    }
}

impl Bell {
    fn sleep(&self) {
        let mut rung = self.rung.lock().unwrap();
        while !*rung {
            // Were a ring lost, this would wait for ever: loom reports it as a deadlock.
            rung = self.changed.wait(rung).unwrap();
        }
        *rung = false;
    }
}

#[test]
fn no_publish_is_slept_through() {
    loom::model(|| {
        let bell = Arc::new(Bell { rung: Mutex::new(false), changed: Condvar::new() });
        let doorbell = StdArc::new(Doorbell::new(Box::new(Rings(Arc::clone(&bell)))));
        let tap = StdArc::new(Tap::new(StdArc::clone(&doorbell), 7));
        let head = Arc::new(AtomicU64::new(0));
        let publisher = {
            let (tap, head) = (StdArc::clone(&tap), Arc::clone(&head));
            thread::spawn(move || {
                for frame in 1..=2 {
                    head.store(frame, Ordering::Release);
                    tap.mark(0);
                }
            })
        };
        let mut seen = 0;
        while seen < 2 {
            if doorbell.park() {
                bell.sleep();
            }
            doorbell.unpark();
            while let Some(key) = doorbell.take() {
                assert_eq!(key, 7);
                tap.clear();
                seen = head.load(Ordering::Acquire);
            }
        }
        publisher.join().unwrap();
    });
}
