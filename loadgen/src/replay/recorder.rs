//! `gridload record`: subscribes to a server and writes the received C37.118 frames to a packet
//! capture, with the instants of their arrival. Must not measure, and must not know packets.

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use mio::{Events, Interest, Poll, Token};
use rustc_hash::FxHashMap;
use thiserror::Error;

use crate::cli::flags::record::RecordArgs;
use crate::cli::session;
use crate::cli::session::SessionError;
use crate::codec::envelope::Notice;
use crate::codec::form::Form;
use crate::codec::handshake::Offer;
use crate::codec::incoming::ServerEvent;
use crate::codec::wire::{Gap, MASK, Message, Opcode};
use crate::codec::{envelope, handshake, wire};
use crate::drive::connection::Connection;
use crate::drive::{dial, link};
use crate::judge::exit::Exit;
use crate::judge::interrupt::watch_signals;
use crate::observe::progress::Progress;
use crate::os::output::{note, say};
use crate::os::socket;
use crate::os::tls::{TlsClient, TlsError};
use crate::replay::framing;
use crate::replay::framing::Cut;
use crate::replay::packets::{FRAME_BYTES_MAX, PacketWriter, Sender};
use crate::scenario::limits::PUBLISHERS_MAX;
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::draw::mix;
use crate::time::units::{SECOND_NS, format_bytes, format_exact};

