//! A segment: a run of contiguous, ready-to-send bytes that one writer appends to while any number
//! of cores read what has been published. Owns the raw memory and the two orderings that make this
//! safe. Must not know what a frame looks like, who reads it, or when it is given up.
//!
//! # Why a reader never sees a torn or unwritten byte
//! * [`SegmentWriter`] is the only thing that writes, is not `Clone`, and writes only at
//!   `len..capacity`, which no reader looks at; published bytes are never written again.
//! * `published` (frames and bytes in one word) is stored with `Release` after the bytes are in
//!   place; a reader loads it with `Acquire` before it forms a slice of at most that length.
//! * `next` is stored with `Release` once the segment will never grow again, so a reader that sees
//!   a successor and *then* reads `published` has the final length.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64 as StdAtomicU64, Ordering as StdOrdering};

use crate::sync::{Arc, AtomicPtr, AtomicU64, Ordering};

/// Bytes held by all segments of an engine, against the most they may hold.
#[derive(Debug)]
pub struct LogBudget {
    used: StdAtomicU64,
    bytes_max: u64,
}

impl LogBudget {
    /// A budget of `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Self {
        Self { used: StdAtomicU64::new(0), bytes_max }
    }

    /// Bytes allocated to segments now, whoever still holds them.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(StdOrdering::Relaxed)
    }

    /// True from seven eighths of the budget: feeds then keep only their last frame.
    pub fn is_tight(&self) -> bool {
        self.used_bytes() >= self.bytes_max / 8 * 7
    }

    /// True when `bytes` more would pass the budget.
    pub fn would_pass(&self, bytes: u64) -> bool {
        self.used_bytes().saturating_add(bytes) > self.bytes_max
    }
}

/// Published extent of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes that may be read.
    pub bytes: u32,
    /// Whole frames in those bytes.
    pub frames: u32,
}

impl Extent {
    fn pack(self) -> u64 {
        u64::from(self.frames) << 32 | u64::from(self.bytes)
    }

    fn unpack(word: u64) -> Self {
        Self { bytes: word as u32, frames: (word >> 32) as u32 }
    }
}

/// The readable side of a segment. Shared by `Arc`; see the file header for what may be read when.
#[derive(Debug)]
pub struct Segment {
    base: u64,
    first_ordinal: u64,
    memory: Memory,
    published: AtomicU64,
    next: AtomicPtr<Segment>,
    budget: std::sync::Arc<LogBudget>,
}

impl Segment {
    /// A segment that begins at lane position and frame `(base, first_ordinal)`, holds `frames`
    /// whole frames in `bytes`, and never gets more.
    pub fn full(
        (base, first_ordinal): (u64, u64),
        bytes: &[u8],
        frames: u32,
        budget: &std::sync::Arc<LogBudget>,
    ) -> Arc<Self> {
        let mut writer = SegmentWriter::new(base, first_ordinal, bytes.len() as u32, budget);
        writer.append_frames(&[bytes], frames);
        writer.segment
    }

    /// Lane position of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Ordinal of the first frame that begins here.
    pub fn first_ordinal(&self) -> u64 {
        self.first_ordinal
    }

    /// Bytes allocated, published or not.
    pub fn capacity(&self) -> u64 {
        self.memory.capacity as u64
    }

    /// What has been published so far.
    pub fn extent(&self) -> Extent {
        Extent::unpack(self.published.load(Ordering::Acquire))
    }

    /// The published bytes.
    pub fn bytes(&self) -> &[u8] {
        self.memory.slice(self.extent().bytes as usize)
    }

    /// The segment that continues this one, once this one is complete.
    pub fn next(&self) -> Option<Arc<Segment>> {
        let next = self.next.load(Ordering::Acquire);
        if next.is_null() {
            return None;
        }
        // SAFETY: `next` came from `Arc::into_raw` in `SegmentWriter::link`, and the count it holds
        // is only released by `Drop for Segment`, which cannot run while `self` is borrowed.
        unsafe {
            Arc::increment_strong_count(next);
            Some(Arc::from_raw(next))
        }
    }

    /// Takes the successor out, leaving none.
    fn take_next(&mut self) -> Option<Arc<Segment>> {
        let next = self.next.swap(ptr::null_mut(), Ordering::Acquire);
        // SAFETY: a non-null `next` holds one count from `Arc::into_raw`; swapping in null moves
        // it.
        (!next.is_null()).then(|| unsafe { Arc::from_raw(next) })
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let bytes = self.memory.capacity as u64;
        self.budget.used.fetch_sub(bytes, StdOrdering::Relaxed);
        // A chain is dropped in a loop: recursion would be as deep as the chain is long.
        let mut next = self.take_next();
        while let Some(mut segment) = next.take().and_then(into_inner) {
            next = segment.take_next();
        }
    }
}

#[cfg(not(loom))]
fn into_inner(segment: Arc<Segment>) -> Option<Segment> {
    Arc::into_inner(segment)
}

#[cfg(loom)]
fn into_inner(segment: Arc<Segment>) -> Option<Segment> {
    Arc::try_unwrap(segment).ok()
}

/// The only writer of a segment: not `Clone`, so whoever owns it is alone.
#[derive(Debug)]
pub struct SegmentWriter {
    segment: Arc<Segment>,
    extent: Extent,
}

impl SegmentWriter {
    /// An empty segment of `capacity` bytes that begins at lane position `base` with frame
    /// `first_ordinal`, charged to `budget`.
    pub fn new(
        base: u64,
        first_ordinal: u64,
        capacity: u32,
        budget: &std::sync::Arc<LogBudget>,
    ) -> Self {
        budget.used.fetch_add(u64::from(capacity), StdOrdering::Relaxed);
        let segment = Segment {
            base,
            first_ordinal,
            memory: Memory::new(capacity as usize),
            published: AtomicU64::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            budget: std::sync::Arc::clone(budget),
        };
        Self { segment: Arc::new(segment), extent: Extent { bytes: 0, frames: 0 } }
    }

