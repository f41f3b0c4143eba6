//! The new process's side of a hand-over. Owns what has to be the same in both. Must not serve
//! anything before the old process says so.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;
use crate::engine::core_thread::{Addresses, Order, Report, Way};
use crate::engine::handover::message::{Message, Offer, VERSION};
use crate::engine::handover::{HandoverError, hear, say, unexpected};
use crate::engine::{Engine, StartError};
use crate::feed::registry::handing::Ahead;
use crate::net::passing::Passage;
use crate::settings::config::Config;

/// An old process that has something to hand over.
#[derive(Debug)]
pub struct Taking {
    passage: Passage,
    offer: Offer,
    socket: PathBuf,
}

/// Asks the process that listens at `socket` what it has. None when there is none, or none any
/// more: one that cannot hand over drains and ends first, which is waited for, `patience` long.
///
/// # Errors
/// [`HandoverError`]: nothing was taken over.
pub fn ask(socket: &Path, patience: Duration) -> Result<Option<Taking>, HandoverError> {
    let stream = match UnixStream::connect(socket) {
        Err(error) if is_nobody(&error) => return Ok(None),
        stream => stream?,
    };
    let mut passage = Passage::new(stream)?;
    say(&mut passage, &Message::Hello(VERSION))?;
    match hear(&mut passage)? {
        Message::Offer(offer) => Ok(Some(Taking { passage, offer, socket: socket.to_owned() })),
        Message::Refused(reason, true) => {
            tracing::warn!(reason, "nothing is handed over: waiting for the other process to end");
            passage.wait_for_end(patience);
            Ok(None)
        }
        Message::Refused(reason, false) => Err(HandoverError::Refused(reason)),
        _ => Err(unexpected()),
    }
}

/// Whether nobody listens there.
fn is_nobody(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// Starts an engine that goes on where the other process stopped.
///
/// # Errors
/// [`StartError`]; the other process goes on then, and nothing keeps running here.
pub fn take(config: Config, mut taking: Taking) -> Result<(Engine, Passage), StartError> {
    let Taking { passage, offer, socket } = &mut taking;
    if let Some(reason) = difference(&config, offer) {
        say(passage, &Message::Refused(reason.clone(), false)).map_err(HandoverError::from)?;
        return Err(HandoverError::Refused(reason).into());
    }
    let path = |index| socket.with_extension(format!("{}-{index}", std::process::id()));
    let paths: Vec<PathBuf> = (0..offer.cores).map(path).collect();
    let text = paths.iter().map(|path| path.display().to_string()).collect();
    let ways = paths.into_iter().map(Way::TakeOver).collect();
    let clock = Clock::going_on_from(offer.now_ns);
    let addresses = Addresses { clients: offer.clients, admins: offer.admins };
    let mut engine = Engine::begin(config, (clock, offer.epoch >> 20), ways)?;
    engine.addresses = addresses;
    if let Err(error) = take_all(&mut engine, passage, text) {
        // The other process goes on at once, not when all threads of this one have ended.
        drop(taking);
        return Err(error.into());
    }
    // Whatever is asked for from now on is answered.
    engine.finish()?;
    for lead in &engine.leads {
        // A core that has failed is told by what it does not report.
        let _ = lead.orders.send(Order::Serve);
    }
    for lead in &engine.leads {
        match lead.reports.recv() {
            Ok(Report::Serving(Ok(()))) => {}
            Ok(Report::Serving(Err(error))) => {
                tracing::warn!(%error, "some connections could not be gone on with");
            }
            _ => return Err(HandoverError::Refused("a core did not start".to_owned()).into()),
        }
    }
    Ok((engine, taking.passage))
}

/// What only a start with nobody connected can change.
fn difference(config: &Config, offer: &Offer) -> Option<String> {
    let is_same = |wanted: std::net::SocketAddr, there: std::net::SocketAddr| {
        wanted.ip() == there.ip() && [0, there.port()].contains(&wanted.port())
    };
    let admins = match (config.admin.listen, offer.admins) {
        (Some(wanted), Some(there)) => is_same(wanted, there),
        (wanted, there) => wanted.is_none() && there.is_none(),
    };
    let has_tls = !config.tls.certificate.as_os_str().is_empty();
    let differences = [
        (config.cores() as u64 == offer.cores, "server.cores"),
        (is_same(config.server.listen, offer.clients), "server.listen"),
        (admins, "admin.listen"),
        (has_tls == offer.has_tls, "tls.certificate"),
    ];
    let name = differences.iter().find(|(is_same, _)| !is_same).map(|(_, name)| name)?;
    Some(format!("{name} is another than that of the running process: stop that first"))
}

/// Takes feeds in, and waits for the cores to have their connections and for the word to serve.
fn take_all(
    engine: &mut Engine,
    passage: &mut Passage,
    paths: Vec<String>,
) -> Result<(), HandoverError> {
    say(passage, &Message::Ready(paths))?;
    take_feeds(engine, passage)?;
    let mut connections = 0;
    for lead in &engine.leads {
        connections += match lead.reports.recv() {
            Ok(Report::Received(received)) => received?,
            _ => return Err(unexpected()),
        };
    }
    say(passage, &Message::Complete)?;
    match hear(passage)? {
        Message::Commit => {
            tracing::info!(connections, "taken over from another process");
            Ok(())
        }
        _ => Err(unexpected()),
    }
}

fn take_feeds(engine: &Engine, passage: &mut Passage) -> Result<(), HandoverError> {
    let (registry, mut ahead) = (&engine.shared.registry, Ahead::default());
    loop {
        match hear(passage)? {
            Message::Ahead(parts) => {
                parts.into_iter().for_each(|part| registry.take_ahead(&mut ahead, part));
            }
            Message::Some(parts) => parts.into_iter().for_each(|part| match part.is_last() {
                true => registry.take_in(&mut ahead, part),
                false => registry.take_ahead(&mut ahead, part),
            }),
            Message::Feeds(counters) => {
                registry.go_on_from(counters);
                return Ok(());
            }
            _ => return Err(unexpected()),
        }
    }
}

/// Waits until nothing is attached to the other process any more, or it has ended.
pub fn wait_until_detached(mut passage: Passage) {
    if let Err(error) = hear(&mut passage) {
        tracing::debug!(%error, "the other process did not say what is attached to it");
    }
}
