//! One publisher thread: sends its publishers' frames at their instants on the grid, independent of
//! the server (open loop). A socket that accepts nothing delays only itself: its frames wait in
//! order, and every skipped frame is counted. Frames are encoded before they are due, so that a
//! tick costs one clock read and one write per publisher. Must not wait for any reply, and must not
//! spin, because receivers may share the CPU.

pub(crate) mod connect;
mod publisher_socket;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::thread;

use mio::{Events, Interest, Poll, Token};

use crate::drive::publishers::connect::Connected;
use crate::drive::publishers::publisher_socket::{Inbox, PublisherSocket};
use crate::drive::run_state::{KILLED, RunState};
use crate::observe::meter::Meter;
use crate::os::socket;
use crate::receive::histograms::SignedHistogram;
use crate::receive::outcome::counts::merge_counts;
use crate::receive::outcome::{PublisherOutcome, ThreadHealth, lap};
use crate::receive::stamp::PublisherIndex;
use crate::receive::windows::WindowPart;
use crate::time::clock::mono_ns;
use crate::time::units::{SECOND_NS, nanoseconds};

/// The results of a publisher thread.
#[derive(Debug)]
pub struct PublisherThreadResult {
    /// Its part of the publishing results.
    pub outcome: PublisherOutcome,
    /// Publishers whose socket closed early, by index into the plan.
    pub cut: Vec<u32>,
    /// The lateness and CPU share of the thread.
    pub health: ThreadHealth,
}

/// Publishes on these connections until the run is finished.
pub fn run(
    run_state: &RunState<'_>,
    publisher_index: &PublisherIndex,
    index: usize,
    connected: Vec<Connected>,
    windows: Sender<WindowPart>,
) -> io::Result<PublisherThreadResult> {
    let mut name = format!("publisher-{index}");
    if let Some(cpus) = &run_state.plan.cpus {
        socket::pin(cpus, index)?;
    }
    if socket::make_punctual().is_err() {
        name.push_str(" (normal priority)");
    }
    let health = ThreadHealth::new(name);
    let mut thread = PublisherThread::new(run_state, publisher_index, connected, health, windows)?;
    thread.turn_until_finished()?;
    Ok(thread.finish())
}

struct PublisherThread<'s> {
    run_state: &'s RunState<'s>,
    publisher_index: &'s PublisherIndex,
    poll: Poll,
    sockets: Vec<PublisherSocket>,
    /// The next frame of each socket: instant, index into `sockets`.
    due: BinaryHeap<Reverse<(u64, usize)>>,
    /// Lines that sent in this turn, so their next frame must be encoded.
    sent: Vec<usize>,
    has_published: bool,
    outcome: PublisherOutcome,
    cut: Vec<u32>,
    meter: Meter,
    second_sent: u64,
    second_late_ns: u64,
    windows: Sender<WindowPart>,
    health: ThreadHealth,
    inbox: Inbox,
    /// When timers of silent sockets were last checked.
    protocol_timers_checked_ns: u64,
    is_killed: bool,
    has_stalled: bool,
}

