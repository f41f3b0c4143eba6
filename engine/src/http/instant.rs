//! Instants as people and programs write them: RFC 3339 with any offset, or milliseconds since
//! 1970. Must not know what they are for.

/// The instant in ms of UTC since 1970; none where the text is none, or before 1970.
#[must_use]
pub fn parse_ms(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|ms| *ms < MS_END);
    }
    rfc3339(text.as_bytes())
}

/// The first ms of the year 10000: RFC 3339 has years of four digits.
const MS_END: u64 = 253_402_300_800_000;

/// `2026-11-29T18:00:00.25+01:00`; the letters in either case, and a space instead of `T`.
fn rfc3339(text: &[u8]) -> Option<u64> {
    let (date, rest) = text.split_at_checked(10)?;
    let (separator, rest) = rest.split_first()?;
    let (time, rest) = rest.split_at_checked(8)?;
    let (&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2], b'T' | b't' | b' ') = (date, separator)
    else {
        return None;
    };
    let &[h1, h2, b':', n1, n2, b':', s1, s2] = time else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    let is_date = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // A leap second counts as the one that follows.
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction_ms, zone) = fraction(rest)?;
    let local_s = days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let unix_ms = (local_s - offset_s(zone)?) * 1_000 + fraction_ms;
    u64::try_from(unix_ms).ok().filter(|ms| *ms < MS_END)
}

/// `.25` in ms, cut to whole ones, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else { return Some((0, text)) };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (own, zone) = rest.split_at_checked(digits)?;
    let ms =
        own.iter().chain(b"000").take(3).fold(0, |ms, digit| ms * 10 + i64::from(digit - b'0'));
    (digits > 0).then_some((ms, zone))
}

/// `Z` or `+01:00` in seconds.
fn offset_s(zone: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match zone {
        b"Z" | b"z" => return Some(0),
        [b'+', h1, h2, b':', m1, m2] => (1, [*h1, *h2], [*m1, *m2]),
        [b'-', h1, h2, b':', m1, m2] => (-1, [*h1, *h2], [*m1, *m2]),
        _ => return None,
    };
    let (hours, minutes) = (number(&hours)?, number(&minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

fn number(digits: &[u8]) -> Option<i64> {
    let is_number = digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
}

const fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

const fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days from 1970 to a date of the Gregorian calendar; years begin in March, so that the day that
/// is sometimes there is the last.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year
        - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::{Duration, UNIX_EPOCH};

    #[test]
    fn each_way_to_write_an_instant_is_read() {
        for (text, ms) in [
            ("0", 0),
            ("1764439200250", 1_764_439_200_250),
            ("1970-01-01T00:00:00Z", 0),
            ("2025-11-29T18:00:00Z", 1_764_439_200_000),
            ("2025-11-29 18:00:00z", 1_764_439_200_000),
            ("2025-11-29t19:00:00.25+01:00", 1_764_439_200_250),
            ("2025-11-29T12:30:00.2509-05:30", 1_764_439_200_250),
            ("2024-02-29T00:00:00Z", 1_709_164_800_000),
            ("2016-12-31T23:59:60Z", 1_483_228_800_000),
        ] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_instant_is_none() {
        for text in [
            "2025-11-29",
            "2025-11-29T18:00:00",
            "2025-02-29T18:00:00Z",
            "2025-13-01T18:00:00Z",
            "2025-11-29T24:00:00Z",
            "2025-11-29T18:00:00.Z",
            "2025-11-29T18:00:00+1:00",
            "2025-11-29T18:00:00+24:00",
            "1969-12-31T23:59:59Z",
            "99999999999999999999",
            "253402300800000",
            "k3-41",
            "-1",
            "2025-11-29T18:00:0\u{e9}",
        ] {
            assert_eq!(parse_ms(text), None, "{text}");
        }
    }

    proptest! {
        /// Another crate writes what is read here.
        #[test]
        fn a_date_of_http_is_the_same_instant(s in 0_u64..253_402_300_800) {
            let http = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(s));
            let parts: Vec<&str> = http.split([' ', ',']).filter(|part| !part.is_empty()).collect();
            let months = "JanFebMarAprMayJunJulAugSepOctNovDec";
            let month = months.find(parts[2]).unwrap() / 3 + 1;
            let text = format!("{}-{month:02}-{}T{}Z", parts[3], parts[1], parts[4]);
            prop_assert_eq!(parse_ms(&text), Some(s * 1_000), "{}", text);
        }

        #[test]
        fn no_text_panics(text in any::<String>()) {
            prop_assert!(parse_ms(&text).is_none_or(|ms| ms < MS_END));
        }
    }
}
