//! `gridcast pub`: publishes what a command line, a file or the standard input has. Must not know
//! connections.

use std::io::{self, BufRead, Read};
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use gridcast_client::{Client, Error, Payload, PublishOptions, Published};
use tokio::sync::mpsc::{Receiver, channel};

use crate::args::PubArgs;
use crate::output::{self, Failure};
use crate::{interrupt, server};

/// Messages that wait for a reply at once.
const IN_FLIGHT: usize = 256;
/// The longest line or file that is read: more than a server takes.
const BYTES_MAX: u64 = 64 << 20;

/// Publishes all.
///
/// # Errors
/// Why something is not published.
pub fn run(args: &PubArgs) -> Result<ExitCode, Failure> {
    let mut payloads = payloads(args)?;
    let runtime = server::runtime()?;
    let interrupted = interrupt::first()?;
    let entered = runtime.enter();
    let client = Client::start(args.server.options())?;
    drop(entered);
    runtime.block_on(async {
        let done = tokio::select! {
            done = publish(&client, args, &mut payloads) => done.map(|()| ExitCode::SUCCESS),
            _ = interrupted => Ok(interrupt::code()),
        };
        client.close().await;
        done
    })
}

async fn publish(
    client: &Client,
    args: &PubArgs,
    payloads: &mut Receiver<io::Result<Payload>>,
) -> Result<(), Failure> {
    let mut under_way = FuturesOrdered::new();
    let mut out = io::stdout().lock();
    let mut are_more = true;
    let mut tell = |published: Result<Published, Error>, is_last: bool| {
        let Published { position, subscribers } = published?;
        match args.quiet {
            true => Ok(()),
            false => output::line(&mut out, &format!("{position}\t{subscribers}"), is_last),
        }
    };
    loop {
        tokio::select! {
            biased;
            Some(published) = under_way.next() => tell(published, under_way.is_empty())?,
            payload = payloads.recv(), if are_more && under_way.len() < IN_FLIGHT => match payload {
                Some(payload) => {
                    let options = PublishOptions { retry: args.retry, timeout: None };
                    under_way.push_back(client.publish_with(&args.topic, payload?, options));
                }
                None => are_more = false,
            },
            else => return Ok(()),
        }
    }
}

/// What is to be published, as it comes.
fn payloads(args: &PubArgs) -> Result<Receiver<io::Result<Payload>>, Failure> {
    let (sending, payloads) = channel(IN_FLIGHT);
    if let Some(path) = &args.file {
        let bytes = read(path);
        let bytes = bytes.map_err(|e| Failure::Usage(format!("{}: {e}", path.display())))?;
        // There is room: it is the first.
        let _ = sending.try_send(Ok(of(bytes)));
        return Ok(payloads);
    }
    let texts = args.texts.clone();
    thread::spawn(move || {
        if !texts.is_empty() {
            texts.into_iter().try_for_each(|text| sending.blocking_send(Ok(text.into())).ok());
            return;
        }
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input).transpose() {
            if sending.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Ok(payloads)
}

/// A line without its end; none at the end of the input.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Payload>> {
    let mut line = Vec::new();
    if input.by_ref().take(BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.ends_with(b"\n") {
        line.pop();
        line.pop_if(|last| *last == b'\r');
    } else if line.len() as u64 == BYTES_MAX {
        return Err(io::Error::other(format!("a line of more than {BYTES_MAX} bytes")));
    }
    Ok(Some(of(line)))
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match path.to_str() {
        Some("-") => io::stdin().lock().take(BYTES_MAX + 1).read_to_end(&mut bytes)?,
        _ => std::fs::File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?,
    };
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("more than {BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

/// Text where it is UTF-8.
fn of(bytes: Vec<u8>) -> Payload {
    String::from_utf8(bytes).map_or_else(|error| error.into_bytes().into(), Payload::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_published_without_their_ends_and_a_last_one_without_any() {
        let mut input = &b"a\nb\r\n\n\xFF\nlast"[..];
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lines.push(line);
        }
        let expected = ["a", "b", ""].map(Payload::from).into_iter();
        let expected: Vec<_> = expected.chain([vec![0xFF].into(), "last".into()]).collect();
        assert_eq!(lines, expected);
    }
}
