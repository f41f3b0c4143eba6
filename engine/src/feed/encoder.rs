//! Encoding: what a frame of each kind of lane looks like. Owns the bytes of one frame, from
//! message to wire. Must not know segments, sockets or clocks, and keeps nothing but
//! scratch memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::feed::epoch::Position;
use crate::feed::gap::Gap;
use crate::feed::kind::{Deflation, Form, LaneKind};
use crate::feed::message::{Message, Origin, Place, Stamp};
use crate::feed::prepared::Prepared;
use crate::feed::topic::Target;
use crate::frame::{Kind, Opcode, encode};
use crate::wire::chunked;
use crate::wire::deflate;
use crate::wire::envelope;
use crate::wire::export;
use crate::wire::gap;
use crate::wire::sse;

impl LaneKind {
    /// How a message of these bytes is deflated here, if it is.
    fn deflation_of(self, message: &[u8]) -> Option<Deflation> {
        self.deflate.filter(|deflation| message.len() >= deflation.bytes_min as usize)
    }

    /// Length of the frame that begins `bytes`, which holds at least its header. An announcement
    /// and the message it announces are one frame.
    pub fn frame_len(self, bytes: &[u8]) -> u64 {
        let len = match self.form {
            Form::Raw | Form::Json => encode::frame_len(bytes),
            Form::Sse => chunked::chunk_len(bytes),
            Form::Binary => announced_len(bytes),
            Form::Export => export::frame_len(bytes),
        };
        debug_assert!(len.is_some(), "a lane holds only whole frames");
        // A frame without a length would stall a walk; one byte keeps it moving in release builds.
        len.unwrap_or(1).max(1)
    }

    /// The notice that tells a subscriber of `target` about `gap`.
    ///
    /// A raw socket carries only payloads, so the notice is the application data of a ping
    /// (RFC 6455 section 5.5.2): it adds no message and every client answers it.
    pub fn gap_notice(self, target: &Target, gap: Gap) -> Vec<u8> {
        match self.form {
            Form::Raw => encode::control(Opcode::Ping, &gap::notice(None, gap)).to_vec(),
            Form::Sse => {
                let mut event = Vec::new();
                sse::gap(&mut event, gap);
                event
            }
            Form::Json | Form::Binary => text_frame(&gap::notice(Some(target), gap)),
            Form::Export => export::notice(gap),
        }
    }
}

/// A whole frame around a message that only one connection gets.
pub fn message_frame(deflate: Option<Deflation>, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(LaneKind { form: Form::Raw, deflate });
    encoder.payload_frame(&mut Prepared::new(Message::of_client(kind, payload))).concat()
}

/// A whole text frame around a reply or notice.
pub fn text_frame(text: &[u8]) -> Vec<u8> {
    let mut frame = encode::header(Opcode::Text, text.len() as u64).to_vec();
    frame.extend_from_slice(text);
    frame
}

/// Only announcements and notices of gaps are text frames where messages are binary.
fn announced_len(bytes: &[u8]) -> Option<u64> {
    let len = encode::frame_len(bytes)?;
    if bytes.first()? & 0x0F != Opcode::Text as u8 || is_notice(bytes) {
        return Some(len);
    }
    Some(len + encode::frame_len(bytes.get(usize::try_from(len).ok()?..)?)?)
}

/// Whether a text frame tells of a gap: it stands alone.
fn is_notice(frame: &[u8]) -> bool {
    encode::message(frame).is_some_and(|(_, text)| gap::is_notice(text))
}

/// The last frame that announced a topic; 0 while none did. It is stored before that frame is
/// published, so whoever sees the frame sees this.
#[derive(Debug, Default)]
pub struct Announcing(AtomicU64);

impl Announcing {
    /// The number of that frame.
    pub fn last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Takes in that frame `ordinal` announced one as well.
    pub fn note(&self, ordinal: u64) {
        self.0.fetch_max(ordinal, Ordering::AcqRel);
    }
}

/// Makes frames of one lane.
#[derive(Debug)]
pub struct Encoder {
    kind: LaneKind,
    /// Topics of a pattern that subscribers were told the number of.
    announced: BTreeMap<u64, Announced>,
    frame: Vec<u8>,
    envelope: Vec<u8>,
    deflated: Vec<u8>,
    announcing: Arc<Announcing>,
}

#[derive(Debug)]
struct Announced {
    origin: Arc<Origin>,
    /// The frame that did it.
    ordinal: u64,
    is_gone: bool,
}

impl Encoder {
    /// For lanes of `kind`.
    pub fn new(kind: LaneKind) -> Self {
        Self {
            kind,
            announced: BTreeMap::new(),
            frame: Vec::new(),
            envelope: Vec::new(),
            deflated: Vec::new(),
            announcing: Arc::default(),
        }
    }

    /// What it encodes to.
    pub fn kind(&self) -> LaneKind {
        self.kind
    }

