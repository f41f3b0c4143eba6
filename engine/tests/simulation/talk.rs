//! What clients do: which kinds come, what they ask for, and the scenes that need many of them at
//! once. Owns the draws. Must not judge anything.

use std::ops::RangeInclusive;

use gridcast::feed::log::FeedName;
use gridcast::feed::options::{Mode, Rate};
use gridcast::feed::registry::Registry;
use gridcast::feed::topic::Target;
use gridcast::frame::Kind;
use rand::RngExt;
use rand::seq::IndexedRandom;
use serde_json::json;

use crate::client::{Command, Temper};
use crate::follower::{Form, Hello};
use crate::profile::Profile;
use crate::record::{FeedKey, Record, Sent};
use crate::world::World;

const TOPICS: [&str; 4] = ["pmu/1", "pmu/2", "alarms", "pmu/1/raw"];
const TARGETS: [&str; 6] = ["pmu/1", "pmu/2", "alarms", "pmu/+", "pmu/#", "#"];
const RATES: [Option<u64>; 4] = [None, None, None, Some(10)];
/// Clients of a seed at most.
const CLIENTS_MAX: usize = 40;

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Follower,
    Multiplexed,
    Publisher,
    Poster,
    Getter,
}

/// Watches what is published to from the start on.
pub fn watch_topics(record: &mut Record, registry: &Registry) {
    for topic in TOPICS {
        record.watch(registry, &FeedName { target: topic.parse().unwrap(), rate: None }, 0);
    }
}

impl World {
    pub fn connect_any(&mut self) {
        if self.clients.len() >= CLIENTS_MAX {
            return;
        }
        let temper = match self.rng.random_range(0..10) {
            0..4 => Temper::Prompt,
            4..9 => Temper::Slow,
            _ => Temper::Deaf,
        };
        if self.profile == Profile::Poll && self.rng.random() {
            return self.begin_polling(temper);
        }
        match self.rng.random_range(0..100) {
            0..25 => self.follow_one(temper, Form::Raw),
            25..45 => self.follow_one(temper, Form::Events),
            45..60 => self.begin_multiplexed(temper, Form::Json),
            60..75 => self.begin_multiplexed(temper, Form::Binary),
            75..90 => self.begin_publisher(temper),
            90..98 => self.begin_poster(temper),
            _ => self.look_in(temper),
        }
    }

    /// Somebody says the next thing, or a part of it.
    pub fn talk_any(&mut self) {
        let Some(id) = self.any_client() else { return };
        if self.clients[id].is_ending {
            return;
        }
        if self.clients[id].has_sent_all() {
            self.think_of_something(id);
        }
        let bytes_max = *[3, 50, 100_000, 100_000].choose(&mut self.rng).unwrap();
        self.clients[id].send(bytes_max);
    }

    fn think_of_something(&mut self, id: usize) {
        let client = &self.clients[id];
        if client.has_closed || client.refused.is_some() {
            return;
        }
        match client.part {
            Part::Follower if client.is_stream && client.form() == Form::Raw => {
                self.clients[id].ping();
            }
            Part::Publisher => self.publish_some(id),
            Part::Poster => self.post_some(id),
            Part::Multiplexed if client.is_stream => self.command_some(id),
            _ => {}
        }
    }

    /// Somebody goes, in good order.
    pub fn leave_one(&mut self) {
        let Some(id) = self.any_client() else { return };
        let client = &mut self.clients[id];
        if client.has_closed || client.is_ending || client.temper != Temper::Prompt {
            return;
        }
        let speaks_websocket = match client.part {
            Part::Publisher | Part::Multiplexed => true,
            Part::Follower => client.form() == Form::Raw && client.is_stream,
            Part::Poster | Part::Getter => false,
        };
        if speaks_websocket && self.rng.random() {
            client.close();
        }
        if client.part == Part::Follower {
            client.send_all();
        } else {
            client.end();
        }
    }

