//! The bytes of a batch: which node made it, where it stands in the node's own order, and its
//! frames. Owns the format. Must not know how a batch travels, or what becomes of its frames.
//!
//! All numbers are little-endian. A batch is a head and then its entries:
//!
//! ```text
//! magic 4 | boot 8 | number 8 | previous 8 | previous place 8 | missed 8 | epoch 8
//!         | made at, ms 8 | shards 2 | note 1 | asked 8 | node 1+n | entries 2
//! entry:  flags 1 | topic 1+n | counter 8 | payload 4+n
//! ```

use bytes::Bytes;
use gridcast::frame::Kind;
use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// Most entries of a batch: a position has so many places for each message of a log.
pub const FRAMES_MAX: usize = 4096;
/// A batch takes no further frame beyond this many bytes. One frame alone may be longer.
pub const BATCH_BYTES_MAX: usize = 256 << 10;
/// The longest name of a node, bytes.
pub const NODE_BYTES_MAX: usize = 64;
/// The highest number of a batch, and of a frame in its topic: nine years at a million a second. A
/// higher one is damage, and would take the positions of a topic with it.
pub const NUMBER_MAX: u64 = 1 << 48;

/// Which batch it is: the life of a node in one shard, and how many batches that had before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchId {
    /// Random, new with every start of a node.
    pub boot: u64,
    /// 1 is the first.
    pub number: u64,
}

/// What a batch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// It carries frames, or nothing: then it says that the node is there.
    Frames,
    /// It asks a boot how many frames of each topic it has published.
    Ask {
        /// The boot that is asked.
        boot: u64,
    },
    /// It answers that.
    Counters {
        /// Whether the answer is complete with this batch.
        is_last: bool,
    },
}

/// The head of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Which batch it is.
    pub id: BatchId,
    /// The hash of the batch before it; 0 for the first.
    pub previous: u64,
    /// Where the log has that; 0 for the first, and in a relay.
    pub previous_at: u64,
    /// Frames that the node lost before it could send them, and of which it does not know the
    /// topics: so many in all its life.
    pub missed: u64,
    /// The epoch of the log that the node knew; 0 in a relay.
    pub epoch: u64,
    /// When it was made, ms of UTC.
    pub made_ms: u64,
    /// How many shards the node takes its domain to have.
    pub shards: u16,
    /// What it is for.
    pub note: Note,
}

/// One entry of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Text or binary.
    pub kind: Kind,
    /// Whether it came in by a bridge of its node: then no bridge of another takes it out again.
    pub is_bridged: bool,
    /// How many frames of this topic the node has published, this one included.
    pub counter: u64,
    /// What was published; nothing in an answer to [`Note::Ask`].
    pub payload: &'a [u8],
}

/// Why bytes are no batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// They do not begin as one.
    #[error("no batch of gridcast, or one of another version")]
    Magic,
    /// They end too early.
    #[error("the batch ends at byte {0}, before it is complete")]
    Short(usize),
    /// There are bytes after the last entry.
    #[error("{0} bytes follow the last entry of the batch")]
    Trailing(usize),
    /// It says to be for something that this version does not know.
    #[error("note {0} is unknown to this version")]
    Note(u8),
    /// It has more entries than a batch may.
    #[error("{0} entries: a batch has at most {FRAMES_MAX}")]
    TooManyFrames(u16),
    /// The name of the node is too long.
    #[error("the name of a node has at most {NODE_BYTES_MAX} bytes, this one has {0}")]
    NodeTooLong(u8),
    /// The name of a node, a topic or a text message is no UTF-8.
    #[error("the text at byte {0} is no UTF-8")]
    Text(usize),
    /// A batch is numbered 0, or something has a number that no node reaches.
    #[error("number {0}: batches are numbered 1 to {NUMBER_MAX}, frames 0 to {NUMBER_MAX}")]
    Number(u64),
    /// An entry has flags that this version does not know.
    #[error("flags {0:#x} are unknown to this version")]
    Flags(u8),
}

impl BatchError {
    /// The word for the metrics.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Magic => "magic",
            Self::Short(_) => "short",
            Self::Trailing(_) => "trailing",
            Self::Note(_) => "note",
            Self::TooManyFrames(_) => "frames",
            Self::NodeTooLong(_) => "node",
            Self::Text(_) => "text",
            Self::Number(_) => "number",
            Self::Flags(_) => "flags",
        }
    }
}

/// A batch whose bytes were checked.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    head: Head,
    node_end: usize,
    entries: usize,
}

