//! What becomes of a frame: it is counted, published as it is, and decoded for viewers. Owns the
//! topics, and the buffers that are used again. Must not know sockets.

use std::collections::HashMap;
use std::sync::Arc;

use gridcast::feed::topic::Topic;
use gridcast::frame::Kind;
use prometheus_client::metrics::counter::Counter;

use super::bad_input::BadInput;
use super::command::header_text;
use super::configuration::station::Station;
use super::data::{Measurement, blocks};
use super::frame::{Frame, FrameKind};
use super::json::{self, Place};
use super::settings::Settings;
use super::stream::Cut;
use super::streams::{Known, Peer, Streams, Taken};
use super::told::Told;
use crate::bridge::context::Context;

/// See the file header.
#[derive(Debug)]
pub struct Intake {
    stream: String,
    has_json: bool,
    streams: Streams,
    /// By name, as it is before it is mapped.
    topics: HashMap<(u16, Leaf), Topic>,
    frames: HashMap<FrameKind, Counter>,
    measurement: Measurement,
    message: Vec<u8>,
    told: Told<FrameKind>,
}

/// What is published of an IDCODE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Leaf {
    Frames,
    Configuration,
    Json,
}

/// What a frame was, for whoever speaks with the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// A configuration that can be used, or that will be.
    pub is_configuration: bool,
    /// Data that asks for another configuration, or for one at all.
    pub is_outdated: bool,
}

impl Intake {
    /// Nothing yet.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self {
            stream: settings.stream.clone(),
            has_json: settings.has_json,
            streams: Streams::new(settings.ids.clone(), settings.configuration.kind()),
            topics: HashMap::new(),
            frames: HashMap::new(),
            measurement: Measurement::default(),
            message: Vec::new(),
            told: Told::default(),
        }
    }

    /// Takes what came next from a peer.
    pub async fn take(
        &mut self,
        context: &mut Context,
        peer: Peer,
        cut: Cut<'_>,
        now_ns: u64,
    ) -> Heard {
        let taken = match cut {
            Cut::Bad(reason) => Err(reason),
            Cut::Frame(frame) => {
                self.count(context, frame.kind);
                self.take_frame(context, peer, &frame, now_ns).await
            }
        };
        taken.unwrap_or_else(|reason| {
            context.counters().error(reason.word());
            let is_outdated = matches!(reason, BadInput::Mismatch | BadInput::NoConfiguration);
            Heard { is_configuration: false, is_outdated }
        })
    }

    /// Forgets what a connection sent, when it has ended.
    pub fn release(&mut self, peer: Peer) {
        self.streams.release(peer);
    }

    fn count(&mut self, context: &Context, kind: FrameKind) {
        let new = || context.counters().frames(kind.word());
        self.frames.entry(kind).or_insert_with(new).inc();
    }

    async fn take_frame(
        &mut self,
        context: &mut Context,
        peer: Peer,
        frame: &Frame<'_>,
        now_ns: u64,
    ) -> Result<Heard, BadInput> {
        match self.streams.take(peer, frame, now_ns)? {
            Taken::Data { known, is_told, asks, missing } => {
                if is_told {
                    self.publish_configuration(context, frame.id, &known).await;
                }
                if missing > 0 {
                    context.counters().dropped("missing", missing);
                }
                self.publish_data(context, frame, &known).await?;
                Ok(Heard { is_configuration: false, is_outdated: asks })
            }
            Taken::Configuration(known) => {
                self.publish_configuration(context, frame.id, &known).await;
                Ok(Heard { is_configuration: true, is_outdated: false })
            }
            Taken::Later => Ok(Heard { is_configuration: true, is_outdated: false }),
            Taken::Part => Ok(Heard::default()),
            Taken::Other => {
                self.tell(context, frame, now_ns);
                Ok(Heard::default())
            }
        }
    }

    async fn publish_configuration(&mut self, context: &mut Context, id: u16, known: &Arc<Known>) {
        self.publish(context, id, Leaf::Configuration, &known.frames).await;
    }

    async fn publish_data(
        &mut self,
        context: &mut Context,
        frame: &Frame<'_>,
        known: &Known,
    ) -> Result<(), BadInput> {
        self.publish(context, frame.id, Leaf::Frames, frame.bytes).await;
        if !self.has_json {
            return Ok(());
        }
        let configuration = &known.configuration;
        let utc_ns = frame.stamp.utc_ns(configuration.time_base).ok_or(BadInput::Time)?;
        for (station, block) in blocks(configuration, frame)? {
            self.decode(frame, utc_ns, (station, block))?;
            let message = std::mem::take(&mut self.message);
            let id = if configuration.stations.len() == 1 { frame.id } else { station.id };
            self.publish_as(context, (id, Leaf::Json), Kind::Text, &message).await;
            self.message = message;
        }
        Ok(())
    }

    /// Decodes the data of a PMU into `self.message`.
    fn decode(
        &mut self,
        frame: &Frame<'_>,
        utc_ns: u64,
        (station, block): (&Station, &[u8]),
    ) -> Result<(), BadInput> {
        self.measurement.read(station, block)?;
        let place = Place { stream: &self.stream, station, utc_ns, stamp: frame.stamp };
        json::write(&mut self.message, place, &self.measurement).map_err(|_| BadInput::Mismatch)
    }

    async fn publish(&mut self, context: &mut Context, id: u16, leaf: Leaf, payload: &[u8]) {
        self.publish_as(context, (id, leaf), Kind::Binary, payload).await;
    }

    async fn publish_as(
        &mut self,
        context: &mut Context,
        (id, leaf): (u16, Leaf),
        kind: Kind,
        payload: &[u8],
    ) {
        if let Some(topic) = self.topic(context, id, leaf) {
            // What the engine refuses is counted there, and the next frame may be taken.
            let _ = context.publish(topic, kind, payload).await;
        }
    }

    /// The topic of something of an IDCODE. None where `map_in` makes no topic of it.
    fn topic(&mut self, context: &Context, id: u16, leaf: Leaf) -> Option<&Topic> {
        if !self.topics.contains_key(&(id, leaf)) {
            let end = match leaf {
                Leaf::Frames => "",
                Leaf::Configuration => "/cfg",
                Leaf::Json => "/json",
            };
            match context.map_in(&format!("pmu/{}/{id}{end}", self.stream)) {
                Ok(topic) => drop(self.topics.insert((id, leaf), topic)),
                Err(_) => context.counters().error("topic"),
            }
        }
        self.topics.get(&(id, leaf))
    }

    /// Says in the log what a device says of itself, now and then.
    fn tell(&mut self, context: &Context, frame: &Frame<'_>, now_ns: u64) {
        let (bridge, id) = (&context.common().name, frame.id);
        if frame.kind == FrameKind::Refusal2024 {
            context.counters().error("refusal");
        }
        let Some(left_out) = self.told.tell(frame.kind, now_ns) else { return };
        match frame.kind {
            FrameKind::Header => {
                tracing::info!(bridge, id, left_out, header = %header_text(frame), "a device");
            }
            FrameKind::Refusal2024 => {
                tracing::warn!(bridge, id, left_out, "a device refused a command");
            }
            _ => {}
        }
    }
}