    // ---- following ----

    pub fn follow_one(&mut self, temper: Temper, form: Form) {
        let target: Target = TARGETS.choose(&mut self.rng).unwrap().parse().unwrap();
        self.follow_target(temper, form, target);
    }

    pub fn follow_target(&mut self, temper: Temper, form: Form, target: Target) {
        let id = self.connect(temper, form, Part::Follower);
        let options = self.ask_for(id, &target);
        let path = target.as_str().replace('#', "%23").replace('+', "%2B");
        let query: Vec<String> = options.as_object().unwrap().iter().map(query_part).collect();
        let path = format!("/v1/feed/{path}?{}", query.join("&"));
        match form {
            Form::Events => self.clients[id].events(&path),
            _ => self.clients[id].upgrade(&path, ""),
        }
        if temper == Temper::Prompt {
            self.clients[id].send_all();
        }
    }

    /// Draws how a client follows a feed, and notes what it was promised by that.
    fn ask_for(&mut self, id: usize, target: &Target) -> serde_json::Value {
        let now_ns = self.clock.now_ns();
        let rate = RATES.choose(&mut self.rng).unwrap().map(|per_s| Rate::new(per_s).unwrap());
        let name = FeedName { target: target.clone(), rate };
        let feed = self.record.watch(&self.shared.registry, &name, now_ns);
        let (from, range) = self.draw_from(&name, feed);
        let mode = if self.rng.random_ratio(1, 4) { Mode::Latest } else { Mode::Lossless };
        let lag =
            *["disconnect", "skip-to-oldest", "skip-to-latest"].choose(&mut self.rng).unwrap();
        let client = &mut self.clients[id];
        client.resumes |= range.start() == range.end();
        client.targets.push(target.clone());
        client.follower.follow(target.clone(), feed, range, mode);
        let mut options = json!({"from": from, "lag": lag});
        match mode {
            Mode::Latest => options = json!({"from": from, "mode": "latest"}),
            Mode::Lossless => {}
        }
        if let Some(rate) = rate {
            options["rate"] = rate.per_s().into();
        }
        options
    }

    /// Draws where a client begins in a feed; and the numbers that may come first then.
    fn draw_from(&mut self, name: &FeedName, feed: FeedKey) -> (String, RangeInclusive<u64>) {
        let (first, last) = (self.record.first(feed), self.record.last(feed));
        let after = self.rng.random_range(first - 1..=last);
        let position = self.record.position(name, after).to_string();
        let (from, range) = match self.rng.random_range(0..4) {
            0 => ("latest", last + 1..=u64::MAX),
            1 => ("last", last.max(1)..=u64::MAX),
            2 => ("oldest", first..=u64::MAX),
            // A log cannot tell the position before its first message from one that is lost.
            _ if after < first && self.profile == Profile::Log => ("oldest", first..=u64::MAX),
            _ => (&*position, after + 1..=after + 1),
        };
        (from.to_owned(), range)
    }

    // ---- polling ----

    fn begin_polling(&mut self, temper: Temper) {
        let target: Target = TARGETS.choose(&mut self.rng).unwrap().parse().unwrap();
        let id = self.connect(temper, Form::Poll, Part::Follower);
        let name = FeedName { target: target.clone(), rate: None };
        let feed = self.record.watch(&self.shared.registry, &name, self.clock.now_ns());
        let (from, range) = self.draw_from(&name, feed);
        let path = target.as_str().replace('#', "%23").replace('+', "%2B");
        let limit = *["", "&limit=1", "&limit=3"].choose(&mut self.rng).unwrap();
        let wait_ms = *[1, 100, 5_000].choose(&mut self.rng).unwrap();
        let client = &mut self.clients[id];
        client.targets.push(target.clone());
        client.follower.follow(target, feed, range, Mode::Lossless);
        client.poll(format!("/v1/poll/{path}?wait={wait_ms}{limit}&from="), &from);
        if temper == Temper::Prompt {
            client.send_all();
        }
    }

