//! Questions about the past and their answers: an answer ends, in every format, and has what the
//! shortest definition says, every loss in its place; whoever goes on with `next` gets the rest.
//! Input: what came, a byte each (a message, or so many that were lost), a line break, and the
//! query. Owns no rule of HTTP.
#![no_main]

use std::sync::{Arc, OnceLock};

use gridcast::core::history::answer::{Answer, Clocks, Step};
use gridcast::feed::epoch::{Epoch, Position};
use gridcast::feed::gap::GapReason;
use gridcast::feed::log::interruption::Loss;
use gridcast::feed::log::{Feed, FeedName};
use gridcast::feed::message::Message;
use gridcast::feed::options::LagPolicy;
use gridcast::feed::retention::Retention;
use gridcast::feed::segment::LogBudget;
use gridcast::frame::Kind;
use gridcast::http::history::{LIMIT, Question, Start, Stop};
use gridcast::http::request::Request;
use gridcast::http::response::Exchange;
use gridcast::settings::config::Config;
use gridcast::wire::history::Format;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const EPOCH: Epoch = Epoch(5);
const NOW: Clocks = Clocks { now_ns: 60_000_000_000, unix_ms: 1_764_439_200_000 };
/// More than one slice of an answer.
const STORY_MAX: usize = 700;
/// Below it a byte is a message.
const LOST: u8 = 200;

/// What stands in an answer: a message, what was lost on the way, or what cannot be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Item {
    Message(u64),
    Lost(u64, u64),
    Epoch,
}

fuzz_target!(|data: &[u8]| {
    let Some(end) = data.iter().position(|&byte| byte == b'\n') else { return };
    let (story, query) = (&data[..end.min(STORY_MAX)], &data[end + 1..]);
    let Some(mut question) = question(query) else { return };
    let (feed, items) = told(story);
    let page = answer(&feed, question);
    let Some(expected) = expected(&items, question) else { return };
    let limit = limit(question);
    let (first, rest) = cut(&expected, limit);
    assert_eq!(page.items, first);
    assert_eq!(page.complete, rest.is_empty());
    // The rest of it, page by page.
    let (mut got, mut complete, mut next) = (page.items, page.complete, page.next);
    while !complete {
        question.from = Start::After(next.expect("where to go on").parse().expect("a position"));
        let page = answer(&feed, question);
        assert!(!page.items.is_empty(), "a page with nothing, and it goes on");
        got.extend(page.items);
        (complete, next) = (page.complete, page.next);
    }
    assert_eq!(got, expected);
});

fn question(query: &[u8]) -> Option<Question> {
    let line = [b"GET /v1/history/a?", query, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    let (request, _) = Request::parse(&line, 4096).ok()??;
    Question::of(&request).ok()
}

fn limit(question: Question) -> u64 {
    question.limit.unwrap_or(LIMIT).min(config().history.records_max)
}

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(Config::default)
}

/// A feed to which all that has happened, and what of it an answer may have.
fn told(story: &[u8]) -> (Arc<Feed>, Vec<Item>) {
    let (frames_max, bytes_max, age_ns_max) = (u64::MAX, 1 << 20, None);
    let retention = Retention { frames_max, bytes_max, age_ns_max, lag: LagPolicy::Disconnect };
    let name = FeedName { target: "a".parse().expect("a topic"), rate: None };
    let budget = Arc::new(LogBudget::new(1 << 30));
    let feed = Arc::new(Feed::new(name, (EPOCH, 1), retention, &budget, 0));
    let (mut items, mut last) = (Vec::new(), 0);
    for &byte in story {
        let frames = u64::from(byte.saturating_sub(LOST)) + 1;
        if byte < LOST {
            let message = Message::of_client(Kind::Text, b"1");
            feed.publish(message, NOW.now_ns).expect("there is room");
            items.push(Item::Message(last + 1));
        } else {
            feed.tell(Loss::of(frames, GapReason::Relay), NOW.now_ns);
            items.push(Item::Lost(last + 1, last + frames));
        }
        last += frames;
    }
    (feed, items)
}

