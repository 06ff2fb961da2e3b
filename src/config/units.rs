//! Sizes and times as people write them: a whole number and a unit, nothing else.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::time::Duration;

const SIZES: [(&str, u64); 5] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

const TIMES: [(&str, u64); 5] =
    [("ms", 1), ("s", 1_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// A number of bytes, written like `64MiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

/// A length of time in whole milliseconds, written like `5s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Duration);

/// `text` as a multiple of one of `units`; `None` when it is no number with a unit, or too large.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// `value` in the largest unit that needs no fraction.
fn format(value: u64, units: &[(&str, u64)]) -> String {
    let fits = |(_, factor): &&(&str, u64)| value.is_multiple_of(*factor) && value >= *factor;
    let (name, factor) = units.iter().rev().find(fits).unwrap_or(&units[0]);
    format!("{}{name}", value / factor)
}

/// A number of bytes, written like `64MiB`.
pub fn parse_size(text: &str) -> Option<u64> {
    parse(text, &SIZES)
}

/// A length of time, written like `5s`.
pub fn parse_time(text: &str) -> Option<Duration> {
    parse(text, &TIMES).map(Duration::from_millis)
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Size, D::Error> {
        let text = String::deserialize(input)?;
        let wrong = || format!("{text:?} is not a size; write a number and a unit, like \"64MiB\"");
        parse(&text, &SIZES).map(Size).ok_or_else(|| de::Error::custom(wrong()))
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&format(self.0, &SIZES))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Time, D::Error> {
        let text = String::deserialize(input)?;
        let wrong = || format!("{text:?} is not a time; write a number and a unit, like \"5s\"");
        parse_time(&text).map(Time).ok_or_else(|| de::Error::custom(wrong()))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.serialize_str(&format(self.0.as_millis() as u64, &TIMES))
    }
}

/// Bytes for people: three digits and a binary unit (`1.46 GiB`).
pub fn format_bytes(bytes: u64) -> String {
    let (name, factor) =
        SIZES.iter().rev().find(|(_, factor)| bytes >= *factor).unwrap_or(&SIZES[0]);
    let value = bytes as f64 / *factor as f64;
    match value {
        _ if *factor == 1 => format!("{bytes} B"),
        value if value < 10.0 => format!("{value:.2} {name}"),
        value if value < 100.0 => format!("{value:.1} {name}"),
        value => format!("{value:.0} {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_need_a_whole_number_and_a_unit() {
        assert_eq!(parse("64MiB", &SIZES), Some(64 << 20));
        assert_eq!(parse("0B", &SIZES), Some(0));
        for wrong in ["", "64", "MiB", "64 MiB", "64mib", "64MB", "-1B", "1.5MiB", "99999999TiB"] {
            assert_eq!(parse(wrong, &SIZES), None, "{wrong}");
        }
    }

    #[test]
    fn values_are_written_as_they_are_read() {
        for text in ["0B", "1B", "16KiB", "1025B", "64MiB", "3TiB"] {
            assert_eq!(format(parse(text, &SIZES).unwrap(), &SIZES), text);
        }
        for text in ["0ms", "100ms", "5s", "90s", "2min", "1h", "30d"] {
            assert_eq!(format(parse(text, &TIMES).unwrap(), &TIMES), text);
        }
    }

    #[test]
    fn sizes_for_people_have_three_digits() {
        let shown = [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (1_568_669_696, "1.46 GiB")];
        for (bytes, text) in shown {
            assert_eq!(format_bytes(bytes), text);
        }
        assert_eq!(format_bytes(512 << 20), "512 MiB");
        assert_eq!(format_bytes(64 << 20), "64.0 MiB");
    }
}
