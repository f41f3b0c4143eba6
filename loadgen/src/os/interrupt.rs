//! SIGINT and SIGTERM: the first stops the run in order, the second ends the process. Must not know
//! what a run is.

use std::io;
use std::process;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// The thread that waits for signals.
pub struct Interrupt {
    handle: Handle,
    thread: JoinHandle<()>,
}

impl Interrupt {
    /// Starts to wait for signals: the first calls `stop`, the second ends the process with this
    /// code.
    ///
    /// When the system refuses the handlers or the thread.
    /// When the system gives neither handlers nor a thread.
    pub fn watch(stop: impl Fn() + Send + 'static, exit_code: u8) -> io::Result<Interrupt> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                match count {
                    0 => stop(),
                    // The embedded engine ends together with this process.
                    _ => process::exit(i32::from(exit_code)),
                }
            }
        })?;
        Ok(Interrupt { handle, thread })
    }

    /// Stops waiting for signals.
    pub fn finish(self) {
        self.handle.close();
        // A watcher that panicked has stopped watching, which is the goal here.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_asks_the_run_to_stop() {
        let (sender, stopped) = std::sync::mpsc::channel();
        let stop = move || sender.send(()).unwrap();
        let interrupt = Interrupt::watch(stop, 5).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(stopped.recv(), Ok(()));
        interrupt.finish();
    }
}
