//! The literal forms of dates, times, durations, guids and numbers, without surrounding quotes.
//!
//! One reader for each form, shared by the lexer, by the check (a quoted duration beside an
//! instant) and by `cast` from text. Each answers `None` for a text that is not wholly of its form
//! or that names no value (`2026-02-31`). Digits past the microsecond are dropped.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use uuid::Uuid;

use super::value::Value;

/// Reads a text from the left; every reader either takes what it names or leaves all in place.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn byte(&mut self, wanted: u8) -> Option<()> {
        let (first, rest) = self.0.split_first()?;
        first.eq_ignore_ascii_case(&wanted).then(|| self.0 = rest)
    }

    /// Exactly `count` digits (few enough for 32 bits).
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        let number = digits.iter().try_fold(0_u32, |number, byte| {
            byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0'))
        })?;
        self.0 = rest;
        Some(number)
    }

    /// One digit or more, as long as they fit.
    fn number(&mut self) -> Option<i64> {
        let mut number = i64::from(self.digits(1)?);
        while let Some(digit) = self.digits(1) {
            number = number.checked_mul(10)?.checked_add(i64::from(digit))?;
        }
        Some(number)
    }

    /// Optional `.` and 1 to 12 digits, as microseconds; later digits are dropped.
    fn fraction_micros(&mut self) -> Option<u32> {
        if self.byte(b'.').is_none() {
            return Some(0);
        }
        let mut micros = self.digits(1)? * 100_000;
        let mut weight = 10_000;
        for _ in 0..11 {
            let Some(digit) = self.digits(1) else { break };
            micros += digit * weight;
            weight /= 10;
        }
        Some(micros)
    }

    fn sign(&mut self) -> i64 {
        if self.byte(b'-').is_some() {
            return -1;
        }
        let _ = self.byte(b'+');
        1
    }

    fn date(&mut self) -> Option<NaiveDate> {
        let year = i32::try_from(self.digits(4)?).ok().filter(|year| *year > 0)?;
        self.byte(b'-')?;
        let month = self.digits(2)?;
        self.byte(b'-')?;
        NaiveDate::from_ymd_opt(year, month, self.digits(2)?)
    }

    fn time(&mut self) -> Option<NaiveTime> {
        let hour = self.digits(2)?;
        self.byte(b':')?;
        let minute = self.digits(2)?;
        let (mut second, mut micros) = (0, 0);
        if self.byte(b':').is_some() {
            second = self.digits(2)?;
            micros = self.fraction_micros()?;
        }
        NaiveTime::from_hms_micro_opt(hour, minute, second, micros)
    }

    /// `Z`, `+hh:mm`, `-hh:mm`, or ` hh:mm`: a form decoder turns a raw `+` into a blank.
    fn offset(&mut self) -> Option<TimeDelta> {
        if self.byte(b'Z').is_some() {
            return Some(TimeDelta::zero());
        }
        let east = if self.byte(b'-').is_some() {
            -1
        } else {
            self.byte(b'+').or_else(|| self.byte(b' '))?;
            1
        };
        let hours = self.digits(2).filter(|hours| *hours <= 23)?;
        self.byte(b':')?;
        let minutes = self.digits(2).filter(|minutes| *minutes <= 59)?;
        Some(TimeDelta::minutes(east * i64::from(hours * 60 + minutes)))
    }

    fn duration(&mut self) -> Option<TimeDelta> {
        const SECOND: i64 = 1_000_000;
        let sign = self.sign();
        self.byte(b'P')?;
        let mut micros = 0_i64;
        let mut add = |amount: i64, unit: i64| -> Option<()> {
            micros = micros.checked_add(amount.checked_mul(unit)?)?;
            Some(())
        };
        if !matches!(self.0.first(), Some(b'T' | b't')) {
            add(self.number()?, 86_400 * SECOND)?;
            self.byte(b'D')?;
        }
        if self.byte(b'T').is_some() {
            let mut units = [(b'H', 3_600 * SECOND), (b'M', 60 * SECOND), (b'S', SECOND)].iter();
            loop {
                let amount = self.number()?;
                let fraction = self.fraction_micros()?;
                let whole = self.0.first().is_some_and(|byte| !byte.eq_ignore_ascii_case(&b'S'));
                if whole && fraction != 0 {
                    return None;
                }
                let (_, unit) = units.find(|(letter, _)| self.byte(*letter).is_some())?;
                add(amount, *unit)?;
                add(i64::from(fraction), 1)?;
                if self.0.is_empty() {
                    break;
                }
            }
        }
        Some(TimeDelta::microseconds(sign * micros))
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// `2026-01-31`.
pub(super) fn date(text: &str) -> Option<NaiveDate> {
    let mut cursor = Cursor(text.as_bytes());
    let date = cursor.date()?;
    cursor.end(date)
}

/// `12:01`, `12:01:03`, `12:01:03.450`.
pub(super) fn time_of_day(text: &str) -> Option<NaiveTime> {
    let mut cursor = Cursor(text.as_bytes());
    let time = cursor.time()?;
    cursor.end(time)
}

/// `2026-01-31T12:01:03.450Z`, or with an offset.
pub(super) fn date_time_offset(text: &str) -> Option<DateTime<Utc>> {
    let mut cursor = Cursor(text.as_bytes());
    let date = cursor.date()?;
    cursor.byte(b'T')?;
    let local = date.and_time(cursor.time()?);
    let instant = local.checked_sub_signed(cursor.offset()?)?.and_utc();
    cursor.end(instant).filter(|instant| in_range(*instant))
}

/// `P1DT2H3M4.5S`, with an optional sign.
pub(super) fn duration(text: &str) -> Option<TimeDelta> {
    let mut cursor = Cursor(text.as_bytes());
    let duration = cursor.duration()?;
    cursor.end(duration)
}

/// `01234567-89ab-cdef-0123-456789abcdef`, in either case.
pub(super) fn guid(text: &str) -> Option<Uuid> {
    is_guid_shape(text.as_bytes()).then(|| Uuid::try_parse_ascii(text.as_bytes()).ok())?
}

/// Whether `bytes` are 8-4-4-4-12 hexadecimal digits.
pub(super) fn is_guid_shape(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// `50`, `-1` as an integer; `50.0`, `5e1` as a double. No value for a number out of range.
pub(super) fn number(text: &str) -> Option<Value> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits(unsigned) {
        return text.parse().ok().map(Value::Int);
    }
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if ![whole, fraction, exponent].into_iter().all(digits) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Double)
}

/// `true`, `false`, in any case.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// The earliest instant the language has: 0001-01-01T00:00:00Z.
pub(super) fn date_time_min() -> DateTime<Utc> {
    let date = NaiveDate::from_ymd_opt(1, 1, 1).expect("0001-01-01 exists");
    date.and_time(NaiveTime::MIN).and_utc()
}

/// The latest instant the language has: 9999-12-31T23:59:59.999999Z.
pub(super) fn date_time_max() -> DateTime<Utc> {
    let date = NaiveDate::from_ymd_opt(9999, 12, 31).expect("9999-12-31 exists");
    let midnight = date.and_time(NaiveTime::MIN) + Days::new(1);
    midnight.and_utc() - TimeDelta::microseconds(1)
}

/// Whether an instant lies in the years 0001 to 9999.
pub(super) fn in_range(instant: DateTime<Utc>) -> bool {
    (date_time_min()..=date_time_max()).contains(&instant)
}
