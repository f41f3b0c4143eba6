//! Aggregates as a pure machine: messages and time in, results out. Owns the windows that are open
//! and the bound of their memory: `topics_max` tallies a window, each of `fields_max` numbers at
//! most, whose paths are short. Must not read a clock, follow topics or publish.

use std::collections::BTreeMap;

use gridcast::http::instant;

use super::numbers::{self, Leaf};
use super::settings::{Function, Row};

/// The longest path of a number, bytes: a path is kept, and a message may consist of a name.
const PATH_BYTES_MAX: usize = 256;

/// See the file header.
#[derive(Debug)]
pub struct Machine {
    row: Row,
    /// By the number of the window since 1970, and by topic.
    windows: BTreeMap<u64, BTreeMap<Box<str>, Tally>>,
    /// The number that stands for a path.
    fields: BTreeMap<Box<str>, u32>,
    /// The paths by their number.
    names: Vec<Box<str>>,
    /// Windows from this one on had messages that were never seen.
    incomplete_until: u64,
    counts: Counts,
    path: String,
    found: Vec<(u32, f64)>,
}

/// What became of messages and numbers that are in no result, and how many were taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages taken.
    pub taken: u64,
    /// No JSON.
    pub unparsable: u64,
    /// JSON without any of the numbers that are wanted.
    pub without_numbers: u64,
    /// Without the time that is to count, or with one that is none.
    pub without_time: u64,
    /// Of a window that was closed before.
    pub late: u64,
    /// Of a window that does not begin yet.
    pub early: u64,
    /// Of a topic beyond `topics_max`.
    pub topics_over: u64,
    /// Numbers, not messages, beyond `fields_max`.
    pub fields_over: u64,
    /// Numbers whose path is longer than 256 bytes.
    pub paths_over: u64,
}

impl Counts {
    /// Each kind of loss with its name in metrics.
    #[must_use]
    pub const fn dropped(&self) -> [(&'static str, u64); 8] {
        [
            ("unparsable", self.unparsable),
            ("without_numbers", self.without_numbers),
            ("without_time", self.without_time),
            ("late", self.late),
            ("early", self.early),
            ("topics_over", self.topics_over),
            ("fields_over", self.fields_over),
            ("paths_over", self.paths_over),
        ]
    }
}

/// The result of a topic and window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The topic that the messages were published to.
    pub topic: Box<str>,
    /// The result, a JSON object.
    pub json: Vec<u8>,
}

/// What came of a topic in a window.
#[derive(Debug, Default)]
struct Tally {
    messages: u64,
    /// By the number of the path.
    numbers: Vec<(u32, Numbers)>,
}

/// What is known of the numbers at one path.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    min: f64,
    max: f64,
    sum: f64,
    last: f64,
    count: u64,
}

impl Numbers {
    fn of(number: f64) -> Self {
        Self { min: number, max: number, sum: number, last: number, count: 1 }
    }

    fn add(&mut self, number: f64) {
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        self.sum += number;
        self.last = number;
        self.count += 1;
    }
}

impl Tally {
    fn add(&mut self, (field, number): (u32, f64)) {
        // Messages of one kind have their numbers in the same order: the first look finds it.
        match self.numbers.binary_search_by_key(&field, |(known, _)| *known) {
            Ok(at) => self.numbers[at].1.add(number),
            Err(at) => self.numbers.insert(at, (field, Numbers::of(number))),
        }
    }
}

impl Machine {
    /// A machine that has seen nothing. `row` has no faults.
    #[must_use]
    pub fn new(row: Row) -> Self {
        let names: Vec<Box<str>> = row.fields.iter().map(|name| name.as_str().into()).collect();
        let fields = names.iter().cloned().zip(0..).collect();
        Self {
            row,
            windows: BTreeMap::new(),
            fields,
            names,
            incomplete_until: 0,
            counts: Counts::default(),
            path: String::new(),
            found: Vec::new(),
        }
    }

    /// What became of what came.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Topics and windows that are open, for metrics.
    #[must_use]
    pub fn open(&self) -> usize {
        self.windows.values().map(BTreeMap::len).sum()
    }

