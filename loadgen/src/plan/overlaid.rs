//! Applies overlays to a scenario. Subscribers that an overlay disturbs become classes of their
//! own, so that the others can be judged alone; publishers get their deviations. A pure function of
//! the scenario. Must not know sockets.

use std::time::Duration;

use crate::codec::form::{Form, Pace};
use crate::codec::payload::Payload;
use crate::plan::deviation::{Alarms, Change, Deviation, Drift, Fault, Lateness, Leap, StampClock};
use crate::plan::fleet::bytes_per_socket_per_s;
use crate::plan::publisher::{PublisherPlan, wall_pattern};
use crate::scenario::groups::{ClassKind, Popularity, SubscriberGroup, TopicsEach};
use crate::scenario::lifecycle::{Cut, Joins, Lifecycle};
use crate::scenario::overlay::Overlay;
use crate::scenario::scenario::Scenario;
use crate::time::draw::mix;
use crate::time::rate::Rate;

/// The subscriber groups of a scenario with its overlays.
pub fn audience(scenario: &Scenario) -> Vec<SubscriberGroup> {
    let mut groups = scenario.subscribers.clone();
    for overlay in &scenario.overlays {
        match *overlay {
            Overlay::SlowConsumers {
                slow_percent,
                read_rate,
                stopped_percent,
                pausing_percent,
            } => {
                take_out(&mut groups, slow_percent, "slow", |group| {
                    let half = || (bytes_per_socket_per_s(scenario, group) / 2).max(1);
                    group.class = ClassKind::Slow { bytes_per_s: read_rate.unwrap_or_else(half) };
                });
                take_out(&mut groups, stopped_percent, "stopped", |group| {
                    group.class = ClassKind::Stalled;
                });
                take_out(&mut groups, pausing_percent, "pausing", |group| {
                    group.class = ClassKind::Pausing { pause: PAUSE, every: PAUSE_EVERY };
                });
            }
            Overlay::FlapReconnect { share_percent, end, wait, .. } => {
                let cut = Cut { at: at(scenario, overlay), end, wait };
                take_out(&mut groups, share_percent, "flapping", |group| {
                    group.lifecycle.cut = Some(cut);
                });
            }
            Overlay::FaultEvent { alarm_desks, newcomers_over, .. } => {
                let joins = Joins { at: at(scenario, overlay), over: newcomers_over };
                let newcomers: Vec<_> =
                    groups.iter().filter(|g| is_steady(g)).map(|g| newcomers(g, joins)).collect();
                groups.extend(newcomers);
                groups.push(alarm_desk(scenario, alarm_desks));
            }
            Overlay::LateFrames { .. }
            | Overlay::GpsLoss { .. }
            | Overlay::LeapSecond { .. }
            | Overlay::ConfigChange { .. } => {}
        }
    }
    groups
}

/// Sets the deviations that a scenario's overlays give its publishers.
pub fn deviate(scenario: &Scenario, publishers: &mut Vec<PublisherPlan>) {
    for overlay in &scenario.overlays {
        let at = at(scenario, overlay);
        match *overlay {
            Overlay::LateFrames {
                late_percent,
                delay_min,
                delay_max,
                withheld_percent,
                repeated_percent,
            } => {
                let lateness = Lateness {
                    late_percent,
                    delay_min,
                    delay_max,
                    withheld_percent,
                    repeated_percent,
                };
                each(publishers, |_| true, |deviation| deviation.lateness = Some(lateness));
                set_clocks_wrong(scenario.seed, publishers);
            }
            Overlay::GpsLoss { share_percent, drift_per_min, .. } => {
                let drift = Drift { at, per_min: drift_per_min };
                for index in drawn(scenario.seed, publishers.len(), share_percent) {
                    publishers[index].deviation.drift = Some(drift);
                }
            }
            Overlay::LeapSecond { is_skip, .. } => {
                let leap = Leap { at, is_skip };
                each(publishers, is_c37118, |deviation| deviation.leap = Some(leap));
            }
            Overlay::ConfigChange { hold, .. } => {
                let hold = hold.unwrap_or_else(|| HOLD.min(scenario.phases.measured() / 2));
                let change = Change { at, hold };
                each(publishers, is_c37118, |deviation| deviation.change = Some(change));
            }
            Overlay::FaultEvent { region_percent, .. } => {
                let count = fleet(publishers);
                let region = share(count, region_percent);
                let hit = publishers.iter_mut().take(region).filter(|p| has_status(p.payload));
                hit.for_each(|publisher| publisher.deviation.fault = Some(Fault { at }));
                let alarms = Alarms { at, count: count as u32, at_once: region as u32 };
                publishers.extend(alarm_publisher(scenario, publishers.last(), alarms));
            }
            Overlay::SlowConsumers { .. } | Overlay::FlapReconnect { .. } => {}
        }
    }
}

