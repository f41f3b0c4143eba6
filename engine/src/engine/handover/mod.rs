//! The hand-over: a new process takes over listeners, feeds and connections from an old one, and
//! no peer notices (docs/hot-restart.md). Owns the socket where the two meet. Must not touch
//! connections: the cores of both do.
//!
//! ```text
//!  new                                    old
//!  Hello ────────────────────────────────▶  version, state
//!  ◀──────────────────────────────── Offer
//!  starts threads, cores bind their sockets
//!  Ready ────────────────────────────────▶  serves on
//!  ◀─────────────────────── Ahead, Ahead, …
//!                                           cores stand still, nobody publishes
//!  ◀─────────────── Some, Some, … Feeds     and each core ═══ listeners, connections ═══▶ a core
//!  Complete ─────────────────────────────▶  from here on it never goes back
//!  ◀─────────────────────────────── Commit  lets go, drains the rest, ends
//!  serves
//! ```
//!
//! Whatever goes wrong before `Commit` was sent, the old process goes on as if nothing had been:
//! it has read its connections, not changed them, and the bytes of its peers wait in the kernel.

pub mod giving;
pub mod message;
pub mod parcels;
pub mod taking;

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::Builder;

use crate::engine::handover::message::Message;
use crate::net::passing::Passage;
use crate::wire::packed::Packed;

/// Why a hand-over came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// The way between the two broke, or what came over it is no message.
    #[error("the other process: {0}")]
    Broken(#[from] io::Error),
    /// The other process does not want it.
    #[error("{0}")]
    Refused(String),
}

/// Binds a socket that only this user may reach, in place of one that nobody listens at.
pub(super) fn bind(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Listens at `path` for a process that takes over, and gives each to `take` until that answers
/// false. Whoever listened there before does so no more.
///
/// # Errors
/// As `bind(2)`.
pub fn listen(path: &Path, take: impl Fn(UnixStream) -> bool + Send + 'static) -> io::Result<()> {
    let listener = bind(path)?;
    let accept = move || {
        for stream in listener.incoming() {
            let goes_on = match stream {
                Ok(stream) => take(stream),
                Err(error) => {
                    tracing::warn!(%error, "nobody can take over any more");
                    false
                }
            };
            if !goes_on {
                return;
            }
        }
    };
    Builder::new().name("handover".into()).spawn(accept).map(drop)
}

fn say(passage: &mut Passage, message: &Message) -> io::Result<()> {
    passage.send(&message.packed(), &[])
}

fn hear(passage: &mut Passage) -> io::Result<Message> {
    let parcel = passage.receive()?;
    Message::unpacked(&parcel.bytes).map_err(io::Error::other)
}

fn unexpected() -> HandoverError {
    io::Error::new(io::ErrorKind::InvalidData, "not what is to be said now").into()
}
