//! The summed rates of publishers: frames and bytes per second of all of them, or of those that one
//! socket follows. A pure function of the scenario.

use crate::scenario::groups::{SubscriberGroup, TopicsEach};
use crate::scenario::publishers::{Phase, PublisherGroup};
use crate::scenario::scenario::Scenario;

/// A set of publishers: all, or those that one socket follows.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) publishers: u64,
    pub(crate) frames_per_s: f64,
    pub(crate) payload_bytes_per_s: f64,
    pub(crate) bytes_per_s: f64,
    pub(crate) ticks_per_s: f64,
}

/// A busy engine merges frames that are closer together than this, whatever their phase.
const TICKS_PER_S_MAX: f64 = 1000.0;

impl Fleet {
    pub(crate) fn of(groups: &[PublisherGroup]) -> Fleet {
        let mut aligned: Vec<f64> = Vec::new();
        let mut spread_per_s = 0.0;
        let mut fleet = Fleet::default();
        for group in groups {
            let (rate, frames) = (group.rate.per_second(), frames_per_s(group));
            fleet.publishers += u64::from(group.count);
            fleet.frames_per_s += frames;
            fleet.payload_bytes_per_s += frames * group.payload.bytes() as f64;
            match group.phase {
                Phase::Aligned if aligned.contains(&rate) => {}
                Phase::Aligned => aligned.push(rate),
                Phase::Staggered | Phase::Jitter { .. } => spread_per_s += frames,
            }
        }
        fleet.ticks_per_s = (aligned.iter().sum::<f64>() + spread_per_s).min(TICKS_PER_S_MAX);
        fleet
    }

    /// The part that one socket of a group receives.
    pub(crate) fn seen_by(&self, group: &SubscriberGroup) -> Fleet {
        let publishers = match group.topics {
            TopicsEach::All => self.publishers,
            TopicsEach::Count(topics) if group.form.is_multiplexed() => u64::from(topics),
            TopicsEach::Count(_) => 1,
            // Alarms are only a few frames in the whole run.
            TopicsEach::Alarms => 0,
        };
        let share = publishers as f64 / self.publishers.max(1) as f64;
        let asked_per_s = group.pace.rate.map_or(f64::INFINITY, f64::from) * publishers as f64;
        let frames_per_s = (self.frames_per_s * share).min(asked_per_s);
        let payload_bytes = self.payload_bytes_per_s / self.frames_per_s.max(f64::MIN_POSITIVE);
        let frame_bytes = group.form.frame_bytes(payload_bytes.round() as u64) as f64;
        Fleet {
            publishers,
            frames_per_s,
            payload_bytes_per_s: payload_bytes * frames_per_s,
            bytes_per_s: frame_bytes * frames_per_s,
            ticks_per_s: self.ticks_per_s.min(frames_per_s),
        }
    }
}

/// Frames per second of a whole group.
pub fn frames_per_s(group: &PublisherGroup) -> f64 {
    group.rate.per_second() * f64::from(group.count)
}

/// Bytes a socket of the group is sent per second, on average.
pub fn bytes_per_socket_per_s(scenario: &Scenario, group: &SubscriberGroup) -> u64 {
    Fleet::of(&scenario.publishers).seen_by(group).bytes_per_s as u64
}
