//! The old process's side of a hand-over. Owns the point behind which it does not go back. Must
//! not end the process.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::PoisonError;

use crate::engine::Engine;
use crate::engine::core_thread::{Order, Report};
use crate::engine::handover::message::{Message, Offer, VERSION};
use crate::engine::handover::parcels::Parcels;
use crate::engine::handover::{HandoverError, hear, say, unexpected};
use crate::net::passing::Passage;
use crate::settings::choices::Publishing;

/// How often what was published meanwhile is sent ahead, as long as it is much.
const ROUNDS_MAX: usize = 8;
/// Bytes of a round that are so few that the rest may wait for the cores to stand still.
const ROUND_BYTES_MIN: usize = 64 << 10;

/// What became of it.
#[derive(Debug)]
pub enum Given {
    /// The other process has everything that could be handed: what is left drains. Tell it by
    /// [`detached`] when nothing is attached any more.
    All(Passage),
    /// The other process cannot take over, and waits for the end of this one: drain.
    Nothing(Passage, String),
}

/// Hands this engine over to the process behind `stream`.
///
/// # Errors
/// [`HandoverError`]; this engine goes on as before.
pub fn give(engine: &Engine, stream: UnixStream) -> Result<Given, HandoverError> {
    let mut passage = Passage::new(stream)?;
    let Message::Hello(version) = hear(&mut passage)? else { return Err(unexpected()) };
    if let Some(reason) = obstacle(engine, version) {
        say(&mut passage, &Message::Refused(reason.clone(), true))?;
        return Ok(Given::Nothing(passage, reason));
    }
    say(&mut passage, &Message::Offer(offer(engine)))?;
    let paths = match hear(&mut passage)? {
        Message::Ready(paths) if paths.len() == engine.leads.len() => paths,
        Message::Refused(reason, _) => return Err(HandoverError::Refused(reason)),
        _ => return Err(unexpected()),
    };
    let mut parcels = Parcels::new(&mut passage);
    give_ahead(engine, &mut parcels)?;
    let publishing = engine.shared.publishing.write().unwrap_or_else(PoisonError::into_inner);
    let began_ns = engine.clock.now_ns();
    engine.shared.set_pausing(true);
    let committed = pause(engine)
        .and_then(|()| give_all(engine, parcels, paths))
        .and_then(|connections| say_commit(&mut passage).map(|()| connections));
    if committed.is_ok() {
        engine.shared.registry.close();
    }
    engine.shared.set_pausing(false);
    let last = || if committed.is_ok() { Order::LetGo } else { Order::GoOn };
    tell_all(engine, last);
    drop(publishing);
    let connections = committed?;
    let pause_us = engine.clock.now_ns().saturating_sub(began_ns) / 1_000;
    tracing::info!(connections, pause_us, "handed over to another process");
    Ok(Given::All(passage))
}

/// Why an engine can never be handed over to a process that speaks `version`.
fn obstacle(engine: &Engine, version: u64) -> Option<String> {
    let config = engine.shared.config.load();
    if version != VERSION {
        return Some(format!("it speaks version {version} of the hand-over, this one {VERSION}"));
    }
    if engine.shared.is_draining() {
        return Some("draining already".to_owned());
    }
    let has_backplane = !config.attached.tables("backplane").is_empty();
    (has_backplane || config.publishing == Publishing::Log)
        .then(|| "nodes behind a back-plane are not handed over: clients go on at any".to_owned())
}

fn offer(engine: &Engine) -> Offer {
    Offer {
        epoch: engine.shared.registry.epoch().0,
        now_ns: engine.clock.now_ns(),
        cores: engine.leads.len() as u64,
        clients: engine.addresses.clients,
        admins: engine.addresses.admins,
        has_tls: engine.shared.tls.is_some(),
    }
}

fn tell_all(engine: &Engine, order: impl Fn() -> Order) {
    for lead in &engine.leads {
        // A core that has failed is told by the end of its thread.
        let _ = lead.orders.send(order());
    }
}

fn pause(engine: &Engine) -> Result<(), HandoverError> {
    for lead in &engine.leads {
        match lead.reports.recv() {
            Ok(Report::Paused) => {}
            _ => return Err(HandoverError::Refused("a core of this process failed".to_owned())),
        }
    }
    Ok(())
}

/// Sends what feeds retain while they are still published to, until little is left of it.
fn give_ahead(engine: &Engine, parcels: &mut Parcels<'_>) -> io::Result<()> {
    for _ in 0..ROUNDS_MAX {
        engine.shared.registry.hand(|feed| parcels.add_ahead(feed))?;
        if parcels.end_round()? < ROUND_BYTES_MIN {
            break;
        }
    }
    Ok(())
}

/// Sends the rest: cores their connections, this thread the feeds. Answers how many connections.
fn give_all(
    engine: &Engine,
    mut parcels: Parcels<'_>,
    paths: Vec<String>,
) -> Result<usize, HandoverError> {
    for (lead, path) in engine.leads.iter().zip(paths) {
        // As above.
        let _ = lead.orders.send(Order::Send(path.into()));
    }
    let registry = &engine.shared.registry;
    let passage = registry.hand(|feed| parcels.add_last(feed)).and_then(|()| parcels.end());
    let counted = passage.and_then(|passage| {
        say(passage, &Message::Feeds(registry.counters()))?;
        Ok(passage)
    });
    let mut sent: io::Result<usize> = Ok(0);
    for lead in &engine.leads {
        // Each has to be heard: what it says now is not what the next hand-over waits for.
        let own = match lead.reports.recv() {
            Ok(Report::Sent(own)) => own,
            _ => return Err(unexpected()),
        };
        sent = sent.and_then(|all| Ok(all + own?));
    }
    let passage = counted?;
    let connections = sent?;
    match hear(passage)? {
        Message::Complete => Ok(connections),
        Message::Refused(reason, _) => Err(HandoverError::Refused(reason)),
        _ => Err(unexpected()),
    }
}

/// Once this was sent there is no way back, unless the other process is gone: it closes its end
/// when it does not serve. One that only does not answer may serve a moment later.
fn say_commit(passage: &mut Passage) -> Result<(), HandoverError> {
    match say(passage, &Message::Commit) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            tracing::warn!(%error, "handed over, but not answered");
            Ok(())
        }
        said => Ok(said?),
    }
}

/// Tells the other process that nothing is attached to this one any more.
pub fn detached(passage: &mut Passage) {
    if let Err(error) = say(passage, &Message::Detached) {
        tracing::debug!(%error, "the process that took over does not wait any more");
    }
}
