//! One answer about the past: which messages belong to it, where they are looked for, and when it
//! ends. Owns its limits. What stores have comes first, then what the feed keeps: positions grow
//! from the one into the other. Must not know connections, nor wait for anything.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use crate::core::history::mailbox::Ticket;
use crate::core::history::page::{Page, Row};
use crate::core::history::store::{self, Asked, PAGE_BYTES_MAX, PAGE_ROWS_MAX};
use crate::feed::epoch::Position;
use crate::feed::excerpt::Excerpt;
use crate::feed::gap::{Gap, GapReason, Missed};
use crate::feed::log::Feed;
use crate::feed::message::{Message, Origin};
use crate::feed::topic::{Target, Topic};
use crate::http::history::{LIMIT, Question, Start, Stop};
use crate::http::response::Exchange;
use crate::settings::config::History;
use crate::wire::history::{End, Format, Record, Writer};

/// Frames and bytes of a slice: what is written in one turn takes less than a sweep's slice.
const SLICE_FRAMES: u64 = 256;
const SLICE_BYTES: usize = 32 << 10;

/// See the file header.
#[derive(Debug)]
pub struct Answer {
    /// How it is sent.
    pub exchange: Exchange,
    /// Whether its head is out.
    pub has_begun: bool,
    /// Records since somebody counted them.
    pub records_uncounted: u64,
    target: Target,
    /// None where nothing is kept in memory.
    feed: Option<Arc<Feed>>,
    question: Question,
    writer: Writer,
    records: u64,
    records_left: u64,
    bytes_left: usize,
    /// What the client has: the last record, or what it said.
    last: Option<Position>,
    stage: Stage,
}

/// How far it is.
#[derive(Debug)]
enum Stage {
    /// Nothing was looked up.
    Start,
    /// A store is to be asked for what comes next, before what memory has.
    Ask(Option<Position>),
    /// A store was asked.
    Waiting(Asked, Option<Position>),
    /// Rows that a store gave; the last page or not.
    Rows(VecDeque<Row>, bool, Option<Position>),
    /// Frames of the feed that have still to be read.
    Memory(Range<u64>),
    /// Nothing is left.
    Over,
}

/// How far a slice of the log has been written.
struct Walk<'a> {
    excerpt: &'a Excerpt,
    /// Those of its notices that have still to be told.
    notices: &'a [(u64, Gap)],
    /// The entry behind the last that was written.
    next: u64,
}

/// What comes next.
#[derive(Debug)]
pub enum Step {
    /// Another slice.
    More,
    /// A page of a store.
    Ask(store::Question),
    /// The page that was asked for.
    Wait,
    /// Nothing: the end is written.
    Done,
}

/// The time on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Since the engine started.
    pub now_ns: u64,
    /// UTC since 1970.
    pub unix_ms: u64,
}

impl Clocks {
    /// The engine's time at `ms` of UTC; `slack_ns` makes up for UTC being read in whole ms.
    fn ns_at(self, ms: u64, slack_ns: i128) -> u64 {
        let ago_ms = i128::from(self.unix_ms) - i128::from(ms);
        let ns = i128::from(self.now_ns) - ago_ms * 1_000_000 + slack_ns;
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }

    /// UTC in ms at a time of the engine's.
    pub fn ms_at(self, ns: u64) -> u64 {
        self.unix_ms.saturating_sub(self.now_ns.saturating_sub(ns) / 1_000_000)
    }
}

const MS_NS: i128 = 1_000_000;

impl Answer {
    /// The answer to `question`, of which nothing is written yet.
    pub fn new(
        (target, feed): (Target, Option<Arc<Feed>>),
        question: Question,
        limits: &History,
        exchange: Exchange,
    ) -> Self {
        let last = match question.from {
            Start::After(position) => Some(position),
            Start::Oldest | Start::At(_) => None,
        };
        Self {
            exchange,
            has_begun: false,
            records_uncounted: 0,
            target,
            feed,
            writer: Writer::new(question.format),
            records: 0,
            records_left: question.limit.unwrap_or(LIMIT).min(limits.records_max),
            bytes_left: limits.bytes_max,
            last,
            question,
            stage: Stage::Start,
        }
    }

    /// In which format it is written.
    pub fn format(&self) -> Format {
        self.writer.format()
    }

