//! The conductor's side of one load on several hosts: the common start, the agreements between
//! agents, their per-second reports, and lost agents. Must not measure anything itself.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::agents::connection::{Agent, AgentEvent};
use crate::agents::error::AgentsError;
use crate::agents::message::{Counts, FromAgent, Report, ToAgent};
use crate::drive::coordinator::{sample_every, second_after};
use crate::observe::clocks;
use crate::observe::progress::{Phase, Progress};
use crate::plan::plan::Plan;
use crate::receive::outcome::window::Window;
use crate::receive::windows::Windows;
use crate::time::clock::{UtcMap, mono_ns};
use crate::time::units::{SECOND_NS, nanoseconds};

/// The results of the agents.
pub struct CollectedReports {
    /// Reports of the agents that finished, by index.
    pub reports: Vec<(usize, Report)>,
    /// The lost agents: name and reason.
    pub lost: Vec<(String, String)>,
    /// The windows of all agents, second by second.
    pub windows: Vec<Window>,
}

/// Conducts a load from start to end. The agents are enlisted; `progress` shows how far it is.
///
/// # Errors
/// When an agent is lost before the start.
pub fn conduct(
    agents: &mut [Agent],
    plan: &Plan,
    utc: UtcMap,
    progress: &Progress,
) -> Result<CollectedReports, AgentsError> {
    let (sender, events) = mpsc::channel();
    for (place, agent) in agents.iter_mut().enumerate() {
        agent.listen(place, utc, sender.clone()).map_err(AgentsError::System)?;
    }
    drop(sender);
    let parts = agents.iter().map(|_| Share::default()).collect();
    let windows = Windows::default();
    let mut conductor = Conductor {
        agents,
        parts,
        plan,
        utc,
        progress,
        events,
        windows,
        start_unix_ns: None,
        time_asked_ns: 0,
        is_stopped: false,
    };
    conductor.broadcast(&ToAgent::Ramp);
    while !conductor.is_over() {
        conductor.turn()?;
    }
    Ok(conductor.finish())
}

struct Conductor<'c> {
    agents: &'c mut [Agent],
    parts: Vec<Share>,
    plan: &'c Plan,
    utc: UtcMap,
    progress: &'c Progress,
    events: Receiver<AgentEvent>,
    windows: Windows,
    start_unix_ns: Option<u64>,
    time_asked_ns: u64,
    is_stopped: bool,
}

/// The state of one agent.
#[derive(Default)]
struct Share {
    is_ready: bool,
    counts: Counts,
    published: Option<Vec<u32>>,
    seen: Option<Vec<u32>>,
    report: Option<Report>,
    lost: Option<String>,
}

