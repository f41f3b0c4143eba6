//! The `Date` header of responses (RFC 9110 section 6.6.1), written once a second. It is handed the
//! time and reads no clock.

use std::time::{Duration, UNIX_EPOCH};

/// The newest date that was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Date {
    unix_s: u64,
    text: String,
}

impl Date {
    /// The value of the header at `unix_s`, seconds of UTC since 1970.
    pub fn at(&mut self, unix_s: u64) -> &str {
        if self.text.is_empty() || self.unix_s != unix_s {
            // What the crate can write ends with the year 9999, and it panics beyond.
            let time = UNIX_EPOCH + Duration::from_secs(unix_s.min(UNIX_S_MAX));
            *self = Self { unix_s, text: httpdate::fmt_http_date(time) };
        }
        &self.text
    }
}

/// The last second of the year 9999.
const UNIX_S_MAX: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_that_of_the_second() {
        let mut date = Date::default();
        assert_eq!(date.at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(date.at(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