impl Batch {
    /// Checks `bytes`, and keeps them: nothing is copied or allocated.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn decode(bytes: Bytes) -> Result<Self, BatchError> {
        let mut reader = Reader { bytes: &bytes, at: 0 };
        let head = reader.head()?;
        let node_bytes = reader.byte()?;
        if usize::from(node_bytes) > NODE_BYTES_MAX {
            return Err(BatchError::NodeTooLong(node_bytes));
        }
        reader.text(node_bytes.into())?;
        let node_end = reader.at;
        let count = u16::from_le_bytes(reader.array()?);
        if usize::from(count) > FRAMES_MAX {
            return Err(BatchError::TooManyFrames(count));
        }
        for _ in 0..count {
            reader.frame()?;
        }
        match bytes.len() - reader.at {
            0 => Ok(Self { head, node_end, entries: count.into(), bytes }),
            rest => Err(BatchError::Trailing(rest)),
        }
    }

    /// Its head.
    #[must_use]
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The name of the node that made it.
    #[must_use]
    pub fn node(&self) -> &str {
        str::from_utf8(&self.bytes[NODE_AT + 1..self.node_end]).unwrap_or_default()
    }

    /// Its hash, which the next batch of its node repeats.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.bytes)
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Its size.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Some of its bytes, such as a payload, without a copy.
    #[must_use]
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.bytes.slice_ref(part)
    }

    /// Its entries in their order.
    pub fn frames(&self) -> impl Iterator<Item = Frame<'_>> {
        let mut reader = Reader { bytes: &self.bytes, at: self.node_end + COUNT_BYTES };
        // They were read once when the batch was decoded, so none fails here.
        (0..self.entries).map_while(move |_| reader.frame().ok())
    }
}

/// A batch in the making.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    entries: u16,
    entries_at: usize,
}

impl Builder {
    /// An empty batch of a node, whose name is cut to what a batch has room for.
    #[must_use]
    pub fn new(node: &str) -> Self {
        let end = node.floor_char_boundary(NODE_BYTES_MAX);
        let mut bytes = vec![0; NODE_AT];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        // At most NODE_BYTES_MAX.
        bytes.push(end as u8);
        bytes.extend_from_slice(&node.as_bytes()[..end]);
        let entries_at = bytes.len();
        bytes.extend_from_slice(&[0; COUNT_BYTES]);
        Self { bytes, entries: 0, entries_at }
    }

