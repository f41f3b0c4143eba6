//! Whole runs of the program against the embedded engine with an overlay each: what is done on
//! purpose is told, and nobody is charged with it.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

use std::process::Command;

use serde_json::Value;

/// Four publishers of 50 frames/s for 3 s, to 20 dashboards of one topic, 10 of two on one socket,
/// and two walls; `more` is TOML that comes before these groups.
fn measured(more: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("scenario.toml");
    let text = format!(
        r#"
        name = "overlaid"
        {more}
        phases = {{ warmup = "500ms", measure = "3s", drain = "3s" }}
        health = {{ slip_percent = 100 }}
        [[publishers]]
        name = "pmu"
        count = 4
        fps = 50
        [[subscribers]]
        name = "desk"
        count = 20
        [[subscribers]]
        name = "page"
        count = 10
        topics_each = 2
        form = "bin"
        [[subscribers]]
        name = "wall"
        count = 2
        topics_each = "all"
        "#
    );
    measured_of(&path, &text)
}

fn measured_of(path: &std::path::Path, text: &str) -> Value {
    std::fs::write(path, text).unwrap();
    let out = path.with_extension("result");
    let output = Command::new(env!("CARGO_BIN_EXE_gridload"))
        .args(["run", path.to_str().unwrap(), "--out", out.to_str().unwrap(), "--force"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let record = std::fs::read_to_string(out.join("run.json"));
    let record: Value = serde_json::from_str(&record.unwrap_or_else(|_| panic!("{said}"))).unwrap();
    // A machine that is busy with other things may void any run; no goal may be missed in one.
    let missed: Vec<_> =
        record["slo"].as_array().unwrap().iter().filter(|g| g["pass"] != true).collect();
    assert!(missed.is_empty(), "{missed:?}\n{}", String::from_utf8_lossy(&output.stdout));
    record
}

fn class<'r>(record: &'r Value, name: &str) -> &'r Value {
    let classes = record["totals"]["classes"].as_array().unwrap();
    let found = classes.iter().find(|class| class["name"] == name);
    found.unwrap_or_else(|| panic!("no class {name} in {classes:?}"))
}

fn count(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"))
}

/// Every class got all it had to, once and in order, and nothing else.
fn assert_clean(record: &Value) {
    for class in record["totals"]["classes"].as_array().unwrap() {
        assert_eq!(class["expected"], class["received"], "{class}");
        for key in ["lost", "duplicated", "reordered", "corrupt", "misdelivered", "misnumbered"] {
            assert_eq!(class[key], 0, "{key} in {class}");
        }
    }
    let publishers = &record["totals"]["publishers"];
    assert_eq!(publishers["sent"], publishers["intended"]);
    assert_eq!(publishers["unsent"], 0);
}

#[test]
fn slow_consumers_are_apart_and_the_others_lose_nothing() {
    let record = measured(
        "overlays = [{ kind = 'slow-consumers', slow_percent = 10, \
                           stopped_percent = 10, pausing_percent = 10 }]",
    );
    for (name, kind) in
        [("desk-slow", "slow"), ("desk-stopped", "stalled"), ("desk-pausing", "pausing")]
    {
        let class = class(&record, name);
        assert_eq!((&class["kind"], &class["sockets"]), (&kind.into(), &2.into()));
    }
    for name in ["desk", "page"] {
        let class = class(&record, name);
        assert_eq!((&class["lost"], &class["expected"]), (&0.into(), &class["received"]));
    }
    assert_eq!(class(&record, "desk-stopped")["received"], 0);
    assert!(count(class(&record, "desk-pausing"), "received") > 0);
}

#[test]
fn frames_late_withheld_and_sent_twice_are_told_and_charged_to_nobody() {
    let record = measured(
        "overlays = [{ kind = 'late-frames', late_percent = 10, \
                           delay_max = '1s', withheld_percent = 5, repeated_percent = 5 }]",
    );
    assert_clean(&record);
    let publishers = &record["totals"]["publishers"];
    let deviations = &publishers["deviations"];
    let [withheld, repeated] = ["withheld", "repeated"].map(|key| count(deviations, key));
    assert!(withheld > 0 && repeated > 0 && count(deviations, "delayed") > 0, "{deviations}");
    // 4 publishers, 3.5 s, 50 frames/s.
    assert_eq!(count(publishers, "intended"), 700 - withheld + repeated);
}

