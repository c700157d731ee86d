//! Query parameters: OData's system options (`$top` or `top`, in any case) and our own.
//!
//! An unknown parameter is an error with the nearest known name, because a parameter that is silently
//! ignored is worse than none. `api-version` is tolerated and ignored.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::domain::problem::hint;

/// The parameters of a request, decoded, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Query {
    pairs: Vec<(String, String)>,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or_default())
    }
}

/// OData's system options; known by these names without `$` and in any case too (OData 4.01).
const SYSTEM: [&str; 8] =
    ["$filter", "$orderby", "$search", "$select", "$top", "$skip", "$count", "$skiptoken"];
const VERSION: &str = "api-version";

impl Query {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in text.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let name = canonical(decode(name)?);
            if pairs.iter().any(|(known, _)| *known == name) {
                let message = format!("the parameter `{name}` stands twice");
                return Err(ApiError::bad_request("InvalidParameter", message).target(name));
            }
            pairs.push((name, decode(value)?));
        }
        Ok(Self { pairs })
    }

    /// Refuses every parameter but these.
    pub(super) fn only(self, known: &[&str]) -> Result<Self, ApiError> {
        for (name, _) in &self.pairs {
            if name != VERSION && !known.contains(&name.as_str()) {
                let near = hint(name, known.iter().copied());
                let message =
                    format!("the parameter `{}` is not known here{near}", name.escape_debug());
                return Err(ApiError::bad_request("UnknownParameter", message).target(name));
            }
        }
        Ok(self)
    }

    /// The value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A whole number of zero or more.
    pub(super) fn number<N: TryFrom<u64>>(&self, name: &str) -> Result<Option<N>, ApiError> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<u64>().ok().filter(|_| is_digits);
        number.and_then(|number| N::try_from(number).ok()).map(Some).ok_or_else(|| {
            let message = format!("`{name}` takes a whole number, not `{}`", text.escape_debug());
            ApiError::bad_request("InvalidParameter", message).target(name)
        })
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.get(name) {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => {
                let message =
                    format!("`{name}` takes true or false, not `{}`", text.escape_debug());
                Err(ApiError::bad_request("InvalidParameter", message).target(name))
            }
        }
    }
}

fn canonical(name: String) -> String {
    if name.eq_ignore_ascii_case(VERSION) {
        return VERSION.to_owned();
    }
    let dollared = format!("${}", name.trim_start_matches('$'));
    let known = SYSTEM.into_iter().find(|known| known.eq_ignore_ascii_case(&dollared));
    known.map_or(name, str::to_owned)
}

/// Percent-decoding, with `+` as a blank.
fn decode(text: &str) -> Result<String, ApiError> {
    let invalid = || {
        let message = "a query parameter is not percent-encoded UTF-8".to_owned();
        ApiError::bad_request("InvalidParameter", message)
    };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = digit().zip(digit()).ok_or_else(invalid)?;
                u8::try_from(high * 16 + low).map_err(|_| invalid())?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| invalid())
}

/// Percent-encodes what may not stand in a query as it is.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            byte => {
                encoded.push('%');
                encoded += &data_encoding::HEXUPPER.encode(&[byte]);
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_every_spelling() {
        for text in ["$top=3", "top=3", "%24Top=3", "$TOP=3", "api-version=1&$top=3"] {
            let query = Query::parse(text).unwrap().only(&["$top"]).unwrap();
            assert_eq!(query.number::<u32>("$top").unwrap(), Some(3), "{text}");
        }
    }

    #[test]
    fn slips_are_refused() {
        for text in ["$top=1&top=2", "foo=%ZZ", "foo=%E0%80", "$tpo=1", "foo"] {
            assert!(Query::parse(text).and_then(|query| query.only(&["$top"])).is_err(), "{text}");
        }
        for text in ["-1", "", "1.5", "abc", "99999999999999999999", "+1"] {
            let query = Query::parse(&format!("$top={}", encode(text))).unwrap();
            assert!(query.number::<u32>("$top").is_err(), "{text}");
        }
    }

    #[test]
    fn encoding_comes_back() {
        let text = "a b&c=d+e%/é$";
        assert_eq!(decode(&encode(text)).unwrap(), text);
    }
}