/// Why there is no recording, or only a part.
#[derive(Debug, Error)]
pub enum RecorderError {
    /// The server's name or the root certificates are invalid.
    #[error(transparent)]
    Target(#[from] SessionError),
    /// Connections cannot be encrypted.
    #[error("encryption: {0}")]
    Tls(#[from] TlsError),
    /// The server did not accept the recorder, or refused a topic.
    #[error("{authority}: {reason}")]
    Refused {
        /// The server.
        authority: String,
        /// The reason.
        reason: String,
    },
    /// The file cannot be written.
    #[error("--pcap {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The reason.
        cause: io::Error,
    },
    /// Another error of the operating system.
    #[error("{0}: {1}")]
    System(&'static str, io::Error),
    /// The server closed the connection too early.
    #[error("the connection ended early ({0}); what came before is in the file")]
    Ended(String),
}

impl RecorderError {
    /// The exit code for this error.
    pub fn exit(&self) -> Exit {
        match self {
            RecorderError::Target(error) => error.exit(),
            RecorderError::Tls(_) | RecorderError::File { .. } => Exit::Usage,
            RecorderError::Refused { .. } | RecorderError::System(..) | RecorderError::Ended(_) => {
                Exit::Internal
            }
        }
    }
}

/// Records until the time is over or the user interrupts.
///
/// # Errors
/// When nothing could be recorded, or the server closed the connection.
pub fn run(args: &RecordArgs) -> Result<Exit, RecorderError> {
    let progress = Arc::new(Progress::default());
    let interrupt = watch_signals(&progress)
        .map_err(|error| RecorderError::System("watching for signals", error))?;
    let mut subscription = Subscription::open(args, &progress)?;
    let failed = |cause| RecorderError::File { path: args.pcap.clone(), cause };
    let out = BufWriter::new(File::create(&args.pcap).map_err(failed)?);
    let mut recorder = FrameRecorder::new(PacketWriter::new(out).map_err(failed)?);
    note(format_args!("recording to {}; Ctrl-C ends it in order", args.pcap.display()));
    let bar = bar(args.seconds);
    let until_ns = mono_ns() + args.seconds * SECOND_NS;
    let mut ended = Ok(());
    while mono_ns() < until_ns && !progress.is_stopped() && recorder.failure.is_none() {
        ended = subscription.receive(&mut |message, at_ns| recorder.take(message, at_ns));
        bar.set_position(args.seconds - until_ns.saturating_sub(mono_ns()) / SECOND_NS);
        bar.set_message(format!("{} frames", format_exact(recorder.frames)));
        if ended.is_err() {
            break;
        }
    }
    bar.finish_and_clear();
    subscription.connection.send_close();
    interrupt.finish();
    let summary = recorder.summary();
    recorder.finish().map_err(failed)?;
    say(format_args!("{summary} in {}", args.pcap.display()));
    subscription.report_gaps();
    ended.map(|()| Exit::Ok).map_err(RecorderError::Ended)
}

fn bar(seconds: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos} of {len} s, {msg}");
    // If the template is wrong, the library's default bar is shown.
    ProgressBar::new(seconds).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// The subscription: one multiplexed WebSocket.
struct Subscription {
    connection: Connection,
    poll: Poll,
    buffer: Vec<u8>,
    /// Whether unread bytes may be left from the last turn.
    is_behind: bool,
    /// Topics and patterns that the server has not confirmed yet.
    awaited: usize,
    reported: ReportedGaps,
    utc: UtcMap,
}

impl Subscription {
    /// Connects and subscribes, and waits until the server has confirmed everything.
    fn open(args: &RecordArgs, progress: &Progress) -> Result<Subscription, RecorderError> {
        let authority = &args.target.authority;
        let refused = |reason| RecorderError::Refused { authority: authority.clone(), reason };
        let connection = connect(args)?;
        let poll = Poll::new().map_err(|error| RecorderError::System("polling", error))?;
        let (buffer, utc) = (vec![0; 2 * MESSAGE_BYTES_MAX], UtcMap::sample());
        let awaited = args.topic.len();
        let (is_behind, reported) = (false, ReportedGaps::default());
        let mut subscription =
            Subscription { connection, poll, buffer, is_behind, awaited, reported, utc };
        subscription.subscribe(&args.topic).map_err(|error| refused(error.to_string()))?;
        let until_ns = mono_ns() + CONFIRM_NS_MAX;
        while subscription.awaited > 0 {
            subscription.receive(&mut |_, _| ()).map_err(refused)?;
            if mono_ns() > until_ns || progress.is_stopped() {
                return Err(refused("the subscription was not confirmed".to_owned()));
            }
        }
        Ok(subscription)
    }

    fn subscribe(&mut self, topics: &[String]) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let socket = self.connection.link.socket_mut();
        self.poll.registry().register(socket, Token(0), interest)?;
        let mut requests = Vec::new();
        for (id, topic) in topics.iter().enumerate() {
            let topic = serde_json::Value::from(topic.as_str());
            let text = format!(r#"{{"id":{id},"subscribe":{{"topic":{topic}}}}}"#);
            wire::encode(Opcode::Text, text.as_bytes(), MASK, &mut requests);
        }
        self.connection.send(&requests)
    }

    /// Waits for data and passes on the binary messages, each with the instant of reading, ns since
    /// the Unix epoch. `Err`: why the connection is over.
    fn receive(&mut self, take: &mut dyn FnMut(Message<'_>, u64)) -> Result<(), String> {
        let mut events = Events::with_capacity(4);
        let pause = if self.is_behind { Duration::ZERO } else { PAUSE };
        socket::poll_interruptible(&mut self.poll, &mut events, pause)
            .map_err(|error| error.to_string())?;
        self.connection.flush();
        self.is_behind = false;
        for _ in 0..READS_PER_TURN {
            let Subscription { connection, buffer, awaited, reported, utc, .. } = self;
            let Some(filled) = connection.fill(buffer, usize::MAX)? else { return Ok(()) };
            let at_unix_ns = utc.unix_of_mono(mono_ns());
            let bytes = buffer.get(..filled.total).unwrap_or_default();
            let (mut pongs, mut refusal) = (Vec::new(), None);
            connection.scan(bytes, MESSAGE_BYTES_MAX, &mut pongs, |event| match event {
                ServerEvent::Gap(gap) => reported.add(gap),
                ServerEvent::Message(message) if !message.is_text => take(message, at_unix_ns),
                ServerEvent::Message(message) => match envelope::read_text(message.bytes) {
                    Ok(Notice::Subscribed { .. }) => *awaited = awaited.saturating_sub(1),
                    Ok(Notice::Gap(gap)) => reported.add(gap),
                    Ok(Notice::Refused(code)) => refusal = Some(format!("refused: {code}")),
                    _ => {}
                },
            })?;
            if !pongs.is_empty() {
                connection.send(&pongs).map_err(|error| link::failure(&error))?;
            }
            refusal.map_or(Ok(()), Err)?;
        }
        self.is_behind = true;
        Ok(())
    }

    fn report_gaps(&self) {
        let [gaps, frames] = [self.reported.gaps, self.reported.frames].map(format_exact);
        if self.reported.gaps > 0 {
            say(format_args!(
                "gaps that the server reported: {gaps}; frames missing in them, as far as it \
                 counted: {frames}"
            ));
        }
    }
}

/// The gaps that the server reported, and the frames in them as far as it counted.
#[derive(Default)]
struct ReportedGaps {
    gaps: u64,
    frames: u64,
}

impl ReportedGaps {
    fn add(&mut self, gap: Gap) {
        self.gaps += 1;
        self.frames = self.frames.saturating_add(gap.frames.unwrap_or(0));
    }
}

fn connect(args: &RecordArgs) -> Result<Connection, RecorderError> {
    let authority = &args.target.authority;
    let address = session::address_of(authority)?;
    let trust = || session::trust(args.tls_ca.as_deref(), args.tls_insecure);
    let plan = args.target.tls.then(trust).transpose()?;
    let plan = plan.map(|trust| session::tls_of(authority, trust));
    let client = plan.as_ref().map(TlsClient::new).transpose()?;
    let nonce = mix(mono_ns(), 0, 0);
    let offer = Offer {
        path: "/v1/ws",
        host: authority,
        key: Some(&handshake::key(u128::from(nonce))),
        protocol: Form::Bin.subprotocol(),
        token: args.token.as_deref(),
        ..Offer::default()
    };
    let refused = |reason| RecorderError::Refused { authority: authority.clone(), reason };
    dial::upgrade(address, client.as_ref(), &offer).map_err(refused)
}

/// Counts of written and omitted frames.
struct FrameRecorder<W: io::Write> {
    writer: PacketWriter<W>,
    frames: u64,
    streams: FxHashMap<(u64, u16), Sender>,
    /// The number of feeds per IDCODE.
    ranks: FxHashMap<u16, u8>,
    others: u64,
    other_bytes: u64,
    /// Frames too long for a packet, or of a stream without a free address.
    unfit: u64,
    failure: Option<io::Error>,
}

impl<W: io::Write> FrameRecorder<W> {
    fn new(writer: PacketWriter<W>) -> FrameRecorder<W> {
        let (streams, ranks) = (FxHashMap::default(), FxHashMap::default());
        let (frames, others, other_bytes, unfit) = (0, 0, 0, 0);
        let failure = None;
        FrameRecorder { writer, frames, streams, ranks, others, other_bytes, unfit, failure }
    }

    fn take(&mut self, message: Message<'_>, at_unix_ns: u64) {
        let parts = envelope::read_binary(message.bytes);
        let frame = parts.ok().and_then(|(feed, _, payload)| match framing::first(payload) {
            Cut::Frame(frame) if frame.bytes.len() == payload.len() => Some((feed, frame)),
            _ => None,
        });
        let Some((feed, frame)) = frame else {
            self.others += 1;
            self.other_bytes += message.bytes.len() as u64;
            return;
        };
        let fits = frame.bytes.len() <= FRAME_BYTES_MAX;
        let sender = self.sender(feed, frame.envelope.id).filter(|_| fits);
        let Some(sender) = sender else {
            self.unfit += 1;
            return;
        };
        match self.writer.write(sender, at_unix_ns, frame.bytes) {
            Ok(()) => self.frames += 1,
            Err(error) => self.failure = Some(error),
        }
    }

    /// Feeds with the same IDCODE get different addresses.
    fn sender(&mut self, feed: u64, id: u16) -> Option<Sender> {
        if let Some(sender) = self.streams.get(&(feed, id)) {
            return Some(*sender);
        }
        let next = self.ranks.entry(id).or_default();
        let sender = Sender { id, rank: *next };
        if *next > Sender::RANK_MAX || self.streams.len() as u64 == PUBLISHERS_MAX {
            return None;
        }
        *next += 1;
        self.streams.insert((feed, id), sender);
        Some(sender)
    }

    fn summary(&self) -> String {
        let [frames, streams] = [self.frames, self.streams.len() as u64].map(format_exact);
        let mut summary = format!("{frames} frames of {streams} streams");
        if self.others > 0 {
            summary.push_str(&format!(
                " (without {} messages of {} that are no C37.118 frame)",
                format_exact(self.others),
                format_bytes(self.other_bytes as f64),
            ));
        }
        if self.unfit > 0 {
            let count = format_exact(self.unfit);
            summary.push_str(&format!(
                " (without {count} frames too long for a packet or of too many streams)"
            ));
        }
        summary
    }

    fn finish(self) -> io::Result<()> {
        self.failure.map_or(Ok(()), Err)?;
        self.writer.finish()
    }
}

/// The default message limit of a gridcast server, plus its envelope.
const MESSAGE_BYTES_MAX: usize = 2 << 20;
/// The longest wait before the clock and the stop request are checked.
const READS_PER_TURN: usize = 64;
const PAUSE: Duration = Duration::from_millis(50);
const CONFIRM_NS_MAX: u64 = 10 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::data_frame;
    use crate::replay::recording::Recording;

    #[test]
    fn frames_are_written_by_topic_and_the_rest_is_counted() {
        let mut out = Vec::new();
        let mut recorder = FrameRecorder::new(PacketWriter::new(&mut out).unwrap());
        let mut take = |feed: u8, payload: &[u8]| {
            let bytes = [&[feed, 1, 0][..], payload].concat();
            let message = Message { bytes: &bytes, is_text: false, is_deflated: false };
            recorder.take(message, u64::from(feed));
        };
        let frame = data_frame(7, 5, 0, 1);
        take(1, &frame);
        take(2, &frame);
        take(2, &data_frame(7, 5, 1, 1));
        take(3, b"{}");
        take(3, &[&frame[..], &frame].concat());
        let summary =
            "3 frames of 2 streams (without 2 messages of 56 B that are no C37.118 frame)";
        assert_eq!(recorder.summary(), summary);
        recorder.finish().unwrap();
        let recording = Recording::read(&out[..]).unwrap();
        let lengths: Vec<_> = recording.streams().iter().map(|s| (s.id, s.track.len())).collect();
        assert_eq!(lengths, [(7, 1), (7, 2)]);
    }
}
