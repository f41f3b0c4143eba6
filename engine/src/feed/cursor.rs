//! A cursor: the position of a subscriber in a lane. Owns the arithmetic of whole and torn frames.
//! Must not own bytes or know sockets.

/// A place in a lane: the frame it stands at, and how much of that frame has already been sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Lane position of the first byte of the frame the subscriber gets next.
    pub frame_pos: u64,
    /// Ordinal of that frame: its number in the feed, dense from 1, which never leaves the process.
    pub ordinal: u64,
    /// Bytes of that frame already sent; above zero only after a partial write.
    pub torn_bytes: u32,
}

impl Cursor {
    /// A cursor at the beginning of frame `ordinal`, which begins at `frame_pos`.
    pub fn at(frame_pos: u64, ordinal: u64) -> Self {
        Self { frame_pos, ordinal, torn_bytes: 0 }
    }

    /// Lane position of the next byte to send.
    pub fn pos(&self) -> u64 {
        self.frame_pos + u64::from(self.torn_bytes)
    }

    /// True when part of a frame is out, so that only its rest may follow.
    pub fn is_torn(&self) -> bool {
        self.torn_bytes > 0
    }
}
