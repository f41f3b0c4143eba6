//! One connection to a NATS server: greeting, subscriptions, then messages both ways until it is
//! lost. Owns when a batch counts as sent: after a PING behind it was answered. Must not keep
//! anything that a later connection needs.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bridge::context::Context;
use crate::bridge::dial::{Address, Stream};
use crate::bridge::link::Link;
use crate::bridge::supervisor::SessionError;
use crate::nats::kept::Kept;
use crate::nats::wire::{self, Info, Line, Malformed};
use crate::nats::{subjects, who};

/// How long a server may take to greet and to answer a greeting.
const ANSWER: Duration = Duration::from_secs(10);
/// A server that said nothing for so long is asked whether it is there.
const ASK: Duration = Duration::from_secs(10);
/// A server that said nothing for so many of these is gone.
const SILENT_MAX: u32 = 3;

/// See the file header.
pub struct Session<'a> {
    kept: &'a mut Kept,
    context: &'a mut Context,
    link: Link,
    info: Info,
    /// Of each question that is not answered yet: whether it ends the batch.
    questions: VecDeque<bool>,
    /// The batch is on its way.
    is_sent: bool,
    silent: u32,
}

impl<'a> Session<'a> {
    /// Connects, and asks for all that is to come in.
    pub async fn open(kept: &'a mut Kept, context: &'a mut Context) -> Result<Self, SessionError> {
        let address = kept.next_address();
        let ca_file = context.common().credentials.ca_file.clone();
        let (stream, info) = timeout(ANSWER, greet(&address)).await.map_err(|_| silent())??;
        let stream: Box<dyn Stream> = if address.is_tls {
            address.encrypt(stream, ca_file.as_deref()).await?
        } else if info.tls_required {
            let message = "the server wants TLS: the URL begins with tls://";
            return Err(SessionError::new("tls", message));
        } else {
            Box::new(stream)
        };
        let link = Link::new(stream);
        let questions = VecDeque::new();
        let mut session = Self { kept, context, link, info, questions, is_sent: false, silent: 0 };
        session.introduce()?;
        timeout(ANSWER, session.await_answer()).await.map_err(|_| silent())??;
        session.kept.absence.end(session.context);
        session.context.is_up();
        Ok(session)
    }