    /// The readable side.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// What has been appended so far.
    pub fn extent(&self) -> Extent {
        self.extent
    }

    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.segment.memory.capacity - self.extent.bytes as usize
    }

    /// Appends one frame given in `parts` and publishes it; the parts together must fit in
    /// [`room`](Self::room), else nothing happens and the answer is false.
    pub fn append(&mut self, parts: &[&[u8]]) -> bool {
        self.append_frames(parts, 1)
    }

    /// The same for `frames` whole frames.
    pub fn append_frames(&mut self, parts: &[&[u8]], frames: u32) -> bool {
        if parts.iter().map(|part| part.len()).sum::<usize>() > self.room() {
            return false;
        }
        let mut at = self.extent.bytes as usize;
        for part in parts {
            self.segment.memory.write(at, part);
            at += part.len();
        }
        self.extent = Extent { bytes: at as u32, frames: self.extent.frames + frames };
        self.segment.published.store(self.extent.pack(), Ordering::Release);
        true
    }

    /// Ends this segment: `next` continues it. Consumes the writer, so nothing can follow.
    pub fn link(self, next: &SegmentWriter) {
        let raw = Arc::into_raw(Arc::clone(&next.segment)).cast_mut();
        self.segment.next.store(raw, Ordering::Release);
    }
}

/// Uninitialised bytes with a fixed address.
#[derive(Debug)]
struct Memory {
    bytes: NonNull<u8>,
    capacity: usize,
    /// Under loom every access is also made on a checked cell, so that a read which no ordering
    /// separates from the write fails the model.
    #[cfg(loom)]
    shadow: Vec<loom::cell::UnsafeCell<()>>,
}

// SAFETY: the memory is plain bytes; the file header's protocol keeps writes and reads apart.
unsafe impl Send for Memory {}
// SAFETY: as above; shared access only reads published bytes or writes unpublished ones.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(capacity: usize) -> Self {
        let layout = Self::layout(capacity);
        // SAFETY: `layout` has a size of at least one byte.
        let bytes = unsafe { alloc(layout) };
        Self {
            bytes: NonNull::new(bytes).unwrap_or_else(|| handle_alloc_error(layout)),
            capacity,
            #[cfg(loom)]
            shadow: (0..capacity).map(|_| loom::cell::UnsafeCell::new(())).collect(),
        }
    }

    fn layout(capacity: usize) -> Layout {
        // A u32 capacity is far below isize::MAX, the only thing `array` can refuse.
        Layout::array::<u8>(capacity.max(1)).unwrap_or(Layout::new::<u8>())
    }

    /// Writes `part` at `at`. Only [`SegmentWriter::append`] calls it, for unpublished bytes.
    fn write(&self, at: usize, part: &[u8]) {
        assert!(at + part.len() <= self.capacity);
        #[cfg(loom)]
        self.shadow[at..at + part.len()].iter().for_each(|cell| cell.with_mut(|_| ()));
        // SAFETY: the range is inside the allocation (asserted); it lies past every published byte,
        // so no slice of it exists; `part` cannot overlap it because nobody can borrow it.
        unsafe { ptr::copy_nonoverlapping(part.as_ptr(), self.bytes.as_ptr().add(at), part.len()) }
    }

    /// The first `len` bytes, which the caller has loaded from `published` with `Acquire`.
    fn slice(&self, len: usize) -> &[u8] {
        debug_assert!(len <= self.capacity);
        #[cfg(loom)]
        self.shadow[..len].iter().for_each(|cell| cell.with(|_| ()));
        // SAFETY: bytes below a published length are initialised and never written again.
        unsafe { std::slice::from_raw_parts(self.bytes.as_ptr(), len) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with the same layout, freed once.
        unsafe { dealloc(self.bytes.as_ptr(), Self::layout(self.capacity)) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn writer(capacity: u32) -> (SegmentWriter, std::sync::Arc<LogBudget>) {
        let budget = std::sync::Arc::new(LogBudget::new(1 << 20));
        (SegmentWriter::new(100, 7, capacity, &budget), budget)
    }

    #[test]
    fn appended_parts_are_published_as_one_frame() {
        let (mut writer, _budget) = writer(8);
        assert!(writer.append(&[b"ab", b"cde"]));
        assert_eq!(writer.segment().bytes(), b"abcde");
        assert_eq!(writer.segment().extent(), Extent { bytes: 5, frames: 1 });
        assert_eq!((writer.segment().base(), writer.segment().first_ordinal()), (100, 7));
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let (mut writer, _budget) = writer(4);
        assert!(writer.append(&[b"abc"]));
        assert!(!writer.append(&[b"de"]));
        assert_eq!(writer.segment().bytes(), b"abc");
    }

    #[test]
    fn memory_is_charged_until_the_last_holder_lets_go() {
        let (first, budget) = writer(64);
        let held = Arc::clone(first.segment());
        let second = SegmentWriter::new(164, 8, 32, &budget);
        first.link(&second);
        assert_eq!(budget.used_bytes(), 96);
        drop(second);
        assert_eq!(budget.used_bytes(), 96);
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn a_long_chain_is_dropped_without_recursion() {
        let (first, budget) = writer(1);
        let head = Arc::clone(first.segment());
        let mut last = first;
        for at in 0..200_000_u64 {
            let next = SegmentWriter::new(at, at, 1, &budget);
            last.link(&next);
            last = next;
        }
        drop(last);
        drop(head);
        assert_eq!(budget.used_bytes(), 0);
    }
}
