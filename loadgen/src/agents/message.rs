//! What a conductor and its agents say to each other, and how it is framed: four bytes of length,
//! most significant first, then JSON. Must not know what is done about it.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::drive::run::RunResult;
use crate::judge::health::{Gate, HealthLimits};
use crate::os::tls::TlsPlan;
use crate::plan::part::Part;
use crate::receive::windows::WindowPart;

/// From the conductor.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// The first message.
    Hello {
        /// Of the program: both ends must be of the same.
        version: String,
        /// What lets a conductor in.
        secret: Option<String>,
    },
    /// What is to be done.
    Prepare(Box<Task>),
    /// What time is it?
    Probe {
        /// Comes back with the answer.
        nonce: u64,
    },
    /// Open the sockets.
    Ramp,
    /// Start together.
    Start {
        /// Instant of the first tick, ns since the Unix epoch, on the conductor's clock.
        unix_ns: u64,
        /// By how much the agent's clock is ahead of the conductor's, ns.
        ahead_ns: i64,
        /// One of this many measured frames is sampled for the spread.
        sample_every: u32,
    },
    /// Frames each publisher has written.
    Published(Vec<u32>),
    /// The end of each publisher's frames.
    Seen(Vec<u32>),
    /// End in order.
    Stop,
}

/// From an agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromAgent {
    /// The conductor is let in.
    Welcome {
        /// Fingerprint of the agent's host.
        host: String,
    },
    /// It is not, or this host cannot carry its share.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// Ready to open sockets.
    Prepared,
    /// The time, and how far the run is.
    Probed {
        /// Of the question.
        nonce: u64,
        /// ns since the Unix epoch.
        unix_ns: u64,
        /// So far.
        counts: Counts,
    },
    /// Every socket is open or given up.
    Ready,
    /// A thread's second.
    Second(Box<WindowPart>),
    /// Frames its publishers have written.
    Published(Vec<u32>),
    /// The end of each publisher's frames, as far as it knows.
    Seen(Vec<u32>),
    /// The end.
    Done(Box<Report>),
    /// It cannot go on.
    Failed {
        /// Why.
        reason: String,
    },
}

/// A share of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The whole scenario, as TOML.
    pub scenario: String,
    /// Which share.
    pub part: Part,
    /// The server.
    pub target: SocketAddr,
    /// The `Host` header.
    pub host: String,
    /// What shows the server who is asking.
    pub token: Option<String>,
    /// How connections are encrypted, if they are.
    pub tls: Option<TlsPlan>,
    /// Told apart from earlier runs by it.
    pub run_id: u32,
    /// What a valid run must keep to.
    pub limits: HealthLimits,
}

/// How far an agent is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Subscriber sockets upgraded.
    pub connected: u64,
    /// Failed tries to open one.
    pub errors: u64,
    /// Frames published.
    pub sent: u64,
    /// Distinct frames received.
    pub received: u64,
    /// Frames jumped over and not seen since.
    pub lost: u64,
    /// Sockets the server closed.
    pub closed: u64,
}

/// What an agent leaves behind.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// What it measured.
    pub performed: RunResult,
    /// What that is worth.
    pub gates: Vec<Gate>,
}

/// Writes a message.
///
/// # Errors
/// When the other end is gone.
pub fn write(out: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = u32::try_from(bytes.len() - LENGTH_BYTES).map_err(io::Error::other)?;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    out.write_all(&bytes)
}

/// Reads a message of at most `bytes_max`.
///
/// # Errors
/// When the other end is gone, or what it says is not understood.
pub fn read<T: DeserializeOwned>(from: &mut impl Read, bytes_max: u32) -> io::Result<T> {
    let mut length = [0; LENGTH_BYTES];
    from.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    let wrong = |text: String| io::Error::new(io::ErrorKind::InvalidData, text);
    if length > bytes_max {
        return Err(wrong(format!("a message of {length} bytes; {bytes_max} are allowed")));
    }
    // Grows with what comes, not with what is announced.
    let mut bytes = Vec::new();
    from.take(u64::from(length)).read_to_end(&mut bytes)?;
    if bytes.len() < length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("not understood: {error}")))
}

/// Before it is known who is there.
pub const HELLO_BYTES_MAX: u32 = 4096;
/// The arrivals of all sampled frames are the largest.
pub const MESSAGE_BYTES_MAX: u32 = 128 << 20;

const LENGTH_BYTES: usize = 4;

/// Both ends must be of the same: they share a plan that each of them makes.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_arrive_as_they_were_sent() {
        let mut bytes = Vec::new();
        let counts = Counts { connected: 7, ..Counts::default() };
        write(&mut bytes, &FromAgent::Probed { nonce: 1, unix_ns: 2, counts }).unwrap();
        write(&mut bytes, &FromAgent::Ready).unwrap();
        let mut from = bytes.as_slice();
        let first: FromAgent = read(&mut from, MESSAGE_BYTES_MAX).unwrap();
        let FromAgent::Probed { nonce: 1, unix_ns: 2, counts: read } = first else {
            panic!("{first:?}")
        };
        assert_eq!(read, counts);
        let second: FromAgent = super::read(&mut from, MESSAGE_BYTES_MAX).unwrap();
        assert!(matches!(second, FromAgent::Ready));
        let end = super::read::<FromAgent>(&mut from, MESSAGE_BYTES_MAX).unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn an_announced_length_beyond_the_limit_is_refused() {
        let long = [0xFF; 8];
        let error = read::<ToAgent>(&mut long.as_slice(), HELLO_BYTES_MAX).unwrap_err();
        assert!(error.to_string().contains("4096 are allowed"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_more(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let result = read::<ToAgent>(&mut bytes.as_slice(), HELLO_BYTES_MAX);
            prop_assert!(result.is_err() || bytes.len() > LENGTH_BYTES);
        }
    }
}