    /// Topics announced in the frames `ordinals`.
    pub fn announced_in(&self, ordinals: Range<u64>) -> Vec<Arc<Origin>> {
        let announced = self.announced.values();
        let within = announced.filter(|announced| ordinals.contains(&announced.ordinal));
        within.map(|announced| Arc::clone(&announced.origin)).collect()
    }

    /// Notes that a topic is no more; should it come back, it is announced with a new number.
    pub fn leave(&mut self, number: u64) {
        if let Some(announced) = self.announced.get_mut(&number) {
            announced.is_gone = true;
        }
    }

    /// True when topics are announced that are no more.
    pub fn has_gone(&self) -> bool {
        self.announced.values().any(|announced| announced.is_gone)
    }

    /// Forgets those of them that have no number in `retained`.
    pub fn forget_gone(&mut self, retained: &BTreeSet<u64>) {
        self.announced.retain(|number, announced| !announced.is_gone || retained.contains(number));
    }

    /// When a topic was announced last, for readers.
    pub fn announcing(&self) -> Arc<Announcing> {
        Arc::clone(&self.announcing)
    }

    /// The frame of `message`, as the parts that follow one another.
    pub fn encode<'a>(
        &'a mut self,
        place: Place<'_>,
        message: &'a mut Prepared<'_>,
    ) -> [&'a [u8]; 2] {
        let Message { kind, payload, .. } = message.message();
        let Place { epoch, seq, origin, .. } = place;
        self.frame.clear();
        self.envelope.clear();
        match self.kind.form {
            Form::Raw => self.payload_frame(message),
            Form::Sse => {
                sse::event(&mut self.frame, epoch, seq, kind, payload);
                [&self.frame, &[]]
            }
            Form::Json => {
                let is_json = message.is_json();
                envelope::json(&mut self.envelope, origin, seq, message.message(), is_json);
                self.envelope_frame(Kind::Text, message)
            }
            Form::Export => {
                let position = Position { epoch, seq };
                let stamp = message.stamp(Stamp { position, published_ns: 0 });
                export::head(&mut self.frame, origin, stamp, message.message());
                [&self.frame, payload]
            }
            Form::Binary => {
                self.announce(place);
                envelope::binary(&mut self.envelope, origin.number, seq, message.message());
                self.envelope_frame(Kind::Binary, message)
            }
        }
    }

    /// A topic of a pattern has a number that its subscriber cannot know yet.
    fn announce(&mut self, place: Place<'_>) {
        let Place { origin, ordinal, .. } = place;
        if origin.pattern.is_some() && !self.announced.contains_key(&origin.number) {
            let announced = Announced { origin: Arc::clone(origin), ordinal, is_gone: false };
            self.announced.insert(origin.number, announced);
            self.announcing.0.store(ordinal, Ordering::Release);
            self.frame.extend(announcement(origin));
        }
    }

    /// A WebSocket frame around the payload, which is not copied. Deflated it is the same wherever
    /// the message goes.
    fn payload_frame<'a>(&'a mut self, message: &'a mut Prepared<'_>) -> [&'a [u8]; 2] {
        let Message { kind, payload, .. } = message.message();
        let deflated = match self.kind.deflation_of(payload) {
            Some(Deflation { window_bits, level, .. }) => message.deflated(window_bits, level),
            None => payload,
        };
        data_frame(&mut self.frame, kind, payload, deflated)
    }

    /// A WebSocket frame around the envelope, behind what `self.frame` holds already.
    fn envelope_frame<'a>(&'a mut self, kind: Kind, message: &mut Prepared<'_>) -> [&'a [u8]; 2] {
        let deflated = match self.kind.deflation_of(&self.envelope) {
            Some(Deflation { window_bits, level, .. }) => {
                self.deflated.clear();
                deflate::message(&mut self.deflated, window_bits, level, &self.envelope);
                message.count_deflate();
                &self.deflated
            }
            None => &self.envelope,
        };
        data_frame(&mut self.frame, kind, &self.envelope, deflated)
    }

    /// Bytes of scratch memory held.
    pub fn scratch_bytes(&self) -> usize {
        self.frame.capacity() + self.envelope.capacity() + self.deflated.capacity()
    }

    /// Gives the scratch memory back.
    pub fn release_scratch(&mut self) {
        self.frame = Vec::new();
        self.envelope = Vec::new();
        self.deflated = Vec::new();
    }
}

/// The frame that tells which number stands for a topic.
pub fn announcement(origin: &Origin) -> Vec<u8> {
    text_frame(&envelope::announcement(origin))
}

/// Appends the header to `frame`; what does not shrink is sent as it is.
fn data_frame<'a>(
    frame: &'a mut Vec<u8>,
    kind: Kind,
    plain: &'a [u8],
    deflated: &'a [u8],
) -> [&'a [u8]; 2] {
    if deflated.len() < plain.len() {
        frame.extend(encode::deflated_header(kind.into(), deflated.len() as u64));
        return [frame, deflated];
    }
    frame.extend(encode::header(kind.into(), plain.len() as u64));
    [frame, plain]
}