/// The publishers that belong to no overlay.
pub fn fleet(publishers: &[PublisherPlan]) -> usize {
    publishers.iter().filter(|publisher| publisher.deviation.alarms.is_none()).count()
}

/// When an overlay begins.
pub(crate) fn at(scenario: &Scenario, overlay: &Overlay) -> Duration {
    overlay.at().unwrap_or(scenario.phases.measured() / 4)
}

fn is_steady(group: &SubscriberGroup) -> bool {
    group.class == ClassKind::Healthy && !group.lifecycle.is_disrupted()
}

/// Moves a share of every healthy group into a disturbed group. At least one member is moved if the
/// share is not zero, and at least one stays unless the share is 100 %.
fn take_out(
    groups: &mut Vec<SubscriberGroup>,
    percent: f64,
    suffix: &str,
    change: impl Fn(&mut SubscriberGroup),
) {
    let mut taken = Vec::new();
    for group in groups.iter_mut().filter(|group| is_steady(group)) {
        let most = if percent < 100.0 { group.count.saturating_sub(1) } else { group.count };
        let count = (share(group.count as usize, percent) as u32).min(most);
        if count == 0 {
            continue;
        }
        group.count -= count;
        let name = format!("{}-{suffix}", group.name);
        let mut other = SubscriberGroup { name, count, ..group.clone() };
        change(&mut other);
        taken.push(other);
    }
    groups.retain(|group| group.count > 0);
    groups.extend(taken);
}

/// Adds twice as many dashboards, so that in the end there are three times as many.
fn newcomers(group: &SubscriberGroup, joins: Joins) -> SubscriberGroup {
    SubscriberGroup {
        name: format!("{}-newcomers", group.name),
        count: group.count.saturating_mul(2),
        lifecycle: Lifecycle { joins: Some(joins), ..Lifecycle::default() },
        ..group.clone()
    }
}

fn alarm_desk(scenario: &Scenario, count: u32) -> SubscriberGroup {
    SubscriberGroup {
        name: "alarms".to_owned(),
        count,
        topics: TopicsEach::Alarms,
        popularity: Popularity::default(),
        class: ClassKind::Healthy,
        form: scenario.target.dialect.form().unwrap_or(Form::Raw),
        pace: Pace::default(),
        deflate: false,
        ramp_per_s: ALARM_RAMP_PER_S,
        lifecycle: Lifecycle::default(),
    }
}

/// The alarm topic matches the pattern of walls, which follow everything.
fn alarm_publisher(
    scenario: &Scenario,
    last: Option<&PublisherPlan>,
    alarms: Alarms,
) -> Option<PublisherPlan> {
    let wall = wall_pattern(&scenario.publishers);
    let topic = format!("{}alarms", wall.trim_end_matches('#'));
    Some(PublisherPlan {
        id: last?.id.checked_add(1)?,
        path: scenario.target.dialect.publish_path(&topic),
        topic,
        rate: Rate { num: 1, den: 1 },
        offset_ns: 0,
        jitter_ns: 0,
        payload: Payload::Fixed { bytes: ALARM_BYTES },
        deviation: Deviation { alarms: Some(alarms), ..Deviation::default() },
        recorded: None,
    })
}

