//! The log's two ends against a log that loses, repeats, forgets and rolls back: whatever a node
//! applied is in order, once, and at the same place on all nodes; whatever it did not apply it was
//! told of. Must not use a network or a clock.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test fails by panicking

mod check;
mod world;

use std::collections::HashSet;

use proptest::collection::vec;
use proptest::prelude::*;

use check::check;
use world::{Event, FrameId, NODES, Node, Step, World, step};

/// CASES=50000 in the environment tries more.
fn cases() -> u32 {
    std::env::var("CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..Default::default() })]

    #[test]
    fn nothing_acknowledged_is_lost_untold(steps in vec(step(), 1..200), dedups in any::<bool>()) {
        let mut world = World::new(dedups);
        for step in &steps {
            world.run(step);
        }
        world.settle();
        check(&world)?;
    }

    #[test]
    fn without_faults_of_the_log_everybody_has_everything_once(
        steps in vec(step(), 1..200),
        dedups in any::<bool>(),
    ) {
        let mut world = World::new(dedups);
        let is_fault = |step: &Step| {
            matches!(step, Step::RollBack(..) | Step::Remove | Step::Retain(_) | Step::Restart(_))
        };
        for step in steps.iter().filter(|step| !is_fault(step)) {
            world.run(step);
        }
        world.settle();
        check(&world)?;
        prop_assert_eq!(world.epoch, 1, "nothing was wrong with the log");
        let all: HashSet<FrameId> = world.acknowledged.iter().map(|&(.., frame)| frame).collect();
        for node in &world.nodes {
            let own: u64 = node.published.iter().sum();
            let acknowledged = world.acknowledged.iter().filter(|(.., f)| f.0 == node.boot);
            prop_assert_eq!(acknowledged.count() as u64, own);
            let frames = node.events.iter().filter_map(|event| match event {
                Event::Frame { frame, .. } => Some(*frame),
                Event::Told => None,
            });
            let frames: Vec<FrameId> = frames.collect();
            prop_assert_eq!(frames.len(), all.len());
            prop_assert_eq!(&frames.into_iter().collect::<HashSet<_>>(), &all);
        }
    }
}

#[test]
fn a_roll_back_is_told_and_raises_the_epoch() {
    let mut world = World::new(true);
    let publish = |world: &mut World| {
        for step in [Step::Publish(0, 0), Step::Send(0), Step::Take(0), Step::Answer(0)] {
            world.run(&step);
        }
    };
    publish(&mut world);
    publish(&mut world);
    world.run(&Step::Read(1, 9));
    world.run(&Step::RollBack(1, true));
    world.settle();
    assert_eq!(world.epoch, 2);
    publish(&mut world);
    world.settle();
    for node in &world.nodes {
        assert!(node.events.contains(&Event::Told), "{:?}", node.events);
        let last = node.events.last();
        assert!(matches!(last, Some(Event::Frame { epoch: 2, .. })), "{:?}", node.events);
    }
    check(&world).unwrap();
}

/// Found by the property: what a node had applied is lost, and retention takes what stands in its
/// place before the node is back. It goes on with what is there.
#[test]
fn what_retention_took_cannot_be_compared() {
    let mut world = World::new(false);
    let steps = [
        Step::Publish(1, 0),
        Step::Send(1),
        Step::Take(1),
        Step::Read(0, 1),
        Step::RollBack(1, true),
        Step::Connect(2),
        Step::Publish(2, 0),
        Step::Send(2),
        Step::Repeat(2),
        Step::Retain(1),
    ];
    steps.iter().for_each(|step| world.run(step));
    world.settle();
    check(&world).unwrap();
    assert_eq!(world.epoch, 1);
    let has_both = |node: &&Node| {
        let frames = node.events.iter().filter(|event| matches!(event, Event::Frame { .. }));
        frames.count() == 2
    };
    assert_eq!(world.nodes.iter().filter(has_both).count(), NODES, "{:?}", world.nodes[0].events);
}
