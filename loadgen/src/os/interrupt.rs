//! SIGINT and SIGTERM as requests: the first ends the run in order, the second ends the process.
//! Must not know what a run is.

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
    /// Starts to watch: the first signal calls `stop`, the second ends the process with this code.
    ///
    /// # Errors
    /// When the system gives neither handlers nor a thread.
    pub fn watch(stop: impl Fn() + Send + 'static, exit_code: u8) -> io::Result<Interrupt> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        let thread = thread::Builder::new().name("signals".into()).spawn(move || {
            for (count, _) in signals.forever().enumerate() {
                match count {
                    0 => stop(),
                    // The embedded engine ends with this process.
                    _ => process::exit(i32::from(exit_code)),
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
        let (sender, stopped) = std::sync::mpsc::channel();
        let stop = move || sender.send(()).unwrap();
        let interrupt = Interrupt::watch(stop, 5).unwrap();
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(stopped.recv(), Ok(()));
        interrupt.finish();
    }
}
