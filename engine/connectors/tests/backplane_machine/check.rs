//! What has to hold of what nodes applied and were told. Must not make anything happen.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use crate::world::{Event, FrameId, Node, World};

/// Within what was not told, frames of a publisher and topic come in order, once; and in one epoch
/// places rise.
fn check_order(events: &[Event]) -> Result<(), TestCaseError> {
    for untold in events.split(|event| *event == Event::Told) {
        let mut last: HashMap<(u64, usize), u64> = HashMap::new();
        let mut last_place = 0;
        for event in untold {
            let Event::Frame { place, frame: (boot, topic, number), .. } = *event else { continue };
            prop_assert!(place > last_place, "place {place} after {last_place}");
            last_place = place;
            let before = last.insert((boot, topic), number).unwrap_or(0);
            prop_assert!(number > before, "frame {number} of {topic} after {before}");
        }
    }
    Ok(())
}

/// A frame that was acknowledged and that a node did not apply lies beside something it was told.
fn check_loss(world: &World, node: &Node) -> Result<(), TestCaseError> {
    let events = &node.events;
    let mut seen: BTreeMap<(u64, usize), BTreeMap<u64, usize>> = BTreeMap::new();
    for (at, event) in events.iter().enumerate() {
        if let Event::Frame { frame: (boot, topic, number), .. } = *event {
            seen.entry((boot, topic)).or_default().insert(number, at);
        }
    }
    for &(epoch, place, frame @ (boot, topic, number)) in &world.acknowledged {
        let none = BTreeMap::new();
        let stream = seen.get(&(boot, topic)).unwrap_or(&none);
        let is_excused = || {
            world.is_forgotten(epoch, place, frame)
                || world.is_out_of_sight(epoch, place, frame, node)
                || world.removed.contains_key(&frame)
                    && (world.was_told_of(frame, node) || world.behind.contains(&frame))
        };
        if stream.contains_key(&number) || is_excused() {
            continue;
        }
        // Whoever had nothing of that publisher before it may have begun later.
        let Some((_, &before)) = stream.range(..number).next_back() else { continue };
        let after = stream.range(number..).next().map_or(events.len(), |(_, &at)| at);
        prop_assert!(
            events[before..after].contains(&Event::Told),
            "frame {number} of topic {topic} of boot {boot} was acknowledged, and is missing"
        );
    }
    Ok(())
}

pub fn check(world: &World) -> Result<(), TestCaseError> {
    let lives = world.nodes.iter().map(|node| (node.boot, &node.events));
    let lives = lives.chain(world.ended.iter().map(|(boot, events)| (*boot, events)));
    for (_, events) in lives {
        check_order(events)?;
    }
    let mut places: HashMap<u64, FrameId> = HashMap::new();
    for node in &world.nodes {
        check_loss(world, node)?;
        prop_assert_eq!(node.applier.epoch(), world.epoch);
        for event in &node.events {
            if let Event::Frame { epoch, place, frame } = *event
                && epoch == world.epoch
            {
                let other = places.insert(place, frame).unwrap_or(frame);
                let is_right = world.may_share_a_place(other, frame);
                prop_assert!(is_right, "{other:?} and {frame:?} at place {place}");
            }
        }
    }
    for &(epoch, place, frame) in &world.acknowledged {
        if world.is_forgotten(epoch, place, frame) {
            continue;
        }
        if let Some(&other) = places.get(&place).filter(|_| epoch == world.epoch) {
            let is_right = world.may_share_a_place(other, frame);
            prop_assert!(
                is_right,
                "{other:?} at place {place}, and a publisher was told {frame:?}"
            );
        }
    }
    Ok(())
}