impl Conductor<'_> {
    fn turn(&mut self) -> Result<(), AgentsError> {
        match self.events.recv_timeout(POLL_INTERVAL) {
            Ok(event) => self.on_event(event)?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        self.ask_time();
        self.start_when_ready();
        self.agree();
        self.follow_phases();
        self.stop_if_asked();
        Ok(())
    }

    fn on_event(&mut self, event: AgentEvent) -> Result<(), AgentsError> {
        let AgentEvent { agent, unix_ns, message } = event;
        let (Some(part), Some(of)) = (self.parts.get_mut(agent), self.agents.get_mut(agent)) else {
            return Ok(());
        };
        match message {
            Ok(FromAgent::Probed { nonce, unix_ns: remote_ns, counts }) => {
                of.on_time_answer(nonce, remote_ns, unix_ns);
                let bounds = self.agents.iter().map(|agent| agent.clock.bound_ns());
                self.progress.note_bound(clocks::two_worst_ns(bounds));
                add_change(self.progress, mem::replace(&mut part.counts, counts), counts);
            }
            Ok(FromAgent::Ready) => part.is_ready = true,
            Ok(FromAgent::Second(second)) => {
                self.windows.add(*second);
                if let Some(window) = self.windows.take_latest() {
                    self.progress.note_window(window);
                }
            }
            Ok(FromAgent::Published(written)) => part.published = Some(written),
            Ok(FromAgent::Seen(ends)) => part.seen = Some(ends),
            Ok(FromAgent::Done(report)) => part.report = Some(*report),
            Ok(FromAgent::Failed { reason } | FromAgent::Refused { reason }) => {
                self.lose(agent, reason)?;
            }
            Ok(FromAgent::Welcome { .. } | FromAgent::Prepared) => {
                self.lose(agent, "sent an unexpected message".to_owned())?;
            }
            Err(error) => self.lose(agent, silence(&error))?,
        }
        Ok(())
    }

    /// Before the start a lost agent ends the load; afterwards the results of the others are kept.
    fn lose(&mut self, agent: usize, reason: String) -> Result<(), AgentsError> {
        let (Some(part), Some(of)) = (self.parts.get_mut(agent), self.agents.get(agent)) else {
            return Ok(());
        };
        if part.report.is_some() || part.lost.is_some() {
            return Ok(()); // it had reported everything
        }
        if self.start_unix_ns.is_none() {
            return Err(AgentsError::Lost { name: of.name.clone(), reason });
        }
        part.lost = Some(reason);
        self.progress.stop.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn ask_time(&mut self) {
        if mono_ns() < self.time_asked_ns + ASK_EVERY_NS {
            return;
        }
        self.time_asked_ns = mono_ns();
        for (agent, part) in self.agents.iter_mut().zip(&self.parts) {
            if part.is_live() {
                // A lost agent is detected by the thread that reads from it.
                let _ = agent.ask_time(self.utc);
            }
        }
    }

    fn start_when_ready(&mut self) {
        if self.start_unix_ns.is_some() || !self.parts.iter().all(|part| part.is_ready) {
            return;
        }
        let unix_ns = second_after(self.utc, LEAD_NS);
        let sample_every = sample_every(self.plan, unix_ns, self.utc);
        for agent in &*self.agents {
            let ahead_ns = agent.clock.used().ahead_ns;
            // A lost agent is detected by the thread that reads from it.
            let _ = agent.send(&ToAgent::Start { unix_ns, ahead_ns, sample_every });
        }
        self.start_unix_ns = Some(unix_ns);
    }

    /// Sends the combined values to all agents once the last agent has reported.
    fn agree(&mut self) {
        if let Some(written) = agreed(&mut self.parts, |part| &mut part.published) {
            self.broadcast(&ToAgent::Published(written));
        }
        if let Some(ends) = agreed(&mut self.parts, |part| &mut part.seen) {
            self.broadcast(&ToAgent::Seen(ends));
        }
    }

    fn follow_phases(&self) {
        let Some(start_unix_ns) = self.start_unix_ns else {
            if self.parts.iter().all(|part| part.is_ready) {
                self.progress.enter(Phase::Ready);
            }
            return;
        };
        let now_ns = self.utc.unix_of_mono(mono_ns());
        let measured_from = start_unix_ns + nanoseconds(self.plan.warmup);
        let phases = [
            (start_unix_ns, Phase::Warmup),
            (measured_from, Phase::Measure),
            (measured_from + nanoseconds(self.plan.measure), Phase::Drain),
        ];
        for (_, phase) in phases.into_iter().filter(|(from_ns, _)| now_ns >= *from_ns) {
            self.progress.enter(phase);
        }
    }

    fn stop_if_asked(&mut self) {
        if self.progress.is_stopped() && !self.is_stopped {
            self.is_stopped = true;
            self.broadcast(&ToAgent::Stop);
        }
    }

    fn broadcast(&self, message: &ToAgent) {
        for (agent, _) in self.agents.iter().zip(&self.parts).filter(|(_, part)| part.is_live()) {
            // A lost agent is detected by the thread that reads from it.
            let _ = agent.send(message);
        }
    }

    fn is_over(&self) -> bool {
        self.parts.iter().all(|part| !part.is_live())
    }

    fn finish(self) -> CollectedReports {
        self.progress.enter(Phase::Done);
        let mut gathered = CollectedReports {
            reports: Vec::new(),
            lost: Vec::new(),
            windows: self.windows.finish(),
        };
        for (place, (part, agent)) in self.parts.into_iter().zip(self.agents).enumerate() {
            agent.disconnect();
            match (part.report, part.lost) {
                (Some(report), _) => gathered.reports.push((place, report)),
                (None, reason) => {
                    gathered.lost.push((agent.name.clone(), reason.unwrap_or_default()));
                }
            }
        }
        gathered
    }
}

impl Share {
    fn is_live(&self) -> bool {
        self.report.is_none() && self.lost.is_none()
    }
}

/// The maximum over the reports of all remaining agents; returned once.
fn agreed(parts: &mut [Share], of: fn(&mut Share) -> &mut Option<Vec<u32>>) -> Option<Vec<u32>> {
    let mut live: Vec<_> = parts.iter_mut().filter(|part| part.is_live()).collect();
    if live.is_empty() || live.iter_mut().any(|part| of(part).is_none()) {
        return None;
    }
    let all = live.into_iter().filter_map(|part| of(part).take());
    all.reduce(|largest, more| {
        largest.into_iter().zip(more).map(|(known, found)| known.max(found)).collect()
    })
}

/// Why an agent ended.
fn silence(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "silent for too long".to_owned(),
        io::ErrorKind::UnexpectedEof => "its connection ended".to_owned(),
        _ => format!("its connection ended: {error}"),
    }
}

/// Adds the change since an agent's last report.
fn add_change(progress: &Progress, before: Counts, now: Counts) {
    let add = |counter: &AtomicU64, before: u64, now: u64| {
        // Counts that may fall wrap alike in both places.
        counter.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    };
    add(&progress.connected, before.connected, now.connected);
    add(&progress.errors, before.errors, now.errors);
    add(&progress.sent, before.sent, now.sent);
    add(&progress.received, before.received, now.received);
    add(&progress.lost, before.lost, now.lost);
    add(&progress.closed, before.closed, now.closed);
}

const POLL_INTERVAL: Duration = Duration::from_millis(20);
const ASK_EVERY_NS: u64 = SECOND_NS / 4;
/// The lead time until the start: it must reach every agent, and every thread must get ready.
const LEAD_NS: u64 = SECOND_NS;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_are_left_must_have_reported() {
        let mut parts = vec![Share::default(), Share::default(), Share::default()];
        parts[0].published = Some(vec![3, 0]);
        parts[1].published = Some(vec![0, 4]);
        assert_eq!(agreed(&mut parts, |part| &mut part.published), None);
        parts[2].lost = Some("gone".into());
        assert_eq!(agreed(&mut parts, |part| &mut part.published), Some(vec![3, 4]));
        assert_eq!(agreed(&mut parts, |part| &mut part.published), None, "once");
    }
}
