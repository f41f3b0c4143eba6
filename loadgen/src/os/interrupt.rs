//! SIGINT and SIGTERM as requests: the first ends the run in order, the second ends the process.
//! Must not know what a run is.

use std::io;
use std::process;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::judge::exit::Exit;
use crate::observe::progress::Progress;

/// The thread that waits for signals.
pub struct Interrupt {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Interrupt {
    /// Starts to watch; the first signal sets the run's `stop`.
    pub fn watch(progress: Arc<Progress>) -> io::Result<Interrupt> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                match count {
                    0 => progress.stop.store(true, std::sync::atomic::Ordering::Relaxed),
                    // The embedded engine ends with this process.
                    _ => process::exit(i32::from(Exit::InvalidRun.code())),
                }
            }
        })?;
        Ok(Interrupt { handle, thread })
    }

    /// Ends the watch.
    pub fn finish(self) {
        self.handle.close();
        // A watcher that panicked watches no more, which is what is wanted.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_asks_the_run_to_stop() {
        let progress = Arc::new(Progress::default());
        let interrupt = Interrupt::watch(Arc::clone(&progress)).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        while !progress.is_stopped() {
            thread::yield_now();
        }
        interrupt.finish();
    }
}