    /// Moves messages; ends only by an error.
    pub async fn run(mut self) -> Result<(), SessionError> {
        let mut asks = interval(ASK);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(line) = self.line()? {
                self.take(&line).await?;
            }
            self.send();
            let may_gather = self.kept.batch.is_empty();
            tokio::select! {
                read = self.link.exchange(true) => if read? { self.silent = 0 },
                out = self.context.next_out(), if may_gather => {
                    self.kept.batch.gather(out, self.context, subject);
                }
                _ = asks.tick() => self.ask()?,
            }
        }
    }

    fn introduce(&mut self) -> Result<(), SessionError> {
        let common = self.context.common();
        let options = who::options(common, &self.kept.settings, &self.info)?;
        let out = &mut self.link.output;
        wire::connect(out, &options);
        let group = self.kept.settings.queue_group.as_deref();
        for (number, subject) in (1..).zip(&common.inputs) {
            wire::subscribe(out, subject, group, number);
        }
        wire::ping(out);
        self.questions.push_back(false);
        Ok(())
    }

    /// Waits until the greeting and the subscriptions were answered.
    async fn await_answer(&mut self) -> Result<(), SessionError> {
        while !self.questions.is_empty() {
            match self.line()? {
                Some(line) => self.take(&line).await?,
                None => drop(self.link.exchange(true).await?),
            }
        }
        Ok(())
    }

    /// The next line that has come whole; one that begins a message only with its payload behind
    /// it.
    fn line(&mut self) -> Result<Option<Bytes>, SessionError> {
        let Some(mut length) = wire::length(self.link.input()).map_err(broken)? else {
            return Ok(None);
        };
        let head = self.link.input().get(..length).unwrap_or_default();
        if let Line::Message { bytes, .. } = wire::line(head).map_err(broken)? {
            length += bytes + wire::END_BYTES;
        }
        Ok(self.link.take(length))
    }

    /// Acts on a line.
    async fn take(&mut self, bytes: &Bytes) -> Result<(), SessionError> {
        let head = wire::length(bytes).map_err(broken)?.unwrap_or_default();
        let (head, rest) = bytes.split_at_checked(head).unwrap_or_default();
        match wire::line(head).map_err(broken)? {
            Line::Message { subject, .. } => {
                let payload = wire::payload(rest).map_err(broken)?;
                self.publish(subject, payload).await?;
            }
            Line::Ping => wire::pong(&mut self.link.output),
            Line::Pong => self.answered(),
            Line::Error(words) => self.refused(words)?,
            Line::Info(_) | Line::Ok => {}
        }
        Ok(())
    }

    /// Publishes a message. The server waits meanwhile: nothing is read.
    async fn publish(&mut self, subject: &str, payload: &[u8]) -> Result<(), SessionError> {
        let name = subjects::name(subject);
        let topic = name.and_then(|name| self.context.map_in(&name).ok());
        let Some(topic) = topic else {
            self.context.counters().dropped("topic", 1);
            return Ok(());
        };
        let kind = self.kept.settings.payload.kind(payload);
        let Self { context, link, .. } = self;
        let published = {
            let publishing = context.publish(&topic, kind, payload);
            tokio::pin!(publishing);
            loop {
                tokio::select! {
                    biased;
                    published = &mut publishing => break published,
                    written = link.write() => written?,
                }
            }
        };
        if published.is_err() {
            // The engine refuses it for good; it has counted why.
            self.context.counters().dropped("refused", 1);
        }
        Ok(())
    }

    /// Sends the batch, and asks whether it has arrived.
    fn send(&mut self) {
        if self.is_sent || self.kept.batch.is_empty() {
            return;
        }
        let max = usize::try_from(self.info.max_payload).unwrap_or(usize::MAX);
        let too_long = self.kept.batch.retain(|message| message.payload.len() <= max);
        self.context.counters().dropped("too_long", too_long);
        for message in self.kept.batch.messages() {
            wire::publish(&mut self.link.output, &message.name, &message.payload);
        }
        wire::ping(&mut self.link.output);
        self.questions.push_back(true);
        self.is_sent = true;
    }

    fn answered(&mut self) {
        if self.questions.pop_front() == Some(true) {
            self.kept.batch.confirm(self.context, |_| false);
            self.is_sent = false;
        }
    }

    fn ask(&mut self) -> Result<(), SessionError> {
        self.silent += 1;
        if self.silent > SILENT_MAX {
            return Err(silent());
        }
        wire::ping(&mut self.link.output);
        self.questions.push_back(false);
        Ok(())
    }

    /// What the server refuses: one message, or everything.
    fn refused(&mut self, words: &str) -> Result<(), SessionError> {
        let lower = words.to_ascii_lowercase();
        if lower.starts_with("permissions violation for publish") {
            // It was counted as sent or will be, as NATS does not say which message it was.
            self.context.counters().dropped("refused", 1);
            return Ok(());
        }
        let is_denied = lower.contains("authoriz") || lower.contains("authentic");
        let reason = match () {
            () if is_denied => "credentials",
            () if lower.starts_with("permissions violation") => "refused",
            () => "closed",
        };
        Err(SessionError::new(reason, format!("the server refuses: {words}")))
    }
}

/// Where a message goes.
fn subject(name: &str) -> Result<String, &'static str> {
    subjects::subject(name).ok_or("name")
}

/// Connects, and reads what the server says first, before any encryption.
async fn greet(address: &Address) -> Result<(TcpStream, Info), SessionError> {
    let mut stream = address.connect().await?;
    let mut greeting = Vec::new();
    let length = loop {
        let lost = |error| SessionError::new("closed", format!("the connection was lost: {error}"));
        if stream.read_buf(&mut greeting).await.map_err(lost)? == 0 {
            return Err(SessionError::new("closed", "the server closed the connection"));
        }
        if let Some(length) = wire::length(&greeting).map_err(broken)? {
            break length;
        }
    };
    match wire::line(greeting.get(..length).unwrap_or_default()).map_err(broken)? {
        Line::Info(json) if length == greeting.len() => {
            let info = serde_json::from_str(json);
            Ok((stream, info.map_err(|error| SessionError::new("protocol", error))?))
        }
        Line::Error(words) => Err(SessionError::new("refused", format!("the server: {words}"))),
        _ => Err(SessionError::new("protocol", "the server does not begin with INFO alone")),
    }
}

fn broken(error: Malformed) -> SessionError {
    SessionError::new("protocol", format!("the server's bytes are not those of NATS: {error}"))
}

fn silent() -> SessionError {
    SessionError::new("silent", "the server says nothing any more")
}