fn each(
    publishers: &mut [PublisherPlan],
    fits: impl Fn(&PublisherPlan) -> bool,
    change: impl Fn(&mut Deviation),
) {
    let hit =
        |publisher: &&mut PublisherPlan| fits(publisher) && publisher.deviation.alarms.is_none();
    let hit = publishers.iter_mut().filter(hit);
    hit.for_each(|publisher| change(&mut publisher.deviation));
}

/// One clock is a second ahead; a second one, if there are enough publishers, is wrong by half a
/// century.
fn set_clocks_wrong(seed: u64, publishers: &mut [PublisherPlan]) {
    let labelled: Vec<usize> =
        (0..publishers.len()).filter(|index| has_status(publishers[*index].payload)).collect();
    let Some(first) = (mix(seed ^ SHARE_STREAM, 1, 0) as usize).checked_rem(labelled.len()) else {
        return;
    };
    let second = (first + 1) % labelled.len();
    for (place, clock) in [(second, StampClock::Epoch), (first, StampClock::Ahead)] {
        if let Some(publisher) = labelled.get(place).and_then(|index| publishers.get_mut(*index)) {
            publisher.deviation.clock = clock;
        }
    }
}

fn is_c37118(publisher: &PublisherPlan) -> bool {
    publisher.payload == Payload::C37118
}

/// Whether frames carry a status word and the second of century.
pub(crate) fn has_status(payload: Payload) -> bool {
    !matches!(payload, Payload::Fixed { .. })
}

/// A share of `count`, rounded up.
fn share(count: usize, percent: f64) -> usize {
    ((count as f64 * percent / 100.0).ceil() as usize).min(count)
}

/// A share of the numbers below `count`, drawn by seed.
fn drawn(seed: u64, count: usize, percent: f64) -> Vec<usize> {
    let mut numbers: Vec<usize> = (0..count).collect();
    numbers.sort_by_key(|number| mix(seed ^ SHARE_STREAM, 0, *number as u64));
    numbers.truncate(share(count, percent));
    numbers
}

