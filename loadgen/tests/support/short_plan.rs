//! What the tests of single runs start from: a second and a quarter of two publishers. Must not
//! know servers.

use std::net::SocketAddr;
use std::time::Duration;

use gridload::codec::dialect::dialect::Dialect;
use gridload::codec::payload::Payload;
use gridload::plan::class::ClassPlan;
use gridload::plan::course::Course;
use gridload::plan::deviation::Deviation;
use gridload::plan::part::Part;
use gridload::plan::plan::{Disturbance, Plan};
use gridload::plan::publisher::PublisherPlan;
use gridload::time::rate::Rate;

/// Two publishers of 200 frames/s, `pmu/1001` and `pmu/1002`, and a class without subscribers yet.
pub fn short_plan(target: SocketAddr, payload: Payload) -> Plan {
    let publisher = |id: u16| PublisherPlan {
        id,
        topic: format!("pmu/{id}"),
        path: format!("/v1/publish/pmu/{id}"),
        rate: Rate { num: 200, den: 1 },
        offset_ns: 0,
        jitter_ns: 0,
        payload,
        deviation: Deviation::default(),
        recorded: None,
    };
    Plan {
        run_id: 77,
        seed: 5,
        target,
        subscriber_nodes: vec![],
        host: target.to_string(),
        token: None,
        tls: None,
        dialect: Dialect::default(),
        warmup: Duration::from_millis(250),
        measure: Duration::from_secs(1),
        course: Course::default(),
        drain: Duration::from_secs(2),
        connect_rate: 1000,
        publishers: vec![publisher(1001), publisher(1002)],
        publisher_threads: 1,
        subscribers: vec![],
        followed: [].into(),
        wall: "pmu/#".into(),
        subscriber_threads: 2,
        classes: vec![ClassPlan::raw("healthy")],
        spread_every: 3,
        cpus: None,
        kill: None,
        part: Part::default(),
        disturbance: Disturbance::default(),
    }
}
