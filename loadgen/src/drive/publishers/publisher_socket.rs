//! One publisher's socket: its connection, the next frame, and the bytes that wait because it is
//! full. Writes whole frames in order, and handles pings and a close. Must not know when frames
//! are due, nor other sockets.

use std::collections::VecDeque;

use crate::codec::dialect::broker::{Broker, ReadResult};
use crate::codec::dialect::protocol::TextPayload;
use crate::codec::dialect::publish_encoder::{EncodedFrame, PublishEncoder};
use crate::codec::memo::Memo;
use crate::codec::wire;
use crate::codec::wire::Opcode;
use crate::drive::connection::Connection;
use crate::drive::link;
use crate::drive::publishers::connect::Connected;
use crate::drive::run_state::RunState;
use crate::plan::encoder::Encoder;
use crate::receive::outcome::PublisherOutcome;
use crate::receive::stamp::PublisherIndex;
use crate::time::draw::mix;

/// Buffers that the sockets of a thread share for reading.
pub(super) struct Inbox {
    buffer: Vec<u8>,
    texts: Memo<TextPayload>,
    message_bytes_max: usize,
}

/// One publisher.
pub(super) struct PublisherSocket {
    pub(super) publisher: u32,
    /// `None` once it closed early.
    pub(super) connection: Option<Connection>,
    encoder: Encoder,
    /// The protocol state, if the server is a broker.
    broker: Option<(Broker, PublishEncoder)>,
    /// The number of frames of the whole run, counted in send order and not by tick.
    pub(super) frames: u32,
    pub(super) next_seq: u32,
    period_ns: u64,
    pub(super) measured_from: u32,
    /// The next frame, masked and ready to send.
    frame: Vec<u8>,
    /// Bytes the socket has not accepted yet.
    pending: VecDeque<u8>,
    /// The frames among them: the remaining bytes of each, and the instant it was due.
    pending_frames: VecDeque<(usize, u64)>,
    pub(super) written: u32,
    mask: u64,
}

impl Inbox {
    pub(super) fn new(message_bytes_max: usize) -> Inbox {
        let buffer = vec![0; INBOX_BYTES.max(message_bytes_max * 2)];
        Inbox { buffer, texts: Memo::of_texts(0), message_bytes_max }
    }
}

impl PublisherSocket {
    pub(super) fn new(
        run_state: &RunState<'_>,
        publisher_index: &PublisherIndex,
        connected: Connected,
    ) -> PublisherSocket {
        let Connected { publisher, connection, broker } = connected;
        let plan = &run_state.plan.publishers[publisher as usize];
        let departures = publisher_index.departures(publisher);
        let schedule = *departures.schedule();
        let mut socket = PublisherSocket {
            publisher,
            connection: Some(connection),
            encoder: Encoder::new(run_state.plan.run_id, run_state.plan.seed, plan, schedule),
            broker: broker.zip(PublishEncoder::new(&run_state.plan.dialect, &plan.topic)),
            frames: departures.count(),
            next_seq: 0,
            period_ns: plan.rate.period_ns(),
            measured_from: departures.measured_from(),
            frame: Vec::new(),
            pending: VecDeque::new(),
            pending_frames: VecDeque::new(),
            written: 0,
            mask: mix(run_state.plan.seed, u64::from(plan.id), 0),
        };
        socket.encode(publisher_index);
        socket
    }

    /// Encodes the next frame, if there is one.
    pub(super) fn encode(&mut self, publisher_index: &PublisherIndex) {
        if self.next_seq >= self.frames {
            return;
        }
        self.mask = self.mask.wrapping_mul(MASK_STEP).wrapping_add(1);
        let mask = ((self.mask >> 32) as u32).to_be_bytes();
        let is_text = self.encoder.is_text();
        let opcode = if is_text { Opcode::Text } else { Opcode::Binary };
        let payload =
            self.encoder.encode_departure(publisher_index.frame(self.publisher, self.next_seq));
        self.frame.clear();
        match &mut self.broker {
            None => wire::encode(opcode, payload, mask, &mut self.frame),
            Some((_, publish_encoder)) => {
                publish_encoder.put(EncodedFrame { payload, is_text }, mask, &mut self.frame)
            }
        }
    }

    /// Writes the ready frame, or queues it after the bytes that wait already. Returns how many
    /// frames were completed.
    pub(super) fn queue_or_write(
        &mut self,
        due_ns: u64,
        now_ns: u64,
        outcome: &mut PublisherOutcome,
    ) -> Result<u32, String> {
        let late_from_ns = due_ns + self.period_ns;
        let written = if self.pending.is_empty() { self.write_frame()? } else { 0 };
        if written == self.frame.len() {
            outcome.late += u64::from(now_ns > late_from_ns);
            return Ok(1);
        }
        let left = self.frame.get(written..).unwrap_or_default();
        self.pending.extend(left);
        self.pending_frames.push_back((left.len(), late_from_ns));
        Ok(0)
    }