const PAUSE: Duration = Duration::from_secs(2);
const PAUSE_EVERY: Duration = Duration::from_secs(30);
/// A device announces a change of its configuration for a minute.
const HOLD: Duration = Duration::from_secs(60);
const ALARM_BYTES: u32 = 96;
const ALARM_RAMP_PER_S: u32 = 2000;
const SHARE_STREAM: u64 = 0x7368_6172;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::check;
    use crate::plan::follows::Follows;
    use crate::plan::layout::Layout;
    use crate::plan::plan::{Destination, Plan};

    fn scenario(overlays: &str) -> Result<Scenario, String> {
        let text = format!(
            r#"
            name = "t"
            publishers = [{{ name = "p", count = 20, fps = 50 }},
                          {{ name = "q", count = 20, fps = 50, payload = "bytes:64" }}]
            subscribers = [{{ name = "desk", count = 200 }},
                           {{ name = "wall", count = 3, topics_each = "all" }}]
            phases = {{ warmup = "1s", measure = "20s", drain = "1s" }}
            overlays = [{overlays}]
            "#
        );
        check::parse(&text).map_err(|error| error.to_string())
    }

    fn plan(overlays: &str) -> Plan {
        let destination = Destination {
            target: "127.0.0.1:9400".parse().unwrap(),
            host: "h".into(),
            token: None,
            tls: None,
            run_id: 7,
        };
        Plan::build(&scenario(overlays).unwrap(), &Layout::default(), destination)
    }

    fn counts(overlays: &str) -> Vec<(String, u32)> {
        let groups = audience(&scenario(overlays).unwrap());
        groups.into_iter().map(|group| (group.name, group.count)).collect()
    }

    fn named(counts: &[(&str, u32)]) -> Vec<(String, u32)> {
        counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    #[test]
    fn overlays_survive_being_written() {
        let overlays = "{ kind = 'late-frames' }, { kind = 'flap-reconnect', at = '3s' }";
        let scenario = scenario(overlays).unwrap();
        assert_eq!(Scenario::parse(&scenario.to_toml()), Ok(scenario));
    }

    #[test]
    fn slow_stopped_and_pausing_readers_are_classes_of_their_own() {
        let expected = [
            ("desk", 194),
            ("wall", 1),
            ("desk-slow", 2),
            ("wall-slow", 1),
            ("desk-stopped", 2),
            ("wall-stopped", 1),
            ("desk-pausing", 2),
        ];
        assert_eq!(counts("{ kind = 'slow-consumers' }"), named(&expected));
    }

    #[test]
    fn those_who_flap_are_apart_and_may_be_all() {
        let all = "{ kind = 'flap-reconnect', share_percent = 100 }";
        assert_eq!(counts(all), named(&[("desk-flapping", 200), ("wall-flapping", 3)]));
        let plan = plan("{ kind = 'flap-reconnect' }");
        let flapping = plan.classes.iter().find(|class| class.name == "desk-flapping").unwrap();
        assert_eq!(flapping.lifecycle.cut.unwrap().at, Duration::from_secs(5));
    }

    #[test]
    fn a_fault_brings_alarms_and_newcomers() {
        let plan = plan("{ kind = 'fault-event', alarm_desks = 4 }");
        let alarms = plan.publishers.last().unwrap();
        assert_eq!((alarms.topic.as_str(), plan.publishers.len()), ("pmu/alarms", 41));
        let raised = alarms.deviation.alarms.unwrap();
        assert_eq!((raised.count, raised.at_once), (40, 20));
        let desks: Vec<_> = plan
            .subscribers
            .iter()
            .filter(|s| plan.classes[usize::from(s.class)].name == "alarms")
            .map(|s| (s.follows, s.path.as_str()))
            .collect();
        assert_eq!(desks, [(Follows::One(40), "/v1/feed/pmu/alarms"); 4]);
        let newcomers = plan.classes.iter().filter(|class| class.lifecycle.joins.is_some()).count();
        assert_eq!((newcomers, plan.subscribers.len()), (2, 3 * 203 + 4));
        let hit = plan.publishers.iter().filter(|p| p.deviation.fault.is_some()).count();
        assert_eq!(hit, 20);
    }

    #[test]
    fn publishers_are_chosen_by_share_and_payload() {
        let plan = plan(
            "{ kind = 'gps-loss' }, { kind = 'leap-second' }, { kind = 'late-frames' }, \
             { kind = 'config-change' }",
        );
        let count = |has: fn(&Deviation) -> bool| {
            plan.publishers.iter().filter(|publisher| has(&publisher.deviation)).count()
        };
        assert_eq!(count(|d| d.drift.is_some()), 4);
        assert_eq!((count(|d| d.leap.is_some()), count(|d| d.change.is_some())), (20, 20));
        assert_eq!(count(|d| d.lateness.is_some()), 40);
        assert_eq!(count(|d| d.clock == StampClock::Ahead), 1);
        assert_eq!(count(|d| d.clock == StampClock::Epoch), 1);
        let change = plan.publishers[0].deviation.change.unwrap();
        assert_eq!((change.at, change.hold), (Duration::from_secs(5), Duration::from_secs(10)));
    }

    #[test]
    fn overlays_that_make_no_sense_are_refused() {
        for (overlays, message) in [
            ("{ kind = 'gps-loss' }, { kind = 'gps-loss' }", "`gps-loss` is there twice"),
            ("{ kind = 'leap-second', at = '20s' }", "comes after the measured phase has ended"),
        ] {
            assert!(scenario(overlays).unwrap_err().contains(message), "{overlays}");
        }
        let mut blocks = scenario("{ kind = 'leap-second' }").unwrap();
        blocks.publishers.remove(0);
        let error = check::overlays::check(&blocks).unwrap_err().to_string();
        assert!(error.contains("give --payload `c37118`"), "{error}");
        let mut long = scenario("{ kind = 'late-frames' }").unwrap();
        long.phases.measure = Duration::from_secs(86_400);
        let error = check::overlays::check(&long).unwrap_err().to_string();
        assert!(error.contains("4000000 at most, and these would be 172802000"), "{error}");
    }
}
