//! A TCP forwarder that can be cut, or go silent, and be mended: the line between two sites. Owns
//! its threads. Must not know what goes over it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

/// How often a connection looks whether the cable is whole.
const LOOK: Duration = Duration::from_millis(5);

const WHOLE: u8 = 0;
const CUT: u8 = 1;
const SILENT: u8 = 2;
const GONE: u8 = 3;

/// See the file header.
pub struct Cable {
    /// Where its near end is.
    pub address: SocketAddr,
    state: Arc<AtomicU8>,
}

impl Cable {
    /// A whole cable to `far`.
    pub fn to(far: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(AtomicU8::new(WHOLE));
        let seen = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                match seen.load(Ordering::SeqCst) {
                    GONE => return,
                    CUT => drop(near),
                    _ => forward(near.unwrap(), far, &seen),
                }
            }
        });
        Self { address, state }
    }

    /// Resets what goes over it, and whoever comes.
    pub fn cut(&self) {
        self.state.store(CUT, Ordering::SeqCst);
    }

    /// Lets nothing through any more, and says nothing of it.
    pub fn silence(&self) {
        self.state.store(SILENT, Ordering::SeqCst);
    }

    /// Takes connections again. Those that were cut stay so.
    pub fn mend(&self) {
        self.state.store(WHOLE, Ordering::SeqCst);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.state.store(GONE, Ordering::SeqCst);
        // The listener's thread looks when somebody comes; nobody is needed any more then.
        let _ = TcpStream::connect(self.address);
    }
}

fn forward(near: TcpStream, far: SocketAddr, state: &Arc<AtomicU8>) {
    let Ok(far) = TcpStream::connect(far) else { return };
    for (from, to) in [(&near, &far), (&far, &near)] {
        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
        let state = Arc::clone(state);
        thread::spawn(move || copy(from, to, &state));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, state: &AtomicU8) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let (mut buffer, mut was_silent) = (vec![0; 64 << 10], false);
    loop {
        match state.load(Ordering::SeqCst) {
            CUT | GONE => break,
            SILENT => was_silent = true,
            // What was silent once has lost bytes: it can only end.
            _ if was_silent => break,
            _ => {}
        }
        match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(_) if was_silent => {}
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    // The other direction may have ended it already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