    /// Takes a message in that came at `now_ms` of UTC.
    pub fn take(&mut self, topic: &str, payload: &[u8], now_ms: u64) {
        let Some(time_ms) = self.read(payload, now_ms) else { return };
        let window = time_ms / self.row.window_ms;
        if self.is_closed(window, now_ms) {
            self.counts.late += 1;
            return;
        }
        // One window ahead of our clock is one that runs late, not a mistake.
        if window > now_ms / self.row.window_ms + 1 {
            self.counts.early += 1;
            return;
        }
        let tallies = self.windows.entry(window).or_default();
        if !tallies.contains_key(topic) {
            if tallies.len() >= self.row.topics_max {
                self.counts.topics_over += 1;
                return;
            }
            tallies.insert(topic.into(), Tally::default());
        }
        if let Some(tally) = tallies.get_mut(topic) {
            tally.messages += 1;
            self.found.drain(..).for_each(|found| tally.add(found));
        }
        self.counts.taken += 1;
    }

    /// Notes that messages were lost before they could be seen: the windows that are open at
    /// `now_ms` say so in their results.
    pub fn lost(&mut self, now_ms: u64) {
        self.incomplete_until = self.incomplete_until.max(now_ms / self.row.window_ms + 1);
    }

    /// When the next window closes; none while nothing is open.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        self.windows.keys().next().map(|window| self.closes_ms(*window))
    }

    /// The next result of a window that is over at `now_ms`.
    pub fn closed(&mut self, now_ms: u64) -> Option<Closed> {
        loop {
            let window = *self.windows.keys().next()?;
            if !self.is_closed(window, now_ms) {
                return None;
            }
            let Some((topic, tally)) = self.windows.get_mut(&window)?.pop_first() else {
                self.windows.remove(&window);
                continue;
            };
            let json = self.result(&topic, window, &tally);
            return Some(Closed { topic, json });
        }
    }

    fn closes_ms(&self, window: u64) -> u64 {
        (window + 1).saturating_mul(self.row.window_ms).saturating_add(self.row.wait_ms)
    }

    fn is_closed(&self, window: u64, now_ms: u64) -> bool {
        self.closes_ms(window) <= now_ms
    }

    /// Finds the numbers that are wanted. Answers the time that counts; none where the message does
    /// not, which is counted.
    fn read(&mut self, payload: &[u8], now_ms: u64) -> Option<u64> {
        self.found.clear();
        let mut path = std::mem::take(&mut self.path);
        let mut time_ms = self.row.time.is_empty().then_some(now_ms);
        let walked = numbers::walk(payload, &mut path, |path, leaf| {
            if !self.row.time.is_empty() && path == self.row.time {
                time_ms = instant_of(leaf);
            } else if let Leaf::Number(number) = leaf
                && let Some(field) = self.field(path)
            {
                self.found.push((field, number));
            }
        });
        self.path = path;
        let counted = if walked.is_err() {
            &mut self.counts.unparsable
        } else if self.found.is_empty() {
            &mut self.counts.without_numbers
        } else if time_ms.is_none() {
            &mut self.counts.without_time
        } else {
            return time_ms;
        };
        *counted += 1;
        None
    }

    /// The number of a path, if it is wanted and there is room for it.
    fn field(&mut self, path: &str) -> Option<u32> {
        if let Some(field) = self.fields.get(path) {
            return Some(*field);
        }
        if !self.row.fields.is_empty() {
            return None;
        }
        if path.len() > PATH_BYTES_MAX {
            self.counts.paths_over += 1;
            return None;
        }
        if self.names.len() >= self.row.fields_max {
            self.counts.fields_over += 1;
            return None;
        }
        let field = self.names.len() as u32;
        self.names.push(path.into());
        self.fields.insert(path.into(), field);
        Some(field)
    }

    fn result(&self, topic: &str, window: u64, tally: &Tally) -> Vec<u8> {
        let from_ms = window * self.row.window_ms;
        let members = tally.numbers.iter().filter_map(|(field, numbers)| {
            let name = self.names.get(*field as usize)?;
            Some((name.to_string(), self.worked_out(numbers)))
        });
        let mut result = serde_json::json!({
            "topic": topic,
            "from_ms": from_ms,
            "to_ms": from_ms + self.row.window_ms,
            "messages": tally.messages,
            "fields": members.collect::<serde_json::Map<_, _>>(),
        });
        if window < self.incomplete_until {
            result["incomplete"] = true.into();
        }
        result.to_string().into_bytes()
    }

    fn worked_out(&self, numbers: &Numbers) -> serde_json::Value {
        let value = |function: Function| -> serde_json::Value {
            match function {
                Function::Min => numbers.min.into(),
                Function::Mean => (numbers.sum / numbers.count as f64).into(),
                Function::Max => numbers.max.into(),
                Function::Last => numbers.last.into(),
                Function::Count => numbers.count.into(),
            }
        };
        let functions = self.row.functions.iter();
        functions.map(|function| (function.word().to_owned(), value(*function))).collect()
    }
}

