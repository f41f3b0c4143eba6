//! Aligned ticks, from messages on topics to ticks and metrics.

use gridcast::clock::unix_ns;
use gridcast::frame::Kind;
use gridcast_connectors::c37118::frame::{FrameKind, encode};
use gridcast_connectors::c37118::stamp::Stamp;
use serde_json::json;

use crate::device::Connection;
use crate::frames::{config2, data};
use crate::rig::{Following, Rig};

fn group(more: &str) -> String {
    format!("[[align]]\nname = \"north\"\nrate = 50\n{more}\n")
}

fn publish(rig: &Rig, topic: &str, ms: u32) {
    let message = json!({"time": format!("2026-01-01T00:00:00.{ms:03}Z"), "from": topic});
    rig.publish(topic, Kind::Text, message.to_string().as_bytes());
}

/// The next tick: its time, who is in it, who is missing.
fn tick(following: &mut Following) -> (String, Vec<String>, Vec<String>) {
    let tick = following.next().json();
    let there = tick["values"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let missing = tick["missing"].as_array().unwrap().iter();
    let missing: Vec<_> = missing.map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(tick["arrived"], there.len());
    assert_eq!(tick["members"], there.len() + missing.len());
    (tick["time"].as_str().unwrap().to_owned(), there, missing)
}

#[test]
fn a_tick_has_all_that_came_in_time_and_names_who_did_not() {
    let more = "topics = \"pmu/+\"\nwait = \"relative\"\nwait_ms = 100";
    let (rig, mut following) = Rig::start(&group(more), &["align/north"]);
    let topics = ["pmu/a", "pmu/b", "pmu/c"];
    topics.iter().for_each(|topic| publish(&rig, topic, 0));
    let (time, there, missing) = tick(&mut following[0]);
    assert_eq!(time, "2026-01-01T00:00:00.000000000Z");
    assert_eq!((there, missing.len()), (topics.map(str::to_owned).to_vec(), 0));
    topics[..2].iter().for_each(|topic| publish(&rig, topic, 20));
    let (time, there, missing) = tick(&mut following[0]);
    assert_eq!(time, "2026-01-01T00:00:00.020000000Z");
    assert_eq!((there.len(), missing), (2, vec!["pmu/c".to_owned()]));
    publish(&rig, "pmu/c", 20);
    let late = |rig: &Rig| rig.count("gridcast_align_arrivals_total", &["outcome=\"late\""]);
    rig.wait_until("late", |rig| late(rig) == 1);
    rig.publish("pmu/c", Kind::Text, b"no instant");
    let unreadable =
        |rig: &Rig| rig.count("gridcast_align_arrivals_total", &["outcome=\"unreadable\""]);
    rig.wait_until("unreadable", |rig| unreadable(rig) == 1);
    let missing = rig.count("gridcast_align_missing_total", &["group=\"north\""]);
    assert_eq!((missing, rig.count("gridcast_align_members", &["north"])), (1, 3));
}

#[test]
fn what_a_bridge_decodes_is_aligned() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bridge = format!(
        "[[bridge]]\nname = \"west\"\nkind = \"c37118\"\nurl = \"tcp-listen://{address}\"\n"
    );
    let more = "topics = \"pmu/west/+/json\"\nwait = \"relative\"";
    let (rig, mut following) = Rig::start(&(bridge + &group(more)), &["align/north"]);
    rig.wait_until("up", |rig| rig.count("gridcast_bridge_up", &["west"]) == 1);
    let mut device = Connection::connect(address);
    device.send(&[config2(9, &[(1, 1), (2, 1)]), data(9, 40, &[(0, 1), (0, 1)])].concat());
    let tick = following[0].next().json();
    assert_eq!(tick["time"], "2026-01-01T00:00:00.040000000Z");
    assert_eq!(tick["values"]["pmu/west/2/json"]["station"], "PMU 2");
}

#[test]
fn frames_are_aligned_by_the_time_base_of_their_configuration() {
    let more = "topics = \"pmu/+\"\nwait_ms = 3000\nform = \"binary\"";
    let (rig, mut following) = Rig::start(&group(more), &["align/north"]);
    let mut configuration = config2(7, &[(7, 0)]);
    // A TIME_BASE of 16,777,215, as one of the real devices has.
    configuration[15..18].copy_from_slice(&[0xFF, 0xFF, 0xFF]);
    let body = configuration[14..configuration.len() - 2].to_vec();
    let configuration = encode(FrameKind::Config2, 1, 7, Stamp::default(), &body).unwrap();
    rig.publish("pmu/7/cfg", Kind::Binary, &configuration);
    let soc = (unix_ns() / 1_000_000_000) as u32 - 1;
    let stamp = Stamp { soc, quality: 0, fracsec: 8_388_608 };
    let frame = encode(FrameKind::Data, 1, 7, stamp, &[0; 6]).unwrap();
    // The group reads configurations before anything else that is there.
    rig.publish("pmu/7", Kind::Binary, &frame);
    let tick = following[0].next();
    assert_eq!(tick.kind, Kind::Binary);
    let instant_ns = u64::from(soc) * 1_000_000_000 + 500_000_000;
    let head = [&[1][..], &instant_ns.to_be_bytes(), &[0, 1, 0, 0], b"\x05pmu/7", &[1]].concat();
    assert_eq!(tick.payload[..head.len()], head);
    assert!(tick.payload.ends_with(&frame));
}

#[test]
fn an_absolute_wait_ends_by_the_clock() {
    let (rig, mut following) = Rig::start(&group("topics = \"pmu/+\""), &["align/north"]);
    let now_ns = unix_ns() / 20_000_000 * 20_000_000;
    let stamp = |ns: u64| Stamp::of_utc_ns(ns);
    let frame = |ns: u64| encode(FrameKind::Data, 1, 7, stamp(ns), &[0; 6]).unwrap();
    rig.publish("pmu/7", Kind::Binary, &frame(now_ns));
    let (_, there, _) = tick(&mut following[0]);
    assert_eq!(there, ["pmu/7"]);
    assert!(unix_ns() >= now_ns + 100_000_000, "it waits: others may join");
    rig.publish("pmu/7", Kind::Binary, &frame(now_ns - 1_000_000_000));
    rig.publish("pmu/7", Kind::Binary, &frame(now_ns + 60_000_000_000));
    for outcome in ["late", "ahead"] {
        let outcome = format!("outcome=\"{outcome}\"");
        let count = |rig: &Rig| rig.count("gridcast_align_arrivals_total", &[&outcome]);
        rig.wait_until("counted", |rig| count(rig) == 1);
    }
}