    /// Whether nothing was put in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// How many entries it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.into()
    }

    /// Its size so far.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether an entry of `topic` and `payload` bytes has room: the first always has.
    #[must_use]
    pub fn has_room(&self, topic: usize, payload: usize) -> bool {
        let longer = self.bytes.len() + ENTRY_BYTES + topic + payload;
        self.is_empty() || self.len() < FRAMES_MAX && longer <= BATCH_BYTES_MAX
    }

    /// Puts a frame at the end. The caller has asked [`has_room`](Self::has_room).
    pub fn push(&mut self, frame: &Frame<'_>) {
        debug_assert!(self.has_room(frame.topic.len(), frame.payload.len()));
        let is_binary = frame.kind == Kind::Binary;
        let flags =
            (u8::from(is_binary) * FLAG_BINARY) | (u8::from(frame.is_bridged) * FLAG_BRIDGED);
        // A topic has at most 255 bytes, and a message of the engine fits 32 bits.
        self.bytes.extend_from_slice(&[flags, frame.topic.len() as u8]);
        self.bytes.extend_from_slice(frame.topic.as_bytes());
        self.bytes.extend_from_slice(&frame.counter.to_le_bytes());
        self.bytes.extend_from_slice(&(frame.payload.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(frame.payload);
        self.entries += 1;
    }

    /// The bytes of the batch, and an empty one of the same node.
    pub fn seal(&mut self, head: &Head) -> Bytes {
        let (note, asked) = match head.note {
            Note::Frames => (NOTE_FRAMES, 0),
            Note::Ask { boot } => (NOTE_ASK, boot),
            Note::Counters { is_last: false } => (NOTE_COUNTERS, 0),
            Note::Counters { is_last: true } => (NOTE_LAST_COUNTERS, 0),
        };
        let Head { id, previous, previous_at, missed, epoch, made_ms, .. } = *head;
        let numbers = [id.boot, id.number, previous, previous_at, missed, epoch, made_ms];
        for (i, number) in numbers.iter().enumerate() {
            put(&mut self.bytes, MAGIC.len() + 8 * i, &number.to_le_bytes());
        }
        put(&mut self.bytes, SHARDS_AT, &head.shards.to_le_bytes());
        put(&mut self.bytes, NOTE_AT, &[note]);
        put(&mut self.bytes, NOTE_AT + 1, &asked.to_le_bytes());
        put(&mut self.bytes, self.entries_at, &self.entries.to_le_bytes());
        let start = self.bytes[..self.entries_at + COUNT_BYTES].to_vec();
        self.entries = 0;
        Bytes::from(std::mem::replace(&mut self.bytes, start))
    }

    /// Throws away what was put in.
    pub fn clear(&mut self) {
        self.bytes.truncate(self.entries_at + COUNT_BYTES);
        self.entries = 0;
    }
}

/// Overwrites some of what [`Builder::new`] left room for.
fn put(bytes: &mut [u8], at: usize, with: &[u8]) {
    bytes[at..at + with.len()].copy_from_slice(with);
}

/// The hash of a sealed batch.
#[must_use]
pub fn hash(bytes: &[u8]) -> u64 {
    xxh3_64(bytes)
}

/// Reads what somebody else wrote.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], BatchError> {
        let end = self.at.checked_add(count);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or(BatchError::Short(self.bytes.len()))?;
        self.at += count;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| BatchError::Short(self.bytes.len()))
    }

    fn byte(&mut self) -> Result<u8, BatchError> {
        self.array().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, BatchError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number that counts something.
    fn count(&mut self) -> Result<u64, BatchError> {
        let number = self.number()?;
        if number <= NUMBER_MAX { Ok(number) } else { Err(BatchError::Number(number)) }
    }

    fn text(&mut self, count: usize) -> Result<&'a str, BatchError> {
        let at = self.at;
        str::from_utf8(self.take(count)?).map_err(|_| BatchError::Text(at))
    }

    fn head(&mut self) -> Result<Head, BatchError> {
        if self.array() != Ok(MAGIC) {
            return Err(BatchError::Magic);
        }
        let id = BatchId { boot: self.number()?, number: self.count()? };
        if id.number == 0 {
            return Err(BatchError::Number(0));
        }
        let (previous, previous_at) = (self.number()?, self.number()?);
        let missed = self.number()?;
        let (epoch, made_ms) = (self.number()?, self.number()?);
        let shards = u16::from_le_bytes(self.array()?);
        let (note, asked) = (self.byte()?, self.number()?);
        let note = match note {
            NOTE_FRAMES => Note::Frames,
            NOTE_ASK => Note::Ask { boot: asked },
            NOTE_COUNTERS => Note::Counters { is_last: false },
            NOTE_LAST_COUNTERS => Note::Counters { is_last: true },
            unknown => return Err(BatchError::Note(unknown)),
        };
        Ok(Head { id, previous, previous_at, missed, epoch, made_ms, shards, note })
    }

    fn frame(&mut self) -> Result<Frame<'a>, BatchError> {
        let flags = self.byte()?;
        if flags & !(FLAG_BINARY | FLAG_BRIDGED) != 0 {
            return Err(BatchError::Flags(flags));
        }
        let topic_bytes = self.byte()?;
        let topic = self.text(topic_bytes.into())?;
        let counter = self.count()?;
        let payload_bytes = u32::from_le_bytes(self.array()?) as usize;
        let is_binary = flags & FLAG_BINARY != 0;
        let (kind, payload) = if is_binary {
            (Kind::Binary, self.take(payload_bytes)?)
        } else {
            (Kind::Text, self.text(payload_bytes)?.as_bytes())
        };
        Ok(Frame { topic, kind, is_bridged: flags & FLAG_BRIDGED != 0, counter, payload })
    }
}