    // ---- multiplexed ----

    pub fn begin_multiplexed(&mut self, temper: Temper, form: Form) {
        let id = self.connect(temper, form, Part::Multiplexed);
        let protocol = if form == Form::Json { "json" } else { "bin" };
        let mut more = format!("Sec-WebSocket-Protocol: gridcast.v1.{protocol}\r\n");
        if self.rng.random() {
            more += "Sec-WebSocket-Extensions: permessage-deflate\r\n";
        }
        let mut path = "/v1/ws";
        if self.rng.random() {
            path = "/v1/ws?hello=1";
            self.clients[id].follower.hello = Hello::Due;
        }
        self.clients[id].upgrade(path, &more);
        for _ in 0..self.rng.random_range(0..5) {
            self.subscribe(id);
        }
    }

    fn command_some(&mut self, id: usize) {
        match self.rng.random_range(0..10) {
            0..3 => self.subscribe(id),
            3..4 => self.unsubscribe(id),
            4..5 => self.clients[id].ping(),
            _ => {
                let message = self.message(id, None, true);
                let command = Command::Publish(message);
                self.clients[id].command(command, &json!({}), &self.record);
            }
        }
    }

    fn subscribe(&mut self, id: usize) {
        let target: Target = TARGETS.choose(&mut self.rng).unwrap().parse().unwrap();
        if self.clients[id].targets.contains(&target) {
            return;
        }
        let mut options = self.ask_for(id, &target);
        if self.rng.random_ratio(1, 4) {
            options["ack"] = true.into();
        }
        self.clients[id].command(Command::Subscribe(target), &options, &self.record);
    }

    fn unsubscribe(&mut self, id: usize) {
        let client = &mut self.clients[id];
        if client.waits_for().is_none()
            && let Some(target) = client.targets.choose(&mut self.rng).cloned()
        {
            client.command(Command::Unsubscribe(target), &json!({}), &self.record);
        }
    }

    // ---- publishing ----

    pub fn begin_publisher(&mut self, temper: Temper) {
        let topic = *TOPICS.choose(&mut self.rng).unwrap();
        let id = self.connect(temper, Form::Raw, Part::Publisher);
        self.clients[id].topic = topic.to_owned();
        self.clients[id].upgrade(&format!("/v1/publish/{topic}"), "");
    }

    fn publish_some(&mut self, id: usize) {
        let topic = self.clients[id].topic.clone();
        for _ in 0..self.rng.random_range(1..8) {
            let message = self.message(id, Some(&topic), false);
            self.clients[id].publish(message, &self.record);
        }
    }

    fn begin_poster(&mut self, temper: Temper) {
        let id = self.connect(temper, Form::Raw, Part::Poster);
        self.post_some(id);
    }

    fn post_some(&mut self, id: usize) {
        if self.rng.random() {
            let message = self.message(id, None, false);
            return self.clients[id].post(message, &self.record);
        }
        let count = self.rng.random_range(1..20);
        let messages = (0..count).map(|_| self.message(id, None, true)).collect();
        self.clients[id].post_many(messages, &self.record);
    }

    fn look_in(&mut self, temper: Temper) {
        let id = self.connect(temper, Form::Raw, Part::Getter);
        self.clients[id].get("/healthz", 200);
        self.clients[id].get("/metrics", 200);
        match self.clients[id].token.as_ref().map(|token| token.administers) {
            Some(false) => return self.clients[id].get("/v1/admin/status", 403),
            Some(true) if self.rng.random_ratio(1, 2) => {
                self.drains = true;
                return self.clients[id].act("/v1/admin/drain", 202);
            }
            Some(true) => self.clients[id].get("/v1/admin/status", 200),
            None => {}
        }
        self.clients[id].get("/nowhere", 404);
    }

