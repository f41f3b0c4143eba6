//! Parses and writes quantities as people write them: durations, rates, sizes, counts. Must not
//! know what a quantity is used for, nor any limit on it.

use std::time::Duration;

/// Parses `20s`, `500ms`, `1m 30s`. A bare number is an error, because its unit would be a guess.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is no duration ({error}); write e.g. `20s` or `500ms`"))
}

/// Writes a duration so that [`parse_duration`] reads the same one.
pub fn format_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Parses `2000/s` (or `2000`, with the same meaning) as a whole number per second.
pub fn parse_per_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    match number.replace('_', "").parse() {
        Ok(0) | Err(_) => Err(format!("`{text}` is no rate; write e.g. `2000/s`, at least `1/s`")),
        Ok(rate) => Ok(rate),
    }
}

/// Parses `64KiB/s`, `1MB/s`, `500B/s` as bytes per second.
pub fn parse_bytes_per_second(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no byte rate; write e.g. `64KiB/s`, `1MB/s` or `500B/s`");
    let size = text.strip_suffix("/s").ok_or_else(wrong)?.trim();
    let unit_at = size.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = size.split_at(unit_at);
    let number: f64 = number.trim().replace('_', "").parse().map_err(|_| wrong())?;
    let scale = BYTE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?.1;
    let bytes = number * scale;
    if !(1.0..=1e12).contains(&bytes) {
        return Err(wrong());
    }
    Ok(bytes.round() as u64)
}

const BYTE_UNITS: [(&str, f64); 7] = [
    ("B", 1.0),
    ("KiB", 1024.0),
    ("MiB", 1_048_576.0),
    ("GiB", 1_073_741_824.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
];

/// Nanoseconds with a suitable unit and three significant digits: `831 ns`, `4.21 ms`, `12.0 s`.
pub fn format_ns(ns: f64) -> String {
    const UNITS: [(f64, &str); 4] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns")];
    let (scale, unit) =
        UNITS.into_iter().find(|(scale, _)| ns.abs() >= *scale).unwrap_or((1.0, "ns"));
    format!("{} {unit}", three_digits(ns / scale))
}

/// A number with a decimal prefix: `600 k`, `1.25 M`; below ten thousand it is written out.
pub fn format_count(count: f64) -> String {
    if count.abs() < 10_000.0 {
        return if count.fract() == 0.0 { format!("{count:.0}") } else { three_digits(count) };
    }
    const UNITS: [(f64, &str); 3] = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, unit) = UNITS.into_iter().find(|(s, _)| count.abs() >= *s).unwrap_or((1.0, ""));
    format!("{} {unit}", three_digits(count / scale))
}

/// A whole number with commas between thousands: `1,234,567`.
pub fn format_exact(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A size in bytes with a binary prefix: `64.0 KiB`.
pub fn format_bytes(bytes: f64) -> String {
    const UNITS: [(f64, &str); 3] =
        [(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1024.0, "KiB")];
    let fitting = UNITS.into_iter().find(|(scale, _)| bytes.abs() >= *scale);
    fitting.map_or_else(
        || format!("{bytes:.0} B"),
        |(scale, unit)| format!("{} {unit}", three_digits(bytes / scale)),
    )
}

fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

/// Nanoseconds per second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// A duration in whole nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_survive_being_written_and_read() {
        for text in ["20s", "500ms", "1m 30s", "2h"] {
            let duration = parse_duration(text).unwrap();
            assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }
        assert!(parse_duration("20").unwrap_err().contains("write e.g. `20s`"));
    }

    #[test]
    fn rates_need_no_guessing() {
        assert_eq!(parse_per_second("2000/s"), Ok(2000));
        assert_eq!(parse_per_second("2_000"), Ok(2000));
        for wrong in ["0/s", "fast", "-1/s", "1.5/s"] {
            assert!(parse_per_second(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_bytes_per_second("64KiB/s"), Ok(65_536));
        assert_eq!(parse_bytes_per_second("1.5 MB/s"), Ok(1_500_000));
        for wrong in ["64", "64KiB", "64 parsecs/s", "0B/s", "-3B/s", "NaNB/s"] {
            assert!(parse_bytes_per_second(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(format_ns(831.0), "831 ns");
        assert_eq!(format_ns(4_212_000.0), "4.21 ms");
        assert_eq!(format_ns(-1500.0), "-1.50 µs");
        assert_eq!(format_count(600_000.0), "600 k");
        assert_eq!(format_count(1_250_000.0), "1.25 M");
        assert_eq!(format_count(42.0), "42");
        assert_eq!(format_bytes(65_536.0), "64.0 KiB");
        assert_eq!(format_bytes(12.0), "12 B");
        assert_eq!(format_exact(1_234_567), "1,234,567");
        assert_eq!(format_exact(999), "999");
    }
}