impl<'s> PublisherThread<'s> {
    fn new(
        run_state: &'s RunState<'s>,
        publisher_index: &'s PublisherIndex,
        connected: Vec<Connected>,
        health: ThreadHealth,
        windows: Sender<WindowPart>,
    ) -> io::Result<PublisherThread<'s>> {
        let poll = Poll::new()?;
        let mut sockets = Vec::with_capacity(connected.len());
        let mut due = BinaryHeap::with_capacity(connected.len());
        for (index, mut socket) in connected.into_iter().enumerate() {
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(
                socket.connection.link.socket_mut(),
                Token(index),
                interest,
            )?;
            let socket = PublisherSocket::new(run_state, publisher_index, socket);
            if socket.frames > 0 {
                due.push(Reverse((publisher_index.intended_ns(socket.publisher, 0), index)));
            }
            sockets.push(socket);
        }
        Ok(PublisherThread {
            run_state,
            publisher_index,
            poll,
            outcome: PublisherOutcome {
                count: sockets.len() as u64,
                laps: vec![0; run_state.plan.course.reported_laps()],
                ..PublisherOutcome::default()
            },
            sockets,
            due,
            sent: Vec::new(),
            has_published: false,
            cut: Vec::new(),
            meter: run_state.meter(publisher_index),
            second_sent: 0,
            second_late_ns: 0,
            windows,
            health,
            inbox: Inbox::new(run_state.message_bytes_max()),
            protocol_timers_checked_ns: mono_ns(),
            is_killed: false,
            has_stalled: false,
        })
    }

    fn turn_until_finished(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.run_state.is_finished() {
            let woken_ns = self.wait(&mut events)?;
            self.note_second(woken_ns);
            for event in &events {
                self.on_event(event.token().0);
            }
            self.kill_if_due(woken_ns);
            self.stall_if_due(woken_ns);
            self.send_due();
            self.encode_next();
            self.check_protocol_timers(woken_ns);
            self.report_if_published();
        }
        Ok(())
    }

    /// Waits for the next instant or an event, and records how late a timed wait ended.
    fn wait(&mut self, events: &mut Events) -> io::Result<u64> {
        let idle_until_ns = mono_ns() + PAUSE_NS;
        let due_ns = self.due.peek().map_or(u64::MAX, |Reverse((due_ns, _))| *due_ns);
        socket::wait_until(&mut self.poll, events, due_ns.min(idle_until_ns))?;
        let woken_ns = mono_ns();
        self.health.wakeups += 1;
        if due_ns < idle_until_ns && woken_ns >= due_ns {
            self.health.gap.record((woken_ns - due_ns).cast_signed());
        }
        Ok(woken_ns)
    }

    fn send_due(&mut self) {
        if self.run_state.progress.is_stopped() {
            self.due.clear();
        }
        while let Some(&Reverse((due_ns, index))) = self.due.peek() {
            let now_ns = mono_ns();
            if due_ns > now_ns {
                return;
            }
            self.due.pop();
            self.send(index, due_ns, now_ns);
        }
    }

    fn send(&mut self, index: usize, due_ns: u64, now_ns: u64) {
        let socket = &mut self.sockets[index];
        if socket.connection.is_none() || socket.is_stuck() {
            return self.cut(index, None);
        }
        self.publisher_index.log(socket.publisher).attempt(socket.next_seq, now_ns);
        self.second_late_ns = self.second_late_ns.max(now_ns - due_ns);
        if socket.next_seq >= socket.measured_from {
            self.outcome.slip.record(now_ns.wrapping_sub(due_ns).cast_signed());
            let lap = usize::from(self.publisher_index.laps().at(due_ns));
            if let Some(frames) = self.outcome.laps.get_mut(lap) {
                *frames += 1;
            }
        }
        match socket.queue_or_write(due_ns, now_ns, &mut self.outcome) {
            Err(reason) => self.cut(index, Some(reason)),
            Ok(written) => {
                self.sent.push(index);
                self.count_written(index, written);
            }
        }
    }

    /// Done after everything due was sent, not between two sends.
    fn encode_next(&mut self) {
        for index in self.sent.drain(..) {
            let socket = &mut self.sockets[index];
            self.outcome
                .deviations
                .note(self.publisher_index.departures(socket.publisher), socket.next_seq);
            socket.next_seq += 1;
            if socket.next_seq < socket.frames && socket.connection.is_some() {
                socket.encode(self.publisher_index);
                let due_ns = self.publisher_index.intended_ns(socket.publisher, socket.next_seq);
                self.due.push(Reverse((due_ns, index)));
            }
        }
    }

    fn on_event(&mut self, index: usize) {
        self.handle(index, PublisherSocket::read);
    }

    /// Checks timers that detect a silent server, as real clients do.
    fn check_protocol_timers(&mut self, now_ns: u64) {
        if now_ns >= self.protocol_timers_checked_ns + SECOND_NS
            && self.run_state.plan.dialect.has_protocol()
        {
            self.protocol_timers_checked_ns = now_ns;
            (0..self.sockets.len())
                .for_each(|index| self.handle(index, PublisherSocket::check_timers));
        }
    }

    /// Reads from a socket, and writes what waits there.
    fn handle(
        &mut self,
        index: usize,
        handler: fn(&mut PublisherSocket, &mut Inbox, u64) -> Result<(), String>,
    ) {
        let Some(socket) = self.sockets.get_mut(index) else { return };
        let now_ns = mono_ns();
        let handled = handler(socket, &mut self.inbox, now_ns);
        let done = socket.write_pending(now_ns, &mut self.outcome);
        match (handled, done) {
            (Err(reason), _) | (Ok(()), Err(reason)) => self.cut(index, Some(reason)),
            (Ok(()), Ok(written)) => self.count_written(index, written),
        }
    }

    fn count_written(&mut self, index: usize, frames: u32) {
        if frames == 0 {
            return;
        }
        let socket = &mut self.sockets[index];
        socket.written += frames;
        self.publisher_index.log(socket.publisher).set_written(socket.written);
        self.second_sent += u64::from(frames);
        self.run_state.progress.sent.fetch_add(u64::from(frames), Ordering::Relaxed);
    }

    /// Ends a socket early; its remaining frames are counted as unsent.
    fn cut(&mut self, index: usize, reason: Option<String>) {
        let socket = &mut self.sockets[index];
        let stuck = socket.connection.take().map(|_| "takes no more".to_string());
        if let Some(otherwise) = stuck {
            *self.outcome.closes.entry(reason.unwrap_or(otherwise)).or_default() += 1;
            self.cut.push(socket.publisher);
        }
    }

    fn kill_if_due(&mut self, now_ns: u64) {
        if self.is_killed {
            return;
        }
        let Some(kill) = self.run_state.kill_due(now_ns) else { return };
        self.is_killed = true;
        for socket in self.sockets.iter_mut().filter(|socket| socket.publisher < kill.publishers) {
            let Some(connection) = socket.connection.take() else { continue };
            self.cut.push(socket.publisher);
            *self.outcome.closes.entry(KILLED.to_string()).or_default() += 1;
            if let Err(error) = socket::reset(connection.link.into_socket()) {
                tracing::warn!(%error, "a killed socket was closed in order and not reset");
            }
        }
    }

    fn stall_if_due(&mut self, now_ns: u64) {
        let Some((after, length)) = self.run_state.plan.disturbance.publisher_stop else { return };
        let (measured_from, _) = self.run_state.measured_ns(self.publisher_index);
        if !self.has_stalled && now_ns >= measured_from + nanoseconds(after) {
            self.has_stalled = true;
            thread::sleep(length);
        }
    }

    fn note_second(&mut self, now_ns: u64) {
        if let Some(second) = self.meter.passed(now_ns) {
            self.report_second(second);
        }
    }

    fn report_second(&mut self, t_s: u32) {
        self.run_state.progress.note_late(std::mem::take(&mut self.second_late_ns));
        self.run_state.progress.note_busy(self.meter.busy_last());
        let sent = std::mem::take(&mut self.second_sent);
        // The receiver may have ended already; the totals do not depend on windows.
        let _ = self.windows.send(WindowPart { t_s, sent, ..WindowPart::default() });
    }

    fn report_if_published(&mut self) {
        let has_published =
            self.due.is_empty() && !self.sockets.iter().any(PublisherSocket::is_under_way);
        if !self.has_published && has_published {
            self.has_published = true;
            self.run_state.published.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn finish(mut self) -> PublisherThreadResult {
        let stopped = self.run_state.progress.is_stopped();
        for socket in &mut self.sockets {
            // Frames of a stopped run are not unsent; those of a socket that closed early are.
            let is_cut = socket.connection.is_none();
            let intended = if stopped && !is_cut { socket.next_seq } else { socket.frames };
            let departures = self.publisher_index.departures(socket.publisher);
            self.outcome.deviations.withheld += departures.withheld(intended);
            self.outcome.intended += u64::from(intended);
            self.outcome.sent += u64::from(socket.written);
            self.outcome.unsent += u64::from(intended.saturating_sub(socket.written));
            socket.send_close();
        }
        if self.second_sent > 0 {
            self.report_second(self.meter.second());
        }
        self.health.busy_max = self.meter.busy_max();
        PublisherThreadResult { outcome: self.outcome, cut: self.cut, health: self.health }
    }
}

/// The publishing results of all threads.
pub fn merge(parts: impl IntoIterator<Item = PublisherOutcome>) -> PublisherOutcome {
    let mut whole = PublisherOutcome { slip: SignedHistogram::new(), ..Default::default() };
    for part in parts {
        whole.count += part.count;
        whole.intended += part.intended;
        whole.sent += part.sent;
        whole.late += part.late;
        whole.unsent += part.unsent;
        whole.deviations.merge(&part.deviations);
        merge_counts(&mut whole.closes, &part.closes);
        whole.slip.merge(&part.slip);
        lap::add(&mut whole.laps, &part.laps);
    }
    whole
}

const EVENTS: usize = 1024;
/// The longest sleep, so that the thread notices stop and finish in time.
const PAUSE_NS: u64 = SECOND_NS / 50;