/// The last byte is the version.
const MAGIC: [u8; 4] = *b"gcb\x01";
const SHARDS_AT: usize = MAGIC.len() + 7 * 8;
const NOTE_AT: usize = SHARDS_AT + 2;
const NODE_AT: usize = NOTE_AT + 1 + 8;
const COUNT_BYTES: usize = 2;
/// An entry without its topic and payload.
const ENTRY_BYTES: usize = 1 + 1 + 8 + 4;
const NOTE_FRAMES: u8 = 0;
const NOTE_ASK: u8 = 1;
const NOTE_COUNTERS: u8 = 2;
const NOTE_LAST_COUNTERS: u8 = 3;
const FLAG_BINARY: u8 = 1;
const FLAG_BRIDGED: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn head(number: u64, note: Note) -> Head {
        let id = BatchId { boot: 7, number };
        let (previous, previous_at, missed, epoch, made_ms) = (9, 8, 3, 5, 6);
        Head { id, previous, previous_at, missed, epoch, made_ms, shards: 2, note }
    }

    fn sealed(frames: &[Frame<'_>], note: Note) -> Bytes {
        let mut builder = Builder::new("node-a");
        frames.iter().for_each(|frame| builder.push(frame));
        builder.seal(&head(1, note))
    }

    fn frame<'a>(topic: &'a str, payload: &'a [u8]) -> Frame<'a> {
        Frame { topic, kind: Kind::Binary, is_bridged: true, counter: 41, payload }
    }

    #[test]
    fn a_batch_is_read_back() {
        let frames = [frame("a/b", b"one"), Frame { kind: Kind::Text, ..frame("c", b"two") }];
        for note in [
            Note::Frames,
            Note::Ask { boot: u64::MAX },
            Note::Counters { is_last: false },
            Note::Counters { is_last: true },
        ] {
            let bytes = sealed(&frames, note);
            let batch = Batch::decode(bytes.clone()).unwrap();
            assert_eq!(*batch.head(), head(1, note));
            assert_eq!((batch.node(), batch.len()), ("node-a", 2));
            assert_eq!(batch.frames().collect::<Vec<_>>(), frames);
            assert_eq!(batch.hash(), hash(&bytes));
        }
    }

    #[test]
    fn a_builder_begins_anew_after_a_batch() {
        let mut builder = Builder::new("n");
        builder.push(&frame("a", b"1"));
        builder.seal(&head(1, Note::Frames));
        assert!(builder.is_empty());
        builder.push(&frame("b", b"2"));
        let batch = Batch::decode(builder.seal(&head(2, Note::Frames))).unwrap();
        assert_eq!(batch.frames().map(|f| f.topic).collect::<Vec<_>>(), ["b"]);
        assert_eq!(batch.head().id.number, 2);
    }

    #[test]
    fn a_batch_is_full_by_frames_and_by_bytes_but_one_frame_always_fits() {
        let mut builder = Builder::new("n");
        assert!(builder.has_room(255, 10 << 20));
        for _ in 0..FRAMES_MAX {
            builder.push(&frame("a", b""));
        }
        assert!(!builder.has_room(1, 0));
        builder.seal(&head(1, Note::Frames));
        builder.push(&frame("a", &[0; 200 << 10]));
        assert!(builder.has_room(1, 50 << 10));
        assert!(!builder.has_room(1, 60 << 10));
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let mut builder = Builder::new(&"é".repeat(40));
        let batch = Batch::decode(builder.seal(&head(1, Note::Frames))).unwrap();
        assert_eq!(batch.node(), "é".repeat(32));
    }

    #[test]
    fn what_is_wrong_is_said_by_kind() {
        let good = sealed(&[frame("a", b"xy")], Note::Frames).to_vec();
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            Batch::decode(Bytes::from(bytes)).unwrap_err()
        };
        assert_eq!(with(0, b'x'), BatchError::Magic);
        assert_eq!(with(3, 9), BatchError::Magic);
        assert_eq!(with(NOTE_AT, 9), BatchError::Note(9));
        assert_eq!(with(NODE_AT, 200), BatchError::NodeTooLong(200));
        assert_eq!(with(NODE_AT + 1, 0xff), BatchError::Text(NODE_AT + 1));
        let count_at = NODE_AT + 1 + 6;
        assert_eq!(with(count_at + 1, 0xff), BatchError::TooManyFrames(0xff01));
        assert_eq!(with(count_at, 2), BatchError::Short(good.len()));
        assert_eq!(with(count_at, 0), BatchError::Trailing(good.len() - count_at - 2));
        assert_eq!(with(count_at + 2, 0x80), BatchError::Flags(0x80));
        assert_eq!(with(good.len() - 3, 0xff), BatchError::Short(good.len()));
        for end in 0..good.len() {
            assert!(Batch::decode(Bytes::copy_from_slice(&good[..end])).is_err(), "{end}");
        }
        let text = sealed(&[Frame { kind: Kind::Text, ..frame("a", b"x\xff") }], Note::Frames);
        assert!(matches!(Batch::decode(text), Err(BatchError::Text(_))));
    }

    #[test]
    fn numbers_that_no_node_reaches_are_refused() {
        let decode = |number, counter| {
            let mut builder = Builder::new("n");
            builder.push(&Frame { counter, ..frame("a", b"") });
            Batch::decode(builder.seal(&head(number, Note::Frames))).map(drop)
        };
        assert_eq!(decode(NUMBER_MAX, NUMBER_MAX), Ok(()));
        for (number, counter, wrong) in
            [(0, 1, 0), (u64::MAX, 1, u64::MAX), (1, NUMBER_MAX + 1, NUMBER_MAX + 1)]
        {
            assert_eq!(decode(number, counter), Err(BatchError::Number(wrong)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in vec(any::<u8>(), 0..200),
            flips in vec((0..200_usize, any::<u8>()), 0..4),
        ) {
            // Both anything at all, and a good batch with some bytes changed.
            assert!(Batch::decode(Bytes::from(bytes)).is_err());
            let frames = [frame("a/b", b"one"), frame("c", b"two")];
            let mut good = sealed(&frames, Note::Frames).to_vec();
            for (at, byte) in flips {
                let at = at % good.len();
                good[at] = byte;
            }
            if let Ok(batch) = Batch::decode(Bytes::from(good)) {
                prop_assert_eq!(batch.frames().count(), batch.len());
            }
        }
    }
}