#[test]
fn lost_utc_a_leap_second_and_a_new_configuration_are_understood() {
    let record = measured(
        "overlays = [{ kind = 'gps-loss', share_percent = 50, \
                           drift_per_min = '1s' }, { kind = 'leap-second', at = '1s' }, \
                           { kind = 'config-change', at = '500ms', hold = '1s' }]",
    );
    assert_clean(&record);
    let publishers = &record["totals"]["publishers"];
    assert_eq!(publishers["deviations"]["configurations"], 4);
    assert_eq!(count(publishers, "intended"), 704);
    assert!(count(&publishers["deviations"], "delayed") > 0);
    let walls = class(&record, "wall");
    // 704 frames of 92 bytes, more where the new configuration is in force.
    assert!(count(walls, "payload_bytes") > 2 * 704 * 92 + 2 * 4 * 300, "{walls}");
}

#[test]
fn who_is_cut_off_returns_and_is_owed_nothing_for_the_time_away() {
    for cut in ["wait = '200ms'", "cut = 'silent', silence = '1s', wait = '300ms'"] {
        let record = measured(&format!(
            "overlays = [{{ kind = 'flap-reconnect', at = '1s', share_percent = 40, {cut} }}]"
        ));
        for (name, sockets) in [("desk-flapping", 8), ("page-flapping", 4), ("wall-flapping", 1)] {
            let class = class(&record, name);
            let returns = &class["returns"];
            assert_eq!((count(class, "sockets"), count(returns, "left")), (sockets, sockets));
            assert_eq!((count(returns, "came"), count(returns, "shut_out")), (sockets, 0));
            assert_eq!(returns["first_frame"]["count"], sockets, "{returns}");
            assert!(count(&returns["first_frame"], "p50_ns") > 150_000_000, "{returns}");
            assert!(class["closes"]["cut"] == sockets, "{class}");
        }
        assert_clean(&record);
        assert!(class(&record, "desk")["returns"].is_null());
    }
}

#[test]
fn churn_has_sockets_leave_in_order_and_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("churn.toml");
    let record = measured_of(
        &path,
        r#"
        name = "churn"
        phases = { warmup = "500ms", measure = "3s", drain = "3s" }
        health = { slip_percent = 100 }
        publishers = [{ name = "pmu", count = 4, fps = 50 }]
        subscribers = [{ name = "desk", count = 20, churn = "3000%/min" },
                       { name = "page", count = 10, topics_each = 2, form = "json",
                         churn = "3000%/min" }]
        "#,
    );
    assert_clean(&record);
    for (name, least) in [("desk", 10), ("page", 5)] {
        let returns = &class(&record, name)["returns"];
        assert!(count(returns, "left") >= least, "{returns}");
        assert_eq!((count(returns, "unserved"), count(returns, "shut_out")), (0, 0));
    }
}

#[test]
fn surges_and_outages_send_every_frame() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bursts.toml");
    let record = measured_of(
        &path,
        r#"
        name = "bursts"
        phases = { warmup = "0s", measure = "4s", drain = "3s" }
        health = { slip_percent = 100 }
        publishers = [{ name = "book", count = 2, fps = 10, payload = "bytes:120",
                        burst = "x5 for 1s" },
                      { name = "craft", count = 2, fps = 20, burst = "outage 500ms every 2s" }]
        subscribers = [{ name = "wall", count = 3, topics_each = "all" }]
        "#,
    );
    assert_clean(&record);
    let publishers = &record["totals"]["publishers"];
    // A book has 2 s of 50 and 2 s of 10 frames, a craft 4 s of 20.
    assert_eq!(count(publishers, "intended"), 2 * 120 + 2 * 80);
    // The second outage would end with the run, so it is none.
    assert_eq!(count(&publishers["deviations"], "delayed"), 2 * 10);
}

#[test]
fn a_fault_raises_alarms_and_brings_three_times_the_viewers() {
    let record = measured(
        "overlays = [{ kind = 'fault-event', at = '500ms', alarm_desks = 5, \
                           region_percent = 50, newcomers_over = '1s' }]",
    );
    let alarms = class(&record, "alarms");
    assert_eq!((count(alarms, "sockets"), count(alarms, "received")), (5, 5 * 4));
    for (name, sockets) in [("desk-newcomers", 40), ("page-newcomers", 20), ("wall-newcomers", 4)] {
        let class = class(&record, name);
        let returns = &class["returns"];
        assert_eq!((count(class, "sockets"), count(returns, "came")), (sockets, sockets));
        assert_eq!(returns["first_frame"]["count"], sockets, "{returns}");
    }
    assert_clean(&record);
    assert_eq!(class(&record, "wall")["received"], 2 * (700 + 4));
}
