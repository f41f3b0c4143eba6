//! Bridges to InfluxDB, against the real server of Debian. Must not share code with the bridge.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a failed step ends its test

mod peers;

use peers::influxdb::InfluxDb;
use peers::{Rig, of_page, password_file};

fn settings(server: &InfluxDb, more: &str) -> String {
    format!(
        "[[bridge]]\nname = \"store\"\nkind = \"influx\"\nurl = \"{}\"\nout = [\"pmu/#\"]\n\
         database = \"grid\"\nbatch.wait_ms_max = 50\n\
         series = [{{ topics = \"pmu/+\", measurement = \"pmu\", \
         tags = {{ unit = \"{{1}}\" }} }}]\n{more}",
        server.url()
    )
}

#[test]
fn the_page_is_true() {
    let Some(server) = InfluxDb::start() else { return };
    let url = server.url();
    let mut rig = Rig::start(&of_page("influx", &[("http://127.0.0.1:8086", &url)]));
    rig.wait_until_up();
    rig.publish("pmu/north/7/json", r#"{"frequency":49.98,"voltage":{"a":1,"b":true},"x":"y"}"#);
    server.wait_for_figure("SELECT count(frequency) FROM pmu", 1);
    let query = "SELECT frequency,voltage_a,voltage_b,station,unit FROM pmu";
    let row = server.query(query).remove(0);
    assert!(row.ends_with(",49.98,1,true,north,7"), "{row}");
    // What is in no series of its own is found under the name of this program.
    rig.publish("weather/wind", "4.5");
    server.wait_for_figure("SELECT count(value) FROM gridcast WHERE topic='weather/wind'", 1);
}

#[test]
fn what_has_no_place_is_counted_and_the_rest_is_stored() {
    let Some(server) = InfluxDb::start() else { return };
    let mut rig = Rig::start(&settings(&server, ""));
    rig.wait_until_up();
    rig.publish("pmu/1", "{\"f\":1}");
    server.wait_for_figure("SELECT count(f) FROM pmu", 1);
    rig.publish("pmu/1", "not JSON");
    rig.publish("pmu/1", "{\"only\":\"text\"}");
    rig.publish_bytes("pmu/1", &[0xff, 0]);
    // `f` is a number since the first message, so InfluxDB refuses these, and nothing else.
    for n in 0..20 {
        rig.publish("pmu/1", if n % 7 == 3 { "{\"f\":true}" } else { "{\"f\":2}" });
    }
    server.wait_for_figure("SELECT count(f) FROM pmu", 18);
    rig.wait_for_metric("dropped_total{reason=\"refused\"}", 3);
    assert_eq!(rig.metric("dropped_total{reason=\"not_json\"}"), 2);
    assert_eq!(rig.metric("dropped_total{reason=\"no_fields\"}"), 1);
    // InfluxDB stores the right points of a batch that it refuses; they are counted a moment later.
    rig.wait_for_metric("messages_total{direction=\"out\"}", 18);
    assert_eq!(rig.metric("messages_total{direction=\"out\"}"), 18);
}

#[test]
fn a_server_that_was_killed_gets_what_it_missed_with_the_right_times() {
    let Some(mut server) = InfluxDb::start() else { return };
    let mut rig = Rig::start(&settings(&server, ""));
    rig.wait_until_up();
    let publish = |rig: &mut Rig, from: u32, to: u32| {
        (from..to).for_each(|n| rig.publish(&format!("pmu/{}", n % 10), &format!("{{\"n\":{n}}}")));
    };
    publish(&mut rig, 0, 5_000);
    server.wait_for_figure("SELECT count(n) FROM pmu", 5_000);
    publish(&mut rig, 5_000, 7_000);
    server.kill();
    publish(&mut rig, 7_000, 10_000);
    rig.wait_until_down();
    let before_ns = gridcast::clock::unix_ns();
    server.restart();
    server.wait_for_figure("SELECT count(n) FROM pmu", 10_000);
    assert_eq!(server.figure("SELECT sum(n) FROM pmu"), (0..10_000).sum::<u64>());
    let late = format!("SELECT count(n) FROM pmu WHERE time >= {before_ns}");
    assert_eq!(server.figure(&late), 0, "stored late, with the time of publication");
    assert_eq!(rig.metric("dropped_total"), 0);
}

#[test]
fn what_passes_the_bound_is_lost_and_told() {
    let Some(mut server) = InfluxDb::start() else { return };
    let small = "batch.spill_bytes_max = 1048576\n[[retention.class]]\npattern = \"pmu/#\"\n\
                 bytes_max = 1000000\n";
    let mut rig = Rig::start(&settings(&server, small));
    rig.wait_until_up();
    server.kill();
    // Some 80 bytes a line here and 100 in the log: 5 MB are more than 1 MiB and 1 MB.
    let count = 60_000;
    for n in 0..count {
        rig.publish("pmu/1", &format!("{{\"n\":{n},\"more\":\"{:40}\"}}", ""));
    }
    server.restart();
    rig.wait_for_metric("dropped_total{reason=\"retention\"}", 1);
    rig.publish("pmu/1", "{\"last\":1}");
    server.wait_for_figure("SELECT count(last) FROM pmu", 1);
    let stored = server.figure("SELECT count(n) FROM pmu");
    let dropped = rig.metric("dropped_total{reason=\"retention\"}");
    assert_eq!(stored + dropped, count, "each is stored or counted");
    assert!(stored > 10_000, "{stored} fit the bound");
}

#[test]
fn wrong_credentials_lose_nothing() {
    let Some(mut server) = InfluxDb::start() else { return };
    server.restart_with_users("gridcast", "right");
    let (_directory, path) = password_file("wrong");
    let more = format!("user = \"gridcast\"\npassword_file = \"{path}\"\n");
    let mut rig = Rig::start(&settings(&server, &more));
    rig.wait_for_metric("errors_total{reason=\"credentials\"}", 1);
    assert_eq!(rig.metric("up"), 0);
    rig.publish("pmu/1", "{\"f\":1}");
    std::fs::write(&path, "right").unwrap();
    rig.wait_until_up();
    server.wait_for_figure("SELECT count(f) FROM pmu", 1);
}

#[test]
fn an_end_stores_what_is_there() {
    let Some(server) = InfluxDb::start() else { return };
    let slow = settings(&server, "").replace("wait_ms_max = 50", "wait_ms_max = 60000");
    let mut rig = Rig::start(&slow);
    rig.wait_until_up();
    (0..100).for_each(|n| rig.publish("pmu/1", &format!("{{\"n\":{n}}}")));
    rig.end_bridges();
    assert_eq!(server.figure("SELECT count(n) FROM pmu"), 100);
}