    /// A message that is about to be sent; as JSON, where it goes into JSON.
    pub fn message(&mut self, by: usize, topic: Option<&str>, as_json: bool) -> usize {
        let topic = topic.unwrap_or_else(|| TOPICS.choose(&mut self.rng).unwrap()).to_owned();
        let len = match self.rng.random_range(0..20) {
            0 => self.rng.random_range(3_000..9_000),
            1..4 => self.rng.random_range(110..130),
            _ => self.rng.random_range(0..110),
        };
        let filler: String = (0..len).map(|_| self.rng.random_range('a'..='z')).collect();
        let number = self.record.next();
        let kind = if self.rng.random() { Kind::Text } else { Kind::Binary };
        let payload = match as_json && kind == Kind::Text || self.rng.random_ratio(1, 4) {
            true => format!("[{number},\"{filler}\"]"),
            false => format!("{number}:{filler}"),
        };
        self.record.send(Sent { topic, kind, payload: payload.into_bytes(), by })
    }

    // ---- scenes ----

    /// Publishers on one grid: each sends a frame at the same instant.
    pub fn burst(&mut self) {
        let publishers = 1_500;
        let topics: Vec<String> = (0..publishers).map(|at| format!("pmu/{at}")).collect();
        for form in [Form::Raw, Form::Events, Form::Raw, Form::Raw, Form::Raw, Form::Events] {
            self.follow_target(Temper::Prompt, form, "pmu/#".parse().unwrap());
        }
        let first = self.clients.len();
        for topic in &topics {
            let id = self.connect(Temper::Prompt, Form::Raw, Part::Publisher);
            self.clients[id].topic.clone_from(topic);
            self.clients[id].upgrade(&format!("/v1/publish/{topic}"), "");
            self.clients[id].send_all();
        }
        self.run_until_asleep();
        for _ in 0..3 {
            for (id, topic) in (first..).zip(&topics) {
                let message = self.message(id, Some(topic), false);
                self.clients[id].publish(message, &self.record);
                self.clients[id].send_all();
            }
            self.run_until_asleep();
            self.clock.advance(20_000_000);
        }
    }

    /// Many requests or messages at once, and the end right behind them.
    pub fn pipeline(&mut self) {
        self.follow_one(Temper::Prompt, Form::Events);
        for _ in 0..3 {
            let temper = if self.rng.random() { Temper::Prompt } else { Temper::Slow };
            let count = self.rng.random_range(1..3_000);
            let id = self.connect(temper, Form::Raw, Part::Poster);
            for _ in 0..count {
                let message = self.message(id, None, false);
                self.clients[id].post(message, &self.record);
            }
            self.clients[id].send_all();
            if self.rng.random_ratio(2, 3) {
                self.clients[id].end();
            }
        }
        self.post_very_many();
        self.run_until_asleep();
    }

    /// One body of a great many lines.
    fn post_very_many(&mut self) {
        let id = self.connect(Temper::Prompt, Form::Raw, Part::Poster);
        let messages = (0..12_000).map(|_| {
            let (number, kind) = (self.record.next(), Kind::Text);
            let (topic, payload) = (TOPICS[0].to_owned(), format!("[{number}]").into_bytes());
            self.record.send(Sent { topic, kind, payload, by: id })
        });
        let messages = messages.collect();
        self.clients[id].post_many(messages, &self.record);
        self.clients[id].send_all();
    }

    /// Very many connections whose time comes in one tick.
    pub fn come_due_together(&mut self) {
        for _ in 0..3_000 {
            let id = self.connect(Temper::Deaf, Form::Raw, Part::Getter);
            self.clients[id].wire.give_room(usize::MAX / 4);
        }
        self.run_until_asleep();
        self.clock.advance(3_500_000_000);
        self.run_until_asleep();
    }
}

fn query_part((name, value): (&String, &serde_json::Value)) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{name}={value}")
}
