//! Durations as people write them: `90s`, `5m`, `1h30m`, `250ms`, or ISO 8601 `PT5M`.

use std::time::Duration;

/// The longest duration that is taken: ten years.
pub const DURATION_MAX: Duration = Duration::from_hours(10 * 366 * 24);

/// Reads a duration.
///
/// # Errors
/// Says what is wrong when the text is not a duration, is negative or is longer than
/// [`DURATION_MAX`].
pub fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(format!("`{text}` is negative; a duration is zero or more"));
    }
    let upper = trimmed.to_ascii_uppercase();
    let millis = match upper.strip_prefix('P') {
        Some(iso) => parse_iso(iso),
        None => parse_units(&trimmed.to_ascii_lowercase()),
    }
    .ok_or_else(|| {
        format!("`{text}` is not a duration; write for example `90s`, `1h30m` or `PT5M`")
    })?;
    let duration = Duration::from_millis(millis);
    if duration > DURATION_MAX {
        return Err(format!("`{text}` is longer than ten years"));
    }
    Ok(duration)
}

fn parse_units(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    sum_of(text, |unit| UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| *millis))
}

fn parse_iso(text: &str) -> Option<u64> {
    let (days, time) = text.split_once('T').unwrap_or((text, ""));
    if days.is_empty() && time.is_empty() || text.ends_with('T') {
        return None;
    }
    let day_unit = |unit: &str| match unit {
        "D" => Some(86_400_000),
        "W" => Some(7 * 86_400_000),
        _ => None,
    };
    let time_unit = |unit: &str| match unit {
        "H" => Some(3_600_000),
        "M" => Some(60_000),
        "S" => Some(1_000),
        _ => None,
    };
    let days = if days.is_empty() { 0 } else { sum_of(days, day_unit)? };
    let time = if time.is_empty() { 0 } else { sum_of(time, time_unit)? };
    days.checked_add(time)
}

/// Adds up `<number><unit>` pieces in milliseconds. Units may not come twice.
fn sum_of(text: &str, millis_of: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let mut total = 0_u64;
    let mut rest = text;
    let mut seen = Vec::new();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let unit_len = rest[digits..]
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len() - digits);
        let (number, tail) = rest.split_at(digits);
        let (unit, tail) = tail.split_at(unit_len);
        if seen.contains(&unit) {
            return None;
        }
        seen.push(unit);
        total = total.checked_add(scaled(number, millis_of(unit)?)?)?;
        rest = tail;
    }
    (!seen.is_empty()).then_some(total)
}

/// `number` times `scale`, with at most nine decimals, without floating point.
fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || whole.len() > 15 || fraction.len() > 9 || number.ends_with('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part = if fraction.is_empty() {
        0
    } else {
        let digits: u64 = fraction.parse().ok()?;
        digits.checked_mul(scale)? / 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?
    };
    whole.checked_mul(scale)?.checked_add(part)
}

/// Writes a duration in the form that [`parse`] reads.
#[must_use]
pub fn print(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    if millis == 0 {
        return "0s".into();
    }
    let mut text = String::new();
    for (unit, size) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)]
    {
        if millis >= size {
            text += &(millis / size).to_string();
            text += unit;
            millis %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, millis) in [
            ("90s", 90_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("1.5s", 1_500),
            ("PT5M", 300_000),
            ("pt0.5s", 500),
            ("P1DT2H", 93_600_000),
            ("P2W", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn refuses_the_absurd() {
        for text in [
            "",
            " ",
            "5",
            "s",
            "-5s",
            "5x",
            "1s1s",
            "P",
            "PT",
            "P1H",
            "1.s",
            ".5s",
            "11y",
            "999999999999999999999s",
            "4000d",
            "5 m",
            "1..5s",
            "é5s",
            "5é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn printing_and_reading_is_the_identity() {
        for millis in [0, 1, 999, 1_000, 61_001, 93_784_005] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&print(duration)), Ok(duration));
        }
    }
}
