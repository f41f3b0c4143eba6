//! What an engine rings when there is something to read. Must not know what.

use std::sync::mpsc::{self, Receiver, Sender};

use gridcast::delivery::doorbell::Wake;

/// See the file header.
pub struct Bell(Sender<()>);

impl Bell {
    /// A bell, and where it is heard.
    pub fn new() -> (Box<Self>, Receiver<()>) {
        let (ring, rung) = mpsc::channel();
        (Box::new(Self(ring)), rung)
    }
}

impl Wake for Bell {
    fn wake(&self) {
        // A test that has ended needs no bell.
        let _ = self.0.send(());
    }
}
