//! Parcels between two processes of this program: bytes with descriptors, over a Unix socket. Owns
//! how they are framed, that each is acknowledged before the next, so that few descriptors are
//! under way, and that nobody waits for ever. Must not know what is in them.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg, sockopt,
};

/// The most descriptors of one parcel; the kernel takes 253.
pub const DESCRIPTORS_MAX: usize = 64;
/// How long the other process may do nothing.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// What is said of a parcel that came.
const CAME: u8 = 0xA5;
const HEAD_BYTES: usize = 2 * size_of::<u32>();

/// One end of the way between the two.
#[derive(Debug)]
pub struct Passage(UnixStream);

/// What came in one parcel.
#[derive(Debug)]
pub struct Parcel {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its descriptors, in order.
    pub descriptors: Vec<OwnedFd>,
}

impl Passage {
    /// The way to the process behind `stream`, which must be of the same user, or root's.
    ///
    /// # Errors
    /// When it is another's, or as `setsockopt(2)`.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        let peer = sockopt::socket_peercred(&stream)?.uid;
        if peer != rustix::process::geteuid() && !peer.is_root() {
            let text = format!("the process of user {} has no business here", peer.as_raw());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(stream))
    }

    /// Sends a parcel and waits until it came.
    ///
    /// # Errors
    /// As `sendmsg(2)`; `TimedOut` when the other process does not take it, `InvalidInput` when it
    /// is too large.
    pub fn send(&mut self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.len() > DESCRIPTORS_MAX {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let len = u32::try_from(bytes.len()).map_err(too_large)?;
        let count = u32::try_from(descriptors.len()).map_err(too_large)?;
        let mut head = [0; HEAD_BYTES];
        let (front, back) = head.split_at_mut(size_of::<u32>());
        front.copy_from_slice(&len.to_le_bytes());
        back.copy_from_slice(&count.to_le_bytes());
        self.send_head(&head, descriptors)?;
        self.0.write_all(bytes).map_err(patience_is_over)?;
        let mut came = [0];
        self.0.read_exact(&mut came).map_err(patience_is_over)?;
        if came == [CAME] { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    }

    fn send_head(&self, head: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let sent = sendmsg(&self.0, &[IoSlice::new(head)], &mut control, SendFlags::NOSIGNAL);
        // So few bytes go at once or not at all.
        if sent.map_err(|error| patience_is_over(error.into()))? == head.len() {
            Ok(())
        } else {
            Err(io::ErrorKind::WriteZero.into())
        }
    }

    /// The next parcel, which is acknowledged.
    ///
    /// # Errors
    /// As `recvmsg(2)`; `UnexpectedEof` when the other process is gone, `TimedOut` when it says
    /// nothing, `InvalidData` when descriptors are missing: this thread has no room for them.
    pub fn receive(&mut self) -> io::Result<Parcel> {
        let (len, descriptors) = self.receive_head()?;
        let mut bytes = Vec::new();
        // Room is made for what comes, not for what was announced.
        let came = (&self.0).take(len).read_to_end(&mut bytes).map_err(patience_is_over)?;
        if came as u64 != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // It came, whether or not the other process lives to hear it.
        let _ = self.0.write_all(&[CAME]);
        Ok(Parcel { bytes, descriptors })
    }

    fn receive_head(&self) -> io::Result<(u64, Vec<OwnedFd>)> {
        let mut head = [0; HEAD_BYTES];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let slices = &mut [IoSliceMut::new(&mut head)];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::WAITALL;
        let came = recvmsg(&self.0, slices, &mut control, flags);
        let came = came.map_err(|error| patience_is_over(error.into()))?;
        let mut descriptors = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if came.bytes != HEAD_BYTES {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let number = |bytes: &[u8]| bytes.first_chunk().copied().map_or(0, u32::from_le_bytes);
        let (front, back) = head.split_at(size_of::<u32>());
        let is_cut = came.flags.contains(ReturnFlags::CTRUNC);
        if is_cut || descriptors.len() as u64 != u64::from(number(back)) {
            let text = "descriptors are missing: raise their limit (ulimit -Hn, LimitNOFILE=)";
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok((number(front).into(), descriptors))
    }

    /// Waits until the other process has ended, or closed this way.
    pub fn wait_for_end(&mut self, patience: Duration) {
        // Without the limit that was there it only waits as long as before.
        let _ = self.0.set_read_timeout(Some(patience));
        // Whatever comes instead is no end, but nothing is waited for then either.
        let _ = self.0.read(&mut [0]);
    }
}

impl Drop for Passage {
    /// Other threads may have copies of the descriptor in tables of their own: closing it here
    /// would not show.
    fn drop(&mut self) {
        // Where the other process is gone there is nothing to end.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A limit of time shows as a call that would have to wait.
fn patience_is_over(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = format!("the other process did nothing for {} s", PATIENCE.as_secs());
            io::Error::new(io::ErrorKind::TimedOut, text)
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::thread;

    fn passages() -> (Passage, Passage) {
        let (one, other) = UnixStream::pair().unwrap();
        (Passage::new(one).unwrap(), Passage::new(other).unwrap())
    }

    #[test]
    fn bytes_and_descriptors_arrive_together_and_in_order() {
        let (mut here, mut there) = passages();
        let (mut reader, writer) = io::pipe().unwrap();
        let sending = thread::spawn(move || {
            let many = vec![writer.as_fd(); DESCRIPTORS_MAX];
            here.send(b"with many", &many).unwrap();
            here.send(b"", &[writer.as_fd()]).unwrap();
            here.send(&vec![7; 1 << 20], &[]).unwrap();
            assert!(here.send(b"", &vec![writer.as_fd(); DESCRIPTORS_MAX + 1]).is_err());
        });
        let parcel = there.receive().unwrap();
        assert_eq!((&parcel.bytes[..], parcel.descriptors.len()), (&b"with many"[..], 64));
        let one = there.receive().unwrap().descriptors.pop().unwrap();
        File::from(one).write_all(b"through").unwrap();
        let large = there.receive().unwrap();
        assert_eq!((large.bytes.len(), large.descriptors.len()), (1 << 20, 0));
        sending.join().unwrap();
        drop(parcel);
        // Not to its end: other threads of the tests may have copies of the descriptors.
        let mut text = [0; 7];
        reader.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"through");
    }

    #[test]
    fn a_process_that_is_gone_is_an_error_on_both_sides() {
        let (mut here, there) = passages();
        drop(there);
        assert!(here.send(b"a", &[]).is_err());
        assert!(here.receive().is_err());
    }

    #[test]
    fn what_was_announced_and_did_not_come_is_an_error() {
        let (one, other) = UnixStream::pair().unwrap();
        let mut there = Passage::new(other).unwrap();
        (&one).write_all(&[255, 255, 255, 255, 0, 0, 0, 0, 1, 2, 3]).unwrap();
        drop(one);
        assert_eq!(there.receive().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