/// The shortest definition; none where times bound the answer: these are not exact.
fn expected(items: &[Item], question: Question) -> Option<Vec<Item>> {
    let ends = |item: &Item| match *item {
        Item::Message(at) | Item::Lost(_, at) => at,
        Item::Epoch => 0,
    };
    let begins = |item: &Item| if let Item::Lost(from, _) = *item { from } else { ends(item) };
    let last = items.last().map_or(0, ends);
    let (start, is_foreign) = match question.from {
        Start::Oldest => (0, false),
        Start::After(Position { epoch: EPOCH, seq }) if seq <= last => (seq, false),
        Start::After(_) => (0, true),
        Start::At(_) => return None,
    };
    let stop = match question.to {
        Stop::Newest => u64::MAX,
        Stop::With(Position { epoch: EPOCH, seq }) => seq,
        Stop::With(Position { epoch, .. }) if epoch.0 < EPOCH.0 => 0,
        Stop::With(_) => u64::MAX,
        Stop::At(_) => return None,
    };
    let within = items.iter().filter(|item| ends(item) > start && begins(item) <= stop);
    Some(is_foreign.then_some(Item::Epoch).into_iter().chain(within.copied()).collect())
}

/// As many messages as an answer may have, and what is left.
fn cut(items: &[Item], messages_max: u64) -> (&[Item], &[Item]) {
    let mut messages = 0;
    let full = items.iter().position(|item| {
        messages += u64::from(matches!(item, Item::Message(_)));
        messages == messages_max
    });
    items.split_at(full.map_or(items.len(), |at| at + 1))
}

struct Page {
    items: Vec<Item>,
    complete: bool,
    next: Option<String>,
}

fn answer(feed: &Arc<Feed>, question: Question) -> Page {
    let asked = (feed.target().clone(), Some(Arc::clone(feed)));
    let mut answer = Answer::new(asked, question, &config().history, Exchange::default());
    let (mut body, mut steps) = (Vec::new(), 0);
    loop {
        let mut slice = Vec::new();
        let step = answer.step(&mut slice, NOW, |_| false);
        body.extend_from_slice(&slice);
        match step {
            Step::Done => break,
            Step::More => steps += 1,
            Step::Ask(_) | Step::Wait => panic!("there is no store"),
        }
        assert!(steps <= STORY_MAX, "an answer without an end");
    }
    read(&body, question.format)
}

fn read(body: &[u8], format: Format) -> Page {
    let mut items = match format {
        Format::Ndjson => {
            let lines = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
            lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect()
        }
        Format::Json => whole(body),
        Format::Binary => records(body),
    };
    let end = items.pop().expect("an end")["end"].take();
    let items: Vec<Item> = items.iter().map(item).collect();
    let messages = items.iter().filter(|item| matches!(item, Item::Message(_))).count();
    assert_eq!(end["records"], messages);
    let next = end["next"].as_str().map(str::to_owned);
    Page { items, complete: end["complete"].as_bool().expect("whether it is complete"), next }
}

fn whole(body: &[u8]) -> Vec<Value> {
    let mut whole: Value = serde_json::from_slice(body).expect("JSON");
    let mut items = whole["records"].as_array().expect("records").clone();
    items.push(whole.take());
    items
}

/// Of a message only its position is read.
fn records(mut body: &[u8]) -> Vec<Value> {
    let mut items = Vec::new();
    while let Some((length, rest)) = body.split_first_chunk::<4>() {
        let (record, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        items.push(match record {
            [2, notice @ ..] => serde_json::from_slice(notice).expect("JSON"),
            [_, message @ ..] => {
                let (_, message) = varint(message);
                let (_, message) = varint(message);
                serde_json::json!({ "seq": varint(message).0 })
            }
            [] => panic!("an empty record"),
        });
        body = rest;
    }
    assert!(body.is_empty(), "half a record");
    items
}

fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let length = bytes.iter().position(|byte| byte & 0x80 == 0).expect("an end") + 1;
    let (number, rest) = bytes.split_at(length);
    (number.iter().rev().fold(0, |sum, byte| sum << 7 | u64::from(byte & 0x7f)), rest)
}

fn item(value: &Value) -> Item {
    let number = |value: &Value| value.as_u64().expect("a number");
    match value.get("gap") {
        None => Item::Message(number(&value["seq"])),
        Some(gap) if gap["reason"] == "epoch" => Item::Epoch,
        Some(gap) => Item::Lost(number(&gap["from"]), number(&gap["to"])),
    }
}
