//! Sizes as people write them: `512MiB`, `1.5GB`, `4096`.

/// The units, in bytes: those of the SI and, with an `i`, those of IEC 80000-13.
const UNITS: [(&str, u64); 9] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
];

/// The largest size that is taken: a petabyte.
pub const SIZE_MAX: u64 = 1_000_000_000_000_000;

/// Reads a size, in bytes.
///
/// # Errors
/// Says what is wrong when the text is not a size or is more than [`SIZE_MAX`].
pub fn parse(text: &str) -> Result<u64, String> {
    let trimmed = text.trim().to_ascii_lowercase();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim();
    let factor = UNITS
        .iter()
        .find(|(name, _)| unit.is_empty() && *name == "b" || unit == *name)
        .map(|u| u.1);
    let bytes = factor.and_then(|factor| times(number, factor)).ok_or_else(|| {
        format!("`{}` is not a size; write for example `512MiB` or `1.5GB`", text.escape_debug())
    })?;
    if bytes > u128::from(SIZE_MAX) {
        return Err(format!("`{}` is more than a petabyte", text.escape_debug()));
    }
    u64::try_from(bytes).map_err(|_| "too large".to_owned())
}

/// A decimal number times a factor, rounded down; `None` if it is none.
fn times(number: &str, factor: u64) -> Option<u128> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || part.is_empty() || whole.len() > 18 || part.len() > 18 {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let scaled = whole.parse::<u128>().ok()? * scale + part.parse::<u128>().ok()?;
    Some(scaled * u128::from(factor) / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_their_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512MiB", 512 << 20),
            ("1.5gb", 1_500_000_000),
            (" 2 GiB ", 2 << 30),
            ("0.5KiB", 512),
            ("1PB", 0),
        ] {
            assert_eq!(parse(text).ok(), (text != "1PB").then_some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "MiB",
            "-1",
            "1..2MB",
            "1.MB",
            ".5MB",
            "12 apples",
            "1001TB",
            "9999999999999999999",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