    /// Writes the next slice to `out`. `keeps` says whether a store has a topic.
    pub fn step(
        &mut self,
        out: &mut Vec<u8>,
        clocks: Clocks,
        keeps: impl Fn(&Topic) -> bool,
    ) -> Step {
        loop {
            let is_slice = matches!(self.stage, Stage::Memory(_));
            match std::mem::replace(&mut self.stage, Stage::Over) {
                Stage::Start => self.start(out, clocks, &keeps),
                Stage::Ask(before) => {
                    let question = self.store_question(before);
                    self.stage = Stage::Ask(before);
                    return question.map_or(Step::Done, Step::Ask);
                }
                waiting @ Stage::Waiting(..) => {
                    self.stage = waiting;
                    return Step::Wait;
                }
                Stage::Rows(rows, is_last, before) => {
                    self.write_rows(out, rows, (is_last, before), clocks);
                }
                Stage::Memory(seqs) => self.write_frames(out, seqs, clocks),
                Stage::Over => {
                    self.end(out, true, None);
                    return Step::Done;
                }
            }
            if self.is_full() {
                let is_complete = self.is_over();
                self.end(out, is_complete, None);
                return Step::Done;
            }
            let is_slice = is_slice && !matches!(self.stage, Stage::Over);
            if is_slice || out.len() >= SLICE_BYTES {
                return Step::More;
            }
        }
    }

    /// A store was asked.
    pub fn await_page(&mut self, asked: Asked) {
        if let Stage::Ask(before) = self.stage {
            self.stage = Stage::Waiting(asked, before);
        }
    }

