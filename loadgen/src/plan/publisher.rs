//! The single publishers of a plan: identifier, topic, rate, phase on the grid. A pure function of
//! the scenario.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::dialect::dialect::Dialect;
use crate::codec::payload::Payload;
use crate::codec::track::Track;
use crate::plan::deviation::Deviation;
use crate::scenario::limits::FIRST_PUBLISHER_ID;
use crate::scenario::profile::{Growing, Profile};
use crate::scenario::publishers::{Phase, PublisherGroup};
use crate::time::rate::Rate;

/// One publisher socket.
#[derive(Debug, Clone, PartialEq)]
pub struct PublisherPlan {
    /// IDCODE of its C37.118 frames; it identifies its frames of every payload kind.
    pub id: u16,
    /// The topic it publishes to.
    pub topic: String,
    /// The request path, percent-encoded.
    pub path: String,
    /// Frames per second.
    pub rate: Rate,
    /// Distance of its instants from the grid, below one period.
    pub offset_ns: u64,
    /// Upper bound of its deterministic jitter; 0 for none.
    pub jitter_ns: u64,
    /// The payload of its frames.
    pub payload: Payload,
    /// Its deviations from the schedule, made on purpose.
    pub deviation: Deviation,
    /// The recorded frames, if it replays any.
    pub recorded: Option<Arc<Track>>,
}

pub(crate) fn publishers(groups: &[PublisherGroup], dialect: &Dialect) -> Vec<PublisherPlan> {
    let ids = FIRST_PUBLISHER_ID..=u16::MAX;
    let members = groups.iter().flat_map(|group| (0..group.count).map(move |i| (group, i)));
    ids.zip(members).map(|(id, (group, index))| publisher(id, group, index, dialect)).collect()
}

pub(crate) fn publisher(
    id: u16,
    group: &PublisherGroup,
    index: u32,
    dialect: &Dialect,
) -> PublisherPlan {
    let id = group.recorded.as_ref().map_or(id, |track| track.id());
    let topic = format!("{}/{id}", group.topic_prefix);
    let (offset_ns, jitter_ns) = match group.phase {
        Phase::Aligned => (0, 0),
        Phase::Staggered => (share_of(group.rate.period_ns(), index, group.count), 0),
        Phase::Jitter { max } => (0, u64::try_from(max.as_nanos()).unwrap_or(u64::MAX)),
    };
    PublisherPlan {
        id,
        path: dialect.publish_path(&topic),
        topic,
        rate: group.rate,
        offset_ns,
        jitter_ns,
        payload: group.payload,
        deviation: Deviation { burst: group.burst, ..Deviation::default() },
        recorded: group.recorded.clone(),
    }
}

fn share_of(whole: u64, index: u32, count: u32) -> u64 {
    let share = u128::from(whole) * u128::from(index) / u128::from(count.max(1));
    u64::try_from(share).unwrap_or(whole)
}

/// The pattern of a wall: the common prefix if there is one, otherwise everything.
pub fn wall_pattern(groups: &[PublisherGroup]) -> String {
    let mut prefixes = groups.iter().map(|group| group.topic_prefix.as_str());
    match prefixes.next() {
        Some(first) if prefixes.all(|prefix| prefix == first) => format!("{first}/#"),
        _ => "#".to_owned(),
    }
}

/// Delays the start of publishers if the load grows by publishers. The publishers of a group, and
/// so the topics of a dashboard, start at different times spread over the growth.
pub fn delay(publishers: &mut [PublisherPlan], profile: Profile, measured: Duration) {
    if profile.of != Growing::Publishers {
        return;
    }
    let count = publishers.len();
    for (rank, place) in scattered(count).into_iter().enumerate() {
        if let Some(publisher) = publishers.get_mut(place) {
            publisher.deviation.starts = profile.joins_at(rank, count, measured);
        }
    }
}

/// All numbers below `count` in an order whose every leading part is spread evenly: sorted by the
/// fractional parts of multiples of the golden ratio.
fn scattered(count: usize) -> Vec<usize> {
    let mut places: Vec<usize> = (0..count).collect();
    places.sort_by_key(|place| (*place as u64).wrapping_mul(GOLDEN));
    places
}

/// The fractional part of the golden ratio, times 2^64.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
