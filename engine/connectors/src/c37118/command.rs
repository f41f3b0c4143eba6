//! Requests to a device, and the text it answers a request for its header with. Must not send
//! anything.

use super::fields::text;
use super::frame::{Frame, FrameKind, encode};
use super::stamp::Stamp;

/// What can be asked of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Send no more data.
    TurnOff,
    /// Send data.
    TurnOn,
    /// Send the header.
    SendHeader,
    /// Send a configuration of this kind.
    Send(Wanted),
}

/// Which configuration is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wanted {
    /// CFG-1, which says what a device can send.
    Cfg1,
    /// CFG-2, which every device has.
    #[default]
    Cfg2,
    /// CFG-3, with long names.
    Cfg3,
    /// That of the edition of 2024.
    #[serde(rename = "2024")]
    Edition2024,
}

impl Wanted {
    /// The type of frame that answers.
    #[must_use]
    pub fn kind(self) -> FrameKind {
        match self {
            Self::Cfg1 => FrameKind::Config1,
            Self::Cfg2 => FrameKind::Config2,
            Self::Cfg3 => FrameKind::Config3,
            Self::Edition2024 => FrameKind::Config2024,
        }
    }
}

impl Command {
    /// The frame that asks the device with this IDCODE, in the edition of the configuration that
    /// is wanted.
    #[must_use]
    pub fn encode(self, id: u16, stamp: Stamp, edition: Wanted) -> Vec<u8> {
        let is_2024 = edition == Wanted::Edition2024;
        let kind = if is_2024 { FrameKind::Command2024 } else { FrameKind::Command };
        let version = match edition {
            Wanted::Cfg1 | Wanted::Cfg2 => 1,
            Wanted::Cfg3 => 2,
            Wanted::Edition2024 => 3,
        };
        let body = self.code(is_2024).to_be_bytes();
        encode(kind, version, id, stamp, &body).unwrap_or_default()
    }

    fn code(self, is_2024: bool) -> u16 {
        match (self, is_2024) {
            (Self::TurnOff, false) => 1,
            (Self::TurnOn, false) => 2,
            (Self::SendHeader, _) => 3,
            (Self::Send(Wanted::Cfg1), false) => 4,
            (Self::Send(Wanted::Cfg3), false) => 6,
            (Self::Send(_), false) => 5,
            (Self::TurnOff, true) => 0x10,
            (Self::TurnOn, true) => 0x20,
            (Self::Send(Wanted::Cfg1), true) => 0x40,
            (Self::Send(_), true) => 0x60,
        }
    }
}

/// What a header frame says, for a log line: at most 256 bytes of it.
#[must_use]
pub fn header_text(frame: &Frame<'_>) -> Box<str> {
    let body = frame.body();
    text(body.get(..256).unwrap_or(body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c37118::frame::First;
    use crate::c37118::samples;

    #[test]
    fn commands_are_those_that_a_foreign_dissector_takes() {
        let stamp = Stamp { soc: samples::SOC, quality: 0, fracsec: 0 };
        for (command, body_and_sum) in [
            (Command::TurnOff, [0x00, 0x01, 0x92, 0xde]),
            (Command::TurnOn, [0x00, 0x02, 0xa2, 0xbd]),
            (Command::SendHeader, [0x00, 0x03, 0xb2, 0x9c]),
            (Command::Send(Wanted::Cfg1), [0x00, 0x04, 0xc2, 0x7b]),
            (Command::Send(Wanted::Cfg2), [0x00, 0x05, 0xd2, 0x5a]),
            (Command::Send(Wanted::Cfg3), [0x00, 0x06, 0xe2, 0x39]),
        ] {
            let head = [0xaa, 0x41, 0, 18, 0x03, 0xe9, 0x69, 0x55, 0xb9, 0, 0, 0, 0, 0];
            let expected = [&head[..], &body_and_sum].concat();
            assert_eq!(command.encode(1001, stamp, Wanted::Cfg2), expected, "{command:?}");
        }
    }

    #[test]
    fn the_edition_of_2024_has_codes_of_its_own() {
        let bytes = Command::TurnOn.encode(7, Stamp::default(), Wanted::Edition2024);
        assert_eq!((&bytes[..2], &bytes[14..16]), (&[0xAA, 0xC3][..], &[0, 0x20][..]));
        let wanted = Command::Send(Wanted::Edition2024);
        assert_eq!(wanted.encode(7, Stamp::default(), Wanted::Edition2024)[15], 0x60);
    }

    #[test]
    fn a_header_is_text_of_bounded_length() {
        let bytes = samples::frame(FrameKind::Header, 1, 0, &[b'x'; 300]);
        let First::Whole(frame) = Frame::first(&bytes) else { panic!("not whole") };
        assert_eq!(header_text(&frame).len(), 256);
    }
}
