//! Devices that are made up: a script on a thread that accepts, expects commands and sends. Must
//! not decide what it sends.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::rig::DEADLINE;

pub const TURN_OFF: u16 = 1;
pub const TURN_ON: u16 = 2;
pub const SEND_CONFIG2: u16 = 5;
pub const SEND_CONFIG3: u16 = 6;

pub struct Device {
    pub address: SocketAddr,
    listener: TcpListener,
}

impl Device {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self { address: listener.local_addr().unwrap(), listener }
    }

    /// Plays a script, which accepts connections itself.
    pub fn play(self, script: impl FnOnce(&Self) + Send + 'static) -> JoinHandle<()> {
        std::thread::spawn(move || script(&self))
    }

    pub fn accept(&self) -> Connection {
        Connection::new(self.listener.accept().unwrap().0)
    }
}

pub struct Connection(TcpStream);

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Self(stream)
    }

    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// The next command must be this one, for this IDCODE.
    pub fn expect(&mut self, id: u16, command: u16) {
        let mut frame = [0; 18];
        self.0.read_exact(&mut frame).expect("a command");
        assert_eq!(frame[..2], [0xAA, frame[1]], "{frame:02x?}");
        assert_eq!(frame[1] & 0xF0, 0x40, "{frame:02x?}");
        assert_eq!(word(&frame[4..6]), id, "{frame:02x?}");
        assert_eq!(word(&frame[14..16]), command, "{frame:02x?}");
    }

    /// The other side turns data off, asks for the configuration, gets this one, and turns it on.
    pub fn be_turned_on(&mut self, id: u16, configuration: &[u8]) {
        self.expect(id, TURN_OFF);
        self.expect(id, SEND_CONFIG2);
        self.send(configuration);
        self.expect(id, TURN_ON);
    }

    /// Waits for the other side to end the connection.
    pub fn wait_for_end(&mut self) {
        // What is still said, and a reset, are as good as an end.
        let _ = self.0.read_to_end(&mut Vec::new());
    }
}

fn word(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}
