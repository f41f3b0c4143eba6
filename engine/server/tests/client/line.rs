//! A TCP forwarder between a client and a server: it can be cut, hold bytes back, lead to another
//! server, and spoil what has certain words, as proxies do. Must not know what these mean.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a connection looks what it may do.
const LOOK: Duration = Duration::from_millis(3);

/// What becomes of a request that has some words.
#[derive(Clone, Copy)]
pub enum Spoilt {
    /// A header with the words becomes another that has no meaning.
    Lost(&'static str),
    /// The connection is reset.
    Reset(&'static str),
}

/// See the file header.
pub struct Line {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    far: Mutex<SocketAddr>,
    /// Nobody is let in.
    is_shut: AtomicBool,
    /// Bytes stay where they are, up and down.
    holds: [AtomicBool; 2],
    /// Words of requests that do not come through.
    spoilt: Mutex<Vec<Spoilt>>,
    /// Connections of an earlier number are reset.
    life: AtomicU64,
    connections: AtomicU64,
}

impl Line {
    /// A line to `far` that passes everything on.
    pub fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            far: Mutex::new(far),
            is_shut: AtomicBool::new(false),
            holds: [false, false].map(AtomicBool::new),
            spoilt: Mutex::default(),
            life: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || {
            for near in listener.incoming() {
                if Arc::strong_count(&own) == 1 {
                    return;
                }
                forward(near.unwrap(), &own);
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("ws://{}", self.address)
    }

    /// Resets all connections; others may come at once.
    pub fn cut(&self) {
        self.shared.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Lets nobody in, and resets all connections.
    pub fn shut(&self) {
        self.shared.is_shut.store(true, Ordering::SeqCst);
        self.cut();
    }

    /// Passes everything on again.
    pub fn open(&self) {
        self.shared.is_shut.store(false, Ordering::SeqCst);
        self.shared.holds.iter().for_each(|hold| hold.store(false, Ordering::SeqCst));
    }

    /// Holds back what goes either way, and says nothing of it.
    pub fn hold(&self) {
        self.shared.holds.iter().for_each(|hold| hold.store(true, Ordering::SeqCst));
    }

    /// Holds back what the server says.
    pub fn hold_down(&self) {
        self.shared.holds[1].store(true, Ordering::SeqCst);
    }

    /// Spoils requests from now on.
    pub fn spoil(&self, how: Spoilt) {
        self.shared.spoilt.lock().unwrap().push(how);
    }

    /// Spoils none any more.
    pub fn spare(&self) {
        self.shared.spoilt.lock().unwrap().clear();
    }

    /// Leads to another server.
    pub fn lead_to(&self, far: SocketAddr) {
        *self.shared.far.lock().unwrap() = far;
    }

    /// How many came until now.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Spoils a request; false where the connection is reset. A head comes in one piece.
    fn passes(&self, bytes: &mut [u8]) -> bool {
        for spoilt in self.spoilt.lock().unwrap().iter() {
            let (Spoilt::Lost(words) | Spoilt::Reset(words)) = spoilt;
            let at = bytes.windows(words.len()).position(|found| found == words.as_bytes());
            match (at, spoilt) {
                (Some(at), Spoilt::Lost(_)) => {
                    let lost = bytes[at..at + words.len()].iter_mut();
                    lost.filter(|byte| byte.is_ascii_alphabetic()).for_each(|byte| *byte = b'x');
                }
                (Some(_), Spoilt::Reset(_)) => return false,
                (None, _) => {}
            }
        }
        true
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.cut();
        // The listener's thread looks when somebody comes; nobody is needed any more then.
        let _ = TcpStream::connect(self.address);
    }
}

fn forward(near: TcpStream, shared: &Arc<Shared>) {
    if shared.is_shut.load(Ordering::SeqCst) {
        return;
    }
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let life = shared.life.load(Ordering::SeqCst);
    let Ok(far) = TcpStream::connect(*shared.far.lock().unwrap()) else { return };
    for (way, from, to) in [(0, &near, &far), (1, &far, &near)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let shared = Arc::clone(shared);
        thread::spawn(move || copy((from, to), (way, life), &shared));
    }
}

fn copy((mut from, mut to): (TcpStream, TcpStream), (way, life): (usize, u64), shared: &Shared) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut buffer = vec![0; 64 << 10];
    let is_whole = || shared.life.load(Ordering::SeqCst) == life;
    while is_whole() {
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                // What came just before is held back as well.
                while is_whole() && shared.holds[way].load(Ordering::SeqCst) {
                    thread::sleep(LOOK);
                }
                let passes = way == 1 || shared.passes(&mut buffer[..count]);
                if !passes || !is_whole() || to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    // The other direction may have ended it already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
