//! The `Range` of a request (RFC 9110, 14.1.2 and 14.2).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// The part of a representation that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it.
    All,
    /// From byte `.0` on up to byte `.1`, that one included.
    Between(u64, u64),
    /// From this byte on.
    From(u64),
    /// So many bytes at the end.
    Last(u64),
}

/// What a request asks for. A server may ignore `Range`, and this one does where it is malformed, has
/// several parts or another unit, or comes with a condition (`If-Range`) that never holds here.
pub(super) fn asked(headers: &HeaderMap) -> Asked {
    if headers.contains_key(header::IF_RANGE) {
        return Asked::All;
    }
    let value = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    value.and_then(parse).unwrap_or(Asked::All)
}

fn parse(text: &str) -> Option<Asked> {
    let (unit, part) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    // More digits than fit are more bytes than there are.
    let number = |digits: &str| {
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| digits.parse().unwrap_or(u64::MAX))
    };
    match part.trim().split_once('-')? {
        ("", last) => number(last).map(Asked::Last),
        (first, "") => number(first).map(Asked::From),
        (first, last) => {
            let (first, last) = number(first).zip(number(last))?;
            (first <= last).then_some(Asked::Between(first, last))
        }
    }
}

impl Asked {
    /// The bytes of a representation of this length; none if the part is empty.
    pub(super) fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::All => 0..length,
            Self::Between(first, last) => first..last.saturating_add(1).min(length),
            Self::From(first) => first..length,
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (!range.is_empty()).then_some(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_read() {
        let expected = [
            ("bytes=0-0", Some(Asked::Between(0, 0))),
            ("Bytes = 5-", Some(Asked::From(5))),
            ("bytes=-7", Some(Asked::Last(7))),
            ("bytes=1-99999999999999999999999", Some(Asked::Between(1, u64::MAX))),
            ("bytes=3-2", None),
            ("bytes=-", None),
            ("bytes=1-2,5-6", None),
            ("bytes=+1-2", None),
            ("lines=1-2", None),
            ("bytes", None),
        ];
        for (text, asked) in expected {
            assert_eq!(parse(text), asked, "{text}");
        }
    }

    #[test]
    fn a_part_is_within_the_length() {
        assert_eq!(Asked::Between(2, 9).within(5), Some(2..5));
        assert_eq!(Asked::Between(0, u64::MAX).within(5), Some(0..5));
        assert_eq!(Asked::From(5).within(5), None);
        assert_eq!(Asked::Last(9).within(5), Some(0..5));
        assert_eq!(Asked::Last(0).within(5), None);
        assert_eq!(Asked::From(0).within(0), None);
    }
}