    /// Whether so much waits that the server cannot be reading.
    pub(super) fn is_stuck(&self) -> bool {
        self.pending.len() > PENDING_BYTES_MAX
    }

    /// Whether frames wait for the socket and may still be accepted.
    pub(super) fn is_under_way(&self) -> bool {
        self.connection.is_some() && !self.pending.is_empty()
    }

    fn write_frame(&mut self) -> Result<usize, String> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        write(connection, &self.frame)
    }

    /// Writes the waiting bytes, as far as the socket accepts them. Returns how many frames were
    /// completed.
    pub(super) fn write_pending(
        &mut self,
        now_ns: u64,
        outcome: &mut PublisherOutcome,
    ) -> Result<u32, String> {
        let mut completed = 0;
        if let Some(connection) = &mut self.connection {
            connection.flush();
        }
        while let (Some(connection), false) = (&mut self.connection, self.pending.is_empty()) {
            let (front, _) = self.pending.as_slices();
            let written = write(connection, front)?;
            if written == 0 {
                break;
            }
            self.pending.drain(..written);
            completed += self.complete(written, now_ns, outcome);
        }
        Ok(completed)
    }

    fn complete(&mut self, mut bytes: usize, now_ns: u64, outcome: &mut PublisherOutcome) -> u32 {
        let mut frames = 0;
        while let Some((left, late_from_ns)) = self.pending_frames.front_mut() {
            if *left > bytes {
                *left -= bytes;
                break;
            }
            bytes -= *left;
            // Control frames wait in the same queue; they have no due instant.
            let is_frame = *late_from_ns != CONTROL;
            frames += u32::from(is_frame);
            outcome.late += u64::from(is_frame && now_ns > *late_from_ns);
            self.pending_frames.pop_front();
        }
        frames
    }

    /// Reads from the server: pings are answered, a close ends the socket, and messages are ignored
    /// unless the server is a broker.
    pub(super) fn read(&mut self, inbox: &mut Inbox, now_ns: u64) -> Result<(), String> {
        let Inbox { buffer, texts, message_bytes_max } = inbox;
        let message_bytes_max = *message_bytes_max;
        while let Some(connection) = &mut self.connection {
            let Some(filled) = connection.fill(buffer, usize::MAX)? else { return Ok(()) };
            let bytes = buffer.get(..filled.total).unwrap_or_default();
            let mut pongs = Vec::new();
            match &mut self.broker {
                None => connection.scan(bytes, message_bytes_max, &mut pongs, |_| ())?,
                Some((broker, _)) => {
                    let inflater = &mut None;
                    let read_result =
                        ReadResult { bytes, message_bytes_max, now_ns, texts, inflater };
                    broker.on_bytes(connection.scanner(), read_result, &mut pongs, |_| ())?;
                }
            }
            self.queue_control(&pongs);
        }
        Ok(())
    }

    /// Sends what the protocol demands of a silent client, and ends the socket if the server was
    /// silent too long.
    pub(super) fn check_timers(&mut self, _inbox: &mut Inbox, now_ns: u64) -> Result<(), String> {
        let (Some((broker, _)), Some(_)) = (&mut self.broker, &self.connection) else {
            return Ok(());
        };
        let mut out = Vec::new();
        broker.check_timers(now_ns, &mut out)?;
        self.queue_control(&out);
        Ok(())
    }

    /// Control frames are queued after the waiting frames, never inside one.
    fn queue_control(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() && self.pending.len() < PENDING_BYTES_MAX {
            self.pending.extend(bytes);
            self.pending_frames.push_back((bytes.len(), CONTROL));
        }
    }

    /// Closes the connection in order, unless an incomplete frame waits.
    pub(super) fn send_close(&mut self) {
        if let (Some(connection), true) = (&mut self.connection, self.pending.is_empty()) {
            connection.send_close();
        }
    }
}

/// The number of bytes the socket accepted; `Err`: why the connection is over.
fn write(connection: &mut Connection, bytes: &[u8]) -> Result<usize, String> {
    connection.write_some(bytes).map_err(|error| link::failure(&error))
}

const MASK_STEP: u64 = 0x5851_F42D_4C95_7F2D;
const INBOX_BYTES: usize = 128 * 1024;
/// If more bytes than this wait, the server does not read, and the socket is ended.
const PENDING_BYTES_MAX: usize = 16 << 20;
/// Stands in place of an instant for bytes that are not a frame.
const CONTROL: u64 = u64::MAX;
