//! A connection as bytes that come and go, for kinds that speak their protocol themselves. Owns
//! both buffers and their bounds. Must not know what the bytes mean.

use std::future::pending;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use crate::bridge::dial::Stream;
use crate::bridge::supervisor::SessionError;

/// Bytes that are read at once.
const READ_BYTES: usize = 64 << 10;
/// While so much waits to be written, nothing is added but short answers.
const OUTPUT_BYTES_MAX: usize = 256 << 10;
/// While so much waits to be written, nothing is read: each message has an answer.
const ANSWERS_BYTES_MAX: usize = 1 << 20;

/// See the file header.
pub struct Link {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    /// At most one message that is not whole, and one read.
    input: BytesMut,
    /// What is to be written.
    pub output: BytesMut,
    /// Written, but maybe still in a buffer of TLS.
    is_unflushed: bool,
    /// Nothing can be written any more. What the other side said before it closed comes first.
    broken: Option<SessionError>,
}

impl Link {
    /// Nothing has come or gone yet.
    #[must_use]
    pub fn new(stream: Box<dyn Stream>) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        let (input, output) = (BytesMut::new(), BytesMut::new());
        Self { reader, writer, input, output, is_unflushed: false, broken: None }
    }

    /// Whether a message may be added to the output.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.output.len() < OUTPUT_BYTES_MAX
    }

    /// What has come and was not taken.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }

    /// Takes the first `length` bytes of what has come; none while there are fewer.
    pub fn take(&mut self, length: usize) -> Option<Bytes> {
        (length <= self.input.len()).then(|| self.input.split_to(length).freeze())
    }

    /// Reads, where it may, or writes something, and says whether it was read. May be cancelled.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn exchange(&mut self, may_read: bool) -> Result<bool, SessionError> {
        let may_read = may_read && self.output.len() < ANSWERS_BYTES_MAX;
        self.input.reserve(READ_BYTES);
        let Self { reader, writer, input, output, is_unflushed, broken } = self;
        tokio::select! {
            read = reader.read_buf(input), if may_read => match read {
                Ok(1..) => Ok(true),
                Ok(0) => Err(broken.take().unwrap_or_else(closed)),
                Err(error) => Err(broken.take().unwrap_or_else(|| lost(&error))),
            },
            written = write(writer, output, is_unflushed), if broken.is_none() => {
                if let Err(error) = written {
                    *broken = Some(error);
                    output.clear();
                }
                Ok(false)
            }
        }
    }

    /// Writes something; never ends while there is nothing to write. May be cancelled.
    ///
    /// # Errors
    /// When the connection is lost.
    pub async fn write(&mut self) -> Result<(), SessionError> {
        write(&mut self.writer, &mut self.output, &mut self.is_unflushed).await
    }
}

async fn write(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    output: &mut BytesMut,
    is_unflushed: &mut bool,
) -> Result<(), SessionError> {
    if !output.is_empty() {
        let written = writer.write_buf(output).await.map_err(|error| lost(&error))?;
        *is_unflushed |= written > 0;
        return Ok(());
    }
    if !*is_unflushed {
        return pending().await;
    }
    writer.flush().await.map_err(|error| lost(&error))?;
    *is_unflushed = false;
    Ok(())
}

fn closed() -> SessionError {
    SessionError::new("closed", "the other side closed the connection")
}

fn lost(error: &io::Error) -> SessionError {
    SessionError::new("closed", format!("the connection was lost: {error}"))
}