/// Seconds with or without a fraction, milliseconds, or RFC 3339.
fn instant_of(leaf: Leaf<'_>) -> Option<u64> {
    /// Later than any second of RFC 3339, earlier than any instant of this century in ms.
    const MS_FROM: f64 = 253_402_300_800.0;
    match leaf {
        Leaf::Text(text) => instant::parse_ms(text),
        Leaf::Number(number) if number < 0.0 => None,
        Leaf::Number(ms) if ms >= MS_FROM => Some(ms as u64),
        Leaf::Number(s) => Some((s * 1_000.0).round() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn machine(more: &str) -> Machine {
        let text = format!("name = \"a\"\ntopics = \"#\"\nwindow_ms = 1000\n{more}");
        let row: Row = toml::from_str(&text).unwrap();
        assert_eq!(row.faults(), Vec::<String>::new());
        Machine::new(row)
    }

    fn closed(machine: &mut Machine, now_ms: u64) -> Vec<Value> {
        let results = std::iter::from_fn(|| machine.closed(now_ms));
        results.map(|closed| serde_json::from_slice(&closed.json).unwrap()).collect()
    }

    #[test]
    fn a_window_is_told_once_it_is_over_and_once_only() {
        let mut machine = machine("");
        for (ms, value) in [(5_100, 3), (5_500, 1), (5_999, 2), (6_000, 9)] {
            machine.take("pmu/1", json!({"f": value}).to_string().as_bytes(), ms);
        }
        assert_eq!((closed(&mut machine, 5_999), machine.due_ms()), (Vec::new(), Some(6_000)));
        let fields = json!({"f": {"min": 1.0, "mean": 2.0, "max": 3.0, "last": 2.0, "count": 3}});
        let expected = json!({
            "topic": "pmu/1", "from_ms": 5_000, "to_ms": 6_000, "messages": 3, "fields": fields,
        });
        assert_eq!(closed(&mut machine, 6_000), [expected]);
        assert_eq!(closed(&mut machine, 6_000), Vec::<Value>::new());
        assert_eq!(closed(&mut machine, 7_000)[0]["fields"]["f"]["last"], 9.0);
        assert_eq!((machine.due_ms(), machine.open()), (None, 0));
    }

    #[test]
    fn only_the_fields_and_functions_that_are_named_are_there() {
        let mut machine = machine("fields = [\"p.1.m\"]\nfunctions = [\"max\", \"count\"]");
        let message = json!({"f": 50, "p": [{"m": 1}, {"m": 2}]}).to_string();
        machine.take("a", message.as_bytes(), 0);
        machine.take("a", b"{\"f\":50}", 0);
        let fields = json!({"p.1.m": {"max": 2.0, "count": 1}});
        assert_eq!(closed(&mut machine, 1_000)[0]["fields"], fields);
        assert_eq!(machine.counts().without_numbers, 1);
    }

    #[test]
    fn the_time_of_a_message_may_stand_in_it() {
        let mut machine = machine("time = \"t\"\nwait_ms = 500");
        let mut take = |t: Value, now_ms| {
            machine.take("a", json!({"t": t, "v": 1}).to_string().as_bytes(), now_ms);
        };
        let now_ms = 1_764_439_200_000;
        take(json!("2025-11-29T18:00:00.9Z"), now_ms + 1_400);
        take(json!(now_ms + 100), now_ms + 1_400);
        take(json!(1_764_439_200.5), now_ms + 1_499);
        take(json!(now_ms + 999), now_ms + 1_500);
        take(json!(now_ms + 3_000), now_ms + 1_500);
        take(json!("soon"), now_ms);
        take(json!(null), now_ms);
        let results = closed(&mut machine, now_ms + 1_500);
        assert_eq!((results.len(), &results[0]["messages"]), (1, &json!(3)));
        assert_eq!(results[0]["from_ms"], now_ms);
        let counts = machine.counts();
        assert_eq!((counts.late, counts.early, counts.without_time), (1, 1, 2));
    }

    #[test]
    fn memory_has_a_bound_and_what_is_beyond_is_counted() {
        let mut machine = machine("topics_max = 2\nfields_max = 3");
        for topic in ["a", "b", "c", "d", "a"] {
            machine.take(topic, b"{\"v\":1}", 0);
        }
        let wide: serde_json::Map<String, Value> =
            (0..100).map(|n| (format!("f{n:03}"), json!(n))).collect();
        machine.take("a", Value::from(wide).to_string().as_bytes(), 0);
        machine.take("a", b"nothing", 0);
        assert_eq!(machine.open(), 2);
        let results = closed(&mut machine, 1_000);
        assert_eq!(results[0]["fields"].as_object().unwrap().len(), 3);
        let counts = machine.counts();
        assert_eq!((counts.topics_over, counts.fields_over, counts.unparsable), (2, 98, 1));
    }

    #[test]
    fn a_path_that_is_too_long_is_not_kept() {
        let mut machine = machine("");
        let name = "n".repeat(PATH_BYTES_MAX);
        machine.take("a", json!({&name: 1, format!("{name}n"): 2}).to_string().as_bytes(), 0);
        let results = closed(&mut machine, 1_000);
        let fields = &results[0]["fields"];
        assert_eq!((fields.as_object().unwrap().len(), &fields[&name]["last"]), (1, &json!(1.0)));
        assert_eq!(machine.counts().paths_over, 1);
    }

    #[test]
    fn what_was_lost_on_the_way_is_told_in_the_windows_of_then() {
        let mut machine = machine("");
        machine.take("a", b"[1]", 500);
        machine.lost(900);
        machine.take("a", b"[1]", 1_500);
        let results = closed(&mut machine, 2_000);
        assert_eq!(results[0]["incomplete"], true);
        assert_eq!(results[1]["incomplete"], Value::Null);
    }

    proptest! {
        /// The same as looking at all messages again for each topic, window and path.
        #[test]
        fn results_are_those_of_a_naive_computation(
            messages in proptest::collection::vec(
                (0_u64..700, 0_usize..3, proptest::collection::vec((0_usize..4, -9_i32..9), 0..4)),
                0..120,
            ),
            wait_ms in prop_oneof![Just(0_u64), Just(700)],
        ) {
            let mut machine = machine(&format!("wait_ms = {wait_ms}"));
            let (mut now_ms, mut results, mut came) = (5_000, Vec::new(), Vec::new());
            for (step_ms, topic, numbers) in messages {
                now_ms += step_ms;
                results.extend(closed(&mut machine, now_ms));
                let topic = ["a", "b/1", "b/2"][topic];
                let members = numbers.iter().map(|(f, v)| (format!("f{f}"), json!(v)));
                let members: serde_json::Map<String, Value> = members.collect();
                machine.take(topic, Value::from(members.clone()).to_string().as_bytes(), now_ms);
                if !members.is_empty() {
                    came.push((topic, now_ms / 1_000, members));
                }
            }
            results.extend(closed(&mut machine, u64::MAX));
            let mut groups: Vec<(u64, &str)> =
                came.iter().map(|(topic, window, _)| (*window, *topic)).collect();
            groups.sort_unstable();
            groups.dedup();
            prop_assert_eq!(results.len(), groups.len());
            for ((window, topic), result) in groups.into_iter().zip(&results) {
                let own: Vec<_> = came.iter().filter(|m| (m.0, m.1) == (topic, window)).collect();
                prop_assert_eq!(&result["topic"], topic);
                prop_assert_eq!(&result["from_ms"], window * 1_000);
                prop_assert_eq!(&result["messages"], own.len());
                for f in ["f0", "f1", "f2", "f3"] {
                    let values: Vec<f64> =
                        own.iter().filter_map(|m| m.2.get(f)?.as_f64()).collect();
                    prop_assert_eq!(&result["fields"][f], &naive(&values));
                }
            }
        }
    }

    fn naive(values: &[f64]) -> Value {
        let Some(last) = values.last() else { return Value::Null };
        json!({
            "min": values.iter().copied().fold(f64::INFINITY, f64::min),
            "mean": values.iter().sum::<f64>() / values.len() as f64,
            "max": values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            "last": last,
            "count": values.len(),
        })
    }
}
