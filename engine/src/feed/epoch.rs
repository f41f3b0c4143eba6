//! Epochs and positions: which numbering a `seq` belongs to, and the text form of both.
//! Must not choose an epoch's number.

use std::fmt;
use std::str::FromStr;
use thiserror::Error;

/// One life of a log: positions of different epochs do not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// A place in a feed: the frame `seq` of the epoch. Written `{epoch}-{seq}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The life of the log it belongs to.
    pub epoch: Epoch,
    /// What clients see of the frame's place: increasing within the epoch.
    pub seq: u64,
}

/// A text that is no epoch or no position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a position is written {{epoch}}-{{seq}}, as in k3-41")]
pub struct PositionError;

impl Epoch {
    /// One that no log ever has: of a position that came from elsewhere.
    pub const FOREIGN: Self = Self(u64::MAX);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut text = [b'0'; EPOCH_BYTES_MAX];
        let mut start = text.len();
        let mut rest = self.0;
        for (i, slot) in text.iter_mut().enumerate().rev() {
            *slot = DIGITS[(rest % 36) as usize];
            rest /= 36;
            start = i;
            if rest == 0 {
                break;
            }
        }
        f.write_str(std::str::from_utf8(&text[start..]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Epoch {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        // One text for one epoch: the standard parser would also take upper case and a sign.
        if !text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) {
            return Err(PositionError);
        }
        u64::from_str_radix(text, 36).map(Self).map_err(|_| PositionError)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let (epoch, seq) = text.split_once('-').ok_or(PositionError)?;
        if !seq.bytes().all(|b| b.is_ascii_digit()) {
            return Err(PositionError);
        }
        let seq = seq.parse().map_err(|_| PositionError)?;
        Ok(Self { epoch: epoch.parse()?, seq })
    }
}

/// `u64::MAX` in base 36 has 13 digits.
const EPOCH_BYTES_MAX: usize = 13;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_form_is_lower_case_base_36() {
        assert_eq!(Epoch(0).to_string(), "0");
        assert_eq!(Epoch(20 * 36 + 3).to_string(), "k3");
        assert_eq!(Epoch(u64::MAX).to_string(), "3w5e11264sgsf");
        for bad in ["", "-", "k3", "k3-", "-4", "K3-4", "+1-2", "k3-+4", "3w5e11264sgsg-0", "k-1-2"]
        {
            assert_eq!(bad.parse::<Position>(), Err(PositionError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_position_is_read_back(epoch in any::<u64>(), seq in any::<u64>()) {
            let position = Position { epoch: Epoch(epoch), seq };
            prop_assert_eq!(position.to_string().parse(), Ok(position));
        }
    }
}