    /// Whether it waits for a store.
    pub fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(..))
    }

    /// Whether it waits for the answer to this question.
    pub fn awaits(&self, ticket: Ticket) -> bool {
        matches!(&self.stage, Stage::Waiting(asked, _) if asked.ticket == ticket)
    }

    /// What the store has.
    pub fn take_page(&mut self, page: Page) {
        if let Stage::Waiting(_, before) = self.stage {
            // A page without rows that says that there are more would be asked for again for ever.
            let is_last = page.is_last || page.rows.is_empty();
            self.stage = Stage::Rows(page.rows.into(), is_last, before);
        }
    }

    /// Writes the end of an answer that cannot be finished.
    pub fn give_up(&mut self, out: &mut Vec<u8>, error: &str) {
        self.end(out, false, Some(error));
    }

    /// Bytes of user memory held.
    pub fn memory_bytes(&self) -> usize {
        let rows = match &self.stage {
            Stage::Rows(rows, ..) => {
                rows.iter().map(|row| size_of::<Row>() + row.payload.capacity()).sum()
            }
            _ => 0,
        };
        size_of::<Self>() + rows
    }

    fn is_full(&self) -> bool {
        self.records_left == 0 || self.bytes_left == 0
    }

    fn is_over(&self) -> bool {
        match &self.stage {
            Stage::Over => true,
            Stage::Memory(seqs) => seqs.is_empty(),
            _ => false,
        }
    }

    fn end(&mut self, out: &mut Vec<u8>, complete: bool, error: Option<&str>) {
        self.stage = Stage::Over;
        self.writer.end(out, &End { next: self.last, records: self.records, complete, error });
    }

    fn start(&mut self, out: &mut Vec<u8>, clocks: Clocks, keeps: &impl Fn(&Topic) -> bool) {
        let is_stored = self.target.topic().is_some_and(keeps);
        if is_stored && !self.is_all_in_memory(clocks) {
            let before = self.feed.as_ref().map(|feed| {
                let (tail_ordinal, _) = feed.kept_since();
                Position { epoch: feed.epoch(), seq: feed.seq_of(tail_ordinal) }
            });
            self.stage = Stage::Ask(before);
        } else {
            self.enter_memory(out, clocks, false);
        }
    }

    /// Whether nothing that was asked for is older than what the feed keeps.
    fn is_all_in_memory(&self, clocks: Clocks) -> bool {
        let Some(feed) = &self.feed else { return false };
        let (tail_ordinal, since_ns) = feed.kept_since();
        match self.question.from {
            Start::Oldest => false,
            Start::After(Position { epoch, seq }) => {
                let (first, is_known) = feed.ordinal_after(seq);
                epoch == feed.epoch() && is_known && first >= tail_ordinal
            }
            Start::At(ms) => clocks.ns_at(ms, -MS_NS) >= since_ns,
        }
    }

    fn store_question(&self, memory: Option<Position>) -> Option<store::Question> {
        let until = match self.question.to {
            Stop::With(Position { epoch, seq }) => {
                Some(Position { epoch, seq: seq.saturating_add(1) })
            }
            Stop::Newest | Stop::At(_) => None,
        };
        let order = |position: &Position| (position.epoch.0, position.seq);
        Some(store::Question {
            topic: self.target.topic()?.clone(),
            after: self.last,
            before: memory.into_iter().chain(until).min_by_key(order),
            from_ms: match self.question.from {
                Start::At(ms) => Some(ms),
                Start::Oldest | Start::After(_) => None,
            },
            to_ms: match self.question.to {
                Stop::At(ms) => Some(ms),
                Stop::Newest | Stop::With(_) => None,
            },
            rows_max: u32::try_from(self.records_left)
                .map_or(PAGE_ROWS_MAX, |left| left.clamp(1, PAGE_ROWS_MAX)),
            bytes_max: self.bytes_left.clamp(1, PAGE_BYTES_MAX),
        })
    }

    fn write_rows(
        &mut self,
        out: &mut Vec<u8>,
        mut rows: VecDeque<Row>,
        (is_last, before): (bool, Option<Position>),
        clocks: Clocks,
    ) {
        let origin = Origin { topic: self.target.text(), pattern: None, number: 0 };
        while self.has_room(out) {
            let Some(row) = rows.pop_front() else { break };
            let message = Message::of_client(row.kind, &row.payload);
            let Row { time_ms, position, .. } = row;
            self.write(out, &Record { time_ms, position, origin: &origin, message });
        }
        match (rows.is_empty(), is_last) {
            (false, _) => self.stage = Stage::Rows(rows, is_last, before),
            (true, false) => self.stage = Stage::Ask(before),
            (true, true) if self.feed.is_none() => self.stage = Stage::Over,
            (true, true) => self.enter_memory(out, clocks, true),
        }
    }

    /// Goes on with what the feed keeps, and tells what lies between that and what came before.
    fn enter_memory(&mut self, out: &mut Vec<u8>, clocks: Clocks, after_store: bool) {
        let Some(feed) = self.feed.clone() else { return };
        let (tail_ordinal, since_ns) = feed.kept_since();
        let own = |position: &Position| position.epoch == feed.epoch();
        let expired = (1, GapReason::Expired);
        // What was never reached was handed out by another life of the topic.
        let beyond =
            |position: &Position| position.seq > feed.last_seq() && !feed.is_behind(*position);
        let (first, missing) = match (self.last, self.question.from) {
            (Some(last), _) if own(&last) && beyond(&last) => {
                (tail_ordinal, Some((0, GapReason::Epoch)))
            }
            (Some(last), _) if own(&last) => {
                let (first, is_known) = feed.ordinal_after(last.seq);
                (first, (!is_known).then_some(expired))
            }
            (Some(last), Start::After(asked)) if last == asked => {
                (tail_ordinal, Some((0, GapReason::Epoch)))
            }
            (Some(_), _) => (tail_ordinal, Some(expired)),
            (None, Start::At(ms)) => {
                let at_ns = clocks.ns_at(ms, -MS_NS);
                let is_missing = !after_store && at_ns < since_ns;
                let first = feed.came_within(Some(at_ns), None).start;
                (before_notices(&feed, first), is_missing.then_some(expired))
            }
            (None, _) => (tail_ordinal, None),
        };
        if let Some((from, reason)) = missing.filter(|(from, _)| *from < tail_ordinal) {
            let gap = match reason {
                GapReason::Epoch => feed.gap_of_epoch(tail_ordinal),
                _ => feed.gap(Missed { from, to: tail_ordinal - 1, reason }),
            };
            self.writer.gap(out, gap);
        }
        let head = feed.came_within(None, None).end;
        let end = match self.question.to {
            Stop::Newest => head,
            Stop::With(to) if own(&to) => end_with(&feed, to.seq).min(head),
            Stop::With(to) if to.epoch.0 < feed.epoch().0 => first,
            Stop::With(_) => head,
            Stop::At(ms) => feed.came_within(None, Some(clocks.ns_at(ms, MS_NS))).end,
        };
        self.stage = Stage::Memory(first..end);
    }

    fn write_frames(&mut self, out: &mut Vec<u8>, wanted: Range<u64>, clocks: Clocks) {
        let Some(feed) = self.feed.clone().filter(|_| !wanted.is_empty()) else { return };
        let slice_end = wanted.end.min(wanted.start + SLICE_FRAMES);
        let excerpt = feed.excerpt(wanted.start..slice_end);
        let begin = excerpt.ordinals.start;
        // Retention has moved on, past where the answer stands.
        if wanted.start < begin {
            let (from, to) = (wanted.start, begin.min(wanted.end) - 1);
            let missed = Missed { from, to, reason: GapReason::Expired };
            self.writer.gap(out, feed.gap(missed));
        }
        let (notices, next) = (&excerpt.notices[..], begin.max(wanted.start));
        let mut walk = Walk { excerpt: &excerpt, notices, next };
        let is_all = excerpt.each(|frame| {
            if !self.tell_before(out, frame.ordinal, &mut walk) {
                return false;
            }
            let (time_ms, position) = (clocks.ms_at(frame.came_ns), frame.position);
            let (origin, message) = (frame.origin, frame.message);
            self.write(out, &Record { time_ms, position, origin, message });
            walk.next = frame.ordinal + 1;
            self.has_room(out)
        }) && self.tell_before(out, excerpt.ordinals.end, &mut walk);
        let next = if is_all { walk.next.max(excerpt.ordinals.end) } else { walk.next };
        let is_gone = excerpt.ordinals.is_empty() && next >= excerpt.head_ordinal;
        if next < wanted.end && !is_gone {
            self.stage = Stage::Memory(next..wanted.end);
        }
    }

    /// Tells of the losses that stand before the entry `end`. Answers false where there is no room
    /// for all.
    fn tell_before(&mut self, out: &mut Vec<u8>, end: u64, walk: &mut Walk<'_>) -> bool {
        while let Some(((ordinal, gap), rest)) = walk.notices.split_first()
            && *ordinal < end
        {
            if !self.has_room(out) {
                return false;
            }
            let before = out.len();
            self.writer.gap(out, *gap);
            self.bytes_left = self.bytes_left.saturating_sub(out.len() - before);
            // Whoever goes on from here has been told.
            let at = ordinal.saturating_sub(walk.excerpt.ordinals.start) as usize;
            let seq = walk.excerpt.positions.get(at).copied().unwrap_or(gap.to);
            self.last = Some(Position { epoch: walk.excerpt.epoch, seq });
            (walk.notices, walk.next) = (rest, ordinal + 1);
        }
        true
    }

    fn has_room(&self, out: &[u8]) -> bool {
        out.len() < SLICE_BYTES && !self.is_full()
    }

    fn write(&mut self, out: &mut Vec<u8>, record: &Record<'_>) {
        let before = out.len();
        self.writer.record(out, record);
        self.last = Some(record.position);
        self.records += 1;
        self.records_uncounted += 1;
        self.records_left = self.records_left.saturating_sub(1);
        self.bytes_left = self.bytes_left.saturating_sub(out.len() - before);
    }
}

/// The first of the notices in a row, of a slice at most, that end before the entry `end`. They
/// have no time: what they tell of may have been lost as late as what follows them came.
fn before_notices(feed: &Feed, end: u64) -> u64 {
    let excerpt = feed.excerpt(end.saturating_sub(SLICE_FRAMES)..end);
    let backwards = (1..).zip(excerpt.notices.iter().rev());
    end - backwards.take_while(|(back, (ordinal, _))| ordinal + back == end).count() as u64
}

/// Behind the last entry that belongs to what there was up to position `seq`, of which a notice
/// may tell in part.
fn end_with(feed: &Feed, seq: u64) -> u64 {
    let (end, _) = feed.ordinal_after(seq);
    let excerpt = feed.excerpt(end..end.saturating_add(1));
    let is_told = excerpt.notices.first().is_some_and(|(at, gap)| *at == end && gap.from <= seq);
    end + u64::from(is_told)
}
