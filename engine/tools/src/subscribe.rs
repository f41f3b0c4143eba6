//! `gridcast sub`: prints what is published. Owns the forms of a line. Must not know connections.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gridcast_client::{
    Client, Clock, Error, Item, Message, Mode, Overflow, State, SubscribeOptions, SystemClock,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::args::SubArgs;
use crate::output::{self, Failure, harmless};
use crate::{interrupt, server};

/// Follows until it is told to stop.
///
/// # Errors
/// Why it cannot.
pub fn run(args: &SubArgs) -> Result<ExitCode, Failure> {
    let options = options(args)?;
    let runtime = server::runtime()?;
    let mut interrupted = interrupt::first()?;
    let entered = runtime.enter();
    let client = Client::start(args.server.options().on_state(tell))?;
    drop(entered);
    let mut items = client.subscribe(&args.pattern, options)?;
    let is_pretty = io::stdout().is_terminal() && !args.json;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut left = args.count;
    let code = loop {
        let next = async {
            tokio::select! {
                item = items.next() => Some(item),
                _ = &mut interrupted => None,
            }
        };
        let Some(item) = runtime.block_on(next) else { break interrupt::code() };
        let item = item.unwrap_or(Err(Error::Closed))?;
        let is_last = items.queued() == 0;
        if is_pretty {
            pretty(&mut out, &item, is_last)?;
        } else {
            output::line(&mut out, &object(&item), is_last)?;
        }
        left = left.map(|left| left - u64::from(matches!(item, Item::Message(_))));
        if left == Some(0) {
            break ExitCode::SUCCESS;
        }
    };
    out.flush()?;
    drop(items);
    runtime.block_on(client.close());
    Ok(code)
}

fn options(args: &SubArgs) -> Result<SubscribeOptions, Failure> {
    let mode = if args.newest { Mode::Latest } else { Mode::Lossless };
    // A pipe that is read slowly loses nothing while the server keeps it.
    let overflow = if args.newest { Overflow::Drop } else { Overflow::Pause };
    let options = SubscribeOptions::new().start(args.from.parse()?).mode(mode).overflow(overflow);
    Ok(args.rate.map_or(options.clone(), |rate| options.rate(rate)))
}

fn tell(state: &State) {
    if let State::Waiting { reason, delay } = state {
        eprintln!("gridcast: {reason}: again in {:.1} s", delay.as_secs_f64());
    }
}

/// A line for a person; notices must not be taken for messages.
fn pretty(out: &mut impl Write, item: &Item, is_last: bool) -> Result<(), Failure> {
    match item {
        Item::Message(message) => {
            let time = humantime::format_rfc3339_millis(UNIX_EPOCH + now()).to_string();
            let time = time.get(11..23).unwrap_or_default();
            let (topic, text) = (harmless(&message.topic), harmless(&shown(message)));
            let line = format!("\x1b[2m{time}\x1b[0m \x1b[36m{topic}\x1b[0m {text}");
            output::line(out, &line, is_last)
        }
        notice => {
            let line = format!("\x1b[33m{}\x1b[0m", harmless(&words(notice)));
            output::line(out, &line, is_last)
        }
    }
}

fn now() -> Duration {
    SystemClock::default().wall()
}

fn shown(message: &Message) -> String {
    let bytes = &message.payload;
    message.text().map_or_else(|| format!("{} bytes {}", bytes.len(), hex(bytes)), str::to_owned)
}

/// The first bytes, for a person.
fn hex(bytes: &[u8]) -> String {
    let first = bytes.iter().take(32).map(|byte| format!("{byte:02x}"));
    let more = if bytes.len() > 32 { " …" } else { "" };
    first.collect::<Vec<_>>().join(" ") + more
}

fn words(notice: &Item) -> String {
    match notice {
        Item::Gap(gap) => {
            let frames = gap.frames.map_or("some".to_owned(), |frames| frames.to_string());
            format!("{}: {frames} messages are missing: {}", gap.topic, gap.reason)
        }
        Item::Resumed(resumed) => format!("{}: goes on behind {}", resumed.topic, resumed.position),
        Item::Restarted(restarted) => {
            let (topic, epoch) = (&restarted.topic, &restarted.epoch);
            format!("{topic}: began anew, in epoch {epoch}")
        }
        Item::Message(message) => shown(message),
    }
}

/// A JSON object for a program, as `/v1/history` has it.
fn object(item: &Item) -> String {
    match item {
        Item::Message(message) => message_object(message),
        Item::Gap(gap) => {
            let mut told = json!({
                "topic": *gap.topic, "epoch": *gap.epoch, "from": gap.from, "to": gap.to,
                "reason": gap.reason.as_str(),
            });
            if let Some(frames) = gap.frames {
                told["frames"] = frames.into();
            }
            json!({ "gap": told }).to_string()
        }
        Item::Resumed(resumed) => {
            let position = resumed.position.to_string();
            json!({"resumed": {"topic": *resumed.topic, "position": position}}).to_string()
        }
        Item::Restarted(restarted) => {
            let (before, epoch) = (&*restarted.epoch_before, &*restarted.epoch);
            let told = json!({"topic": *restarted.topic, "epoch_before": before, "epoch": epoch});
            json!({ "restarted": told }).to_string()
        }
    }
}

fn message_object(message: &Message) -> String {
    let (topic, position) = (Value::from(&*message.topic), message.position.to_string());
    let head = format!(r#"{{"topic":{topic},"position":"{position}","#);
    let Some(text) = message.text() else {
        return format!(r#"{head}"data64":"{}"}}"#, STANDARD.encode(&message.payload));
    };
    // A line has no other line in it.
    match serde_json::from_str::<&RawValue>(text).ok().filter(|raw| !raw.get().contains('\n')) {
        Some(raw) => format!(r#"{head}"data":{}}}"#, raw.get()),
        None => format!(r#"{head}"data":{},"text":true}}"#, Value::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gridcast_client::Position;

    fn message(payload: &[u8], is_text: bool) -> Item {
        let position = Position { epoch: "k1".into(), seq: 7 };
        let (topic, payload) = ("a\"b".into(), payload.to_vec().into());
        Item::Message(Message { topic, pattern: None, position, payload, is_text })
    }

    #[test]
    fn a_line_is_one_object_whatever_was_published() {
        for (item, expected) in [
            (message(b"{\"v\": 1}", true), r#""data":{"v": 1}"#),
            (message(b"plain", true), r#""data":"plain","text":true"#),
            (message(b"{\n}", true), r#""data":"{\n}","text":true"#),
            (message(&[0, 255], false), r#""data64":"AP8=""#),
        ] {
            let line = object(&item);
            assert_eq!(line, format!(r#"{{"topic":"a\"b","position":"k1-7",{expected}}}"#));
            assert!(!line.contains('\n') && serde_json::from_str::<Value>(&line).is_ok());
        }
    }

    #[test]
    fn a_message_cannot_command_a_terminal() {
        let mut out = Vec::new();
        pretty(&mut out, &message(b"\x1b]0;owned\x07\x1b[2J", true), true).unwrap();
        let line = String::from_utf8(out).unwrap();
        assert!(!line.contains("\x1b]") && !line.contains("\x1b[2J") && !line.contains('\x07'));
    }
}
