//! Values of secrets are replaced by `***` wherever a step shows them.
//!
//! A value is found as it is, and as it stands in JSON, in a URL (percent-encoded, RFC 3986) and in
//! base64 (RFC 4648: both alphabets, also in the middle of something longer). Of a value with several
//! lines each line is a secret too, because programs print and quote them one by one. Other disguises
//! (hexadecimal, reversed, encrypted) are not found: masking protects from accidents, not from a step
//! that gives its secrets away.
//!
//! What comes piece by piece is held back only where it ends with what may be the beginning of a
//! secret.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::ops::Range;

use aho_corasick::AhoCorasick;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD};
use serde_json::{Map, Value};

/// The shortest value that is masked, in bytes: shorter ones stand everywhere by accident.
pub(super) const VALUE_MIN: usize = 4;
/// The shortest piece of base64 that tells a value, in characters.
const BASE64_MIN: usize = 5;
/// What stands in the place of a secret.
const MASKED: &[u8] = b"***";

/// What is to be masked. (It has no `Debug`, like all that holds secrets here.)
#[derive(Default)]
pub(super) struct Mask {
    /// `None`: there are no secrets, and nothing is looked at.
    search: Option<Search>,
}

struct Search {
    all: AhoCorasick,
    forms: Vec<Vec<u8>>,
    /// The bytes that a form begins with.
    first: [bool; 256],
    longest: usize,
}

impl Mask {
    /// Masks these values in all their forms.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut forms: Vec<Vec<u8>> = values.flat_map(forms).collect();
        forms.sort_unstable();
        forms.dedup();
        let mut first = [false; 256];
        for form in &forms {
            first[usize::from(form[0])] = true;
        }
        let Some(longest) = forms.iter().map(Vec::len).max() else { return Self::default() };
        match AhoCorasick::new(&forms) {
            Ok(all) => Self { search: Some(Search { all, forms, first, longest }) },
            // Fails only beyond billions of bytes, which no environment can hold.
            Err(error) => panic!("secrets that cannot be searched for: {error}"),
        }
    }

    /// Masks bytes that are all there is.
    pub(super) fn bytes<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(search) = &self.search else { return Cow::Borrowed(bytes) };
        let found = search.find(bytes);
        if found.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut masked = Vec::with_capacity(bytes.len());
        replace(bytes, &found, 0, bytes.len(), &mut masked);
        Cow::Owned(masked)
    }

    /// Masks a text that is all there is.
    pub(super) fn text(&self, text: &mut String) {
        if let Cow::Owned(masked) = self.bytes(text.as_bytes()) {
            *text = String::from_utf8_lossy(&masked).into_owned();
        }
    }

    /// Masks the texts and the keys of a document.
    pub(super) fn document(&self, document: &mut Value) {
        if self.search.is_none() {
            return;
        }
        match document {
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
            Value::String(text) => self.text(text),
            Value::Array(members) => members.iter_mut().for_each(|member| self.document(member)),
            Value::Object(members) => self.object(members),
        }
    }

    /// The same for an object.
    pub(super) fn object(&self, members: &mut Map<String, Value>) {
        if self.search.is_none() {
            return;
        }
        for (mut key, mut member) in std::mem::take(members) {
            self.text(&mut key);
            self.document(&mut member);
            members.insert(key, member);
        }
    }
}

impl Search {
    /// The places of all secrets, in order; those that overlap are one.
    fn find(&self, bytes: &[u8]) -> Vec<Range<usize>> {
        if !self.all.is_match(bytes) {
            return Vec::new();
        }
        let mut found: Vec<Range<usize>> =
            self.all.find_overlapping_iter(bytes).map(|found| found.range()).collect();
        found.sort_unstable_by_key(|found| found.start);
        found.dedup_by(|next, before| {
            let overlaps = next.start < before.end;
            if overlaps {
                before.end = before.end.max(next.end);
            }
            overlaps
        });
        found
    }

    /// Where the longest end begins that may be the beginning of a secret; the length if none does.
    fn unfinished(&self, bytes: &[u8]) -> usize {
        let earliest = (bytes.len() + 1).saturating_sub(self.longest);
        let begins = |at: usize| {
            let end = &bytes[at..];
            self.first[usize::from(end[0])]
                && self.forms.iter().any(|form| form.len() > end.len() && form.starts_with(end))
        };
        (earliest..bytes.len()).find(|at| begins(*at)).unwrap_or(bytes.len())
    }
}

/// Appends `bytes` from `told` up to `end` with what was found replaced; answers up to where that
/// went: beyond `end` if a secret does.
fn replace(
    bytes: &[u8],
    found: &[Range<usize>],
    told: usize,
    end: usize,
    to: &mut Vec<u8>,
) -> usize {
    let mut told = told;
    for secret in found.iter().take_while(|secret| secret.start < end) {
        if secret.end <= told {
            continue;
        }
        to.extend_from_slice(&bytes[told..secret.start.max(told)]);
        to.extend_from_slice(MASKED);
        told = secret.end;
    }
    to.extend_from_slice(&bytes[told..end.max(told)]);
    told.max(end)
}

/// The masking of a stream, which comes in pieces.
#[derive(Default)]
pub(super) struct Masking {
    /// The end of what came: it may be the beginning of a secret.
    held: Vec<u8>,
    /// How many bytes of it were told already, because nothing followed or as part of a secret.
    told: usize,
}

impl Masking {
    /// Takes the next bytes and answers what can be told by now.
    pub(super) fn take<'a>(&mut self, mask: &Mask, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(search) = &mask.search else { return Cow::Borrowed(bytes) };
        if self.held.is_empty() && search.unfinished(bytes) == bytes.len() {
            return mask.bytes(bytes);
        }
        self.held.extend_from_slice(bytes);
        let end = search.unfinished(&self.held);
        let found = search.find(&self.held);
        let mut masked = Vec::with_capacity(self.held.len());
        let told = replace(&self.held, &found, self.told, end, &mut masked);
        self.held.drain(..end);
        self.told = told - end;
        Cow::Owned(masked)
    }

    /// Tells what is held back, because nothing follows for now. It is remembered: if the rest of a
    /// secret comes after all, at least that is masked.
    pub(super) fn idle(&mut self, mask: &Mask) -> Vec<u8> {
        let Some(search) = &mask.search else { return Vec::new() };
        let told = std::mem::replace(&mut self.told, self.held.len());
        let mut masked = Vec::new();
        // It may have a secret that is the beginning of another one.
        replace(&self.held, &search.find(&self.held), told, self.held.len(), &mut masked);
        masked
    }

    /// How many bytes are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len() - self.told
    }
}

/// A value in all the forms that are looked for.
fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    let lines = value.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    for part in lines.chain([value]).filter(|part| part.len() >= VALUE_MIN) {
        forms.push(part.to_vec());
        if let Ok(text) = std::str::from_utf8(part) {
            let quoted = Value::from(text).to_string();
            forms.push(quoted.as_bytes()[1..quoted.len() - 1].to_vec());
        }
        forms.push(percent(part));
        forms.extend((0..3).flat_map(|before| base64(part, before)));
    }
    forms
}

/// Percent-encoded, all but the unreserved characters.
fn percent(value: &[u8]) -> Vec<u8> {
    let mut text = String::new();
    for byte in value {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => write!(text, "%{byte:02X}").expect("a text takes everything"),
        }
    }
    text.into_bytes()
}

/// What base64 makes of the value where `before` bytes stand before it in its group of three: the
/// characters that depend on nothing else.
fn base64(value: &[u8], before: usize) -> Vec<Vec<u8>> {
    let bytes = [&[0; 2][..before], value].concat();
    let own = (before * 8).div_ceil(6)..bytes.len() * 8 / 6;
    if own.len() < BASE64_MIN {
        return Vec::new();
    }
    [BASE64_NOPAD, BASE64URL_NOPAD]
        .iter()
        .map(|alphabet| alphabet.encode(&bytes)[own.clone()].as_bytes().to_vec())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn mask(values: &[&str]) -> Mask {
        Mask::new(values.iter().map(|value| value.as_bytes()))
    }

    fn masked(values: &[&str], text: &str) -> String {
        let mut text = text.to_owned();
        mask(values).text(&mut text);
        text
    }

    /// What comes out of pieces of this size.
    fn in_pieces(mask: &Mask, bytes: &[u8], size: usize) -> Vec<u8> {
        let mut masking = Masking::default();
        let mut told = Vec::new();
        for piece in bytes.chunks(size) {
            told.extend_from_slice(&masking.take(mask, piece));
        }
        told.extend(masking.idle(mask));
        told
    }

    #[test]
    fn a_value_is_masked_in_all_its_forms() {
        let value = "s3cret/\"value\" with ü";
        let quoted = json!(value).to_string();
        let base64 = data_encoding::BASE64.encode(format!("user:{value}!").as_bytes());
        let url = "s3cret%2F%22value%22%20with%20%C3%BC";
        for shown in [value, quoted.trim_matches('"'), url] {
            assert_eq!(masked(&[value], &format!("<{shown}>")), "<***>", "{shown}");
        }
        let shown = masked(&[value], &base64);
        assert!(shown.contains("***") && shown.len() < 15, "{shown}");
        assert_eq!(masked(&[value], "s3cret/"), "s3cret/");
    }

    #[test]
    fn lines_are_secrets_too_and_what_overlaps_is_one() {
        assert_eq!(masked(&["first line\nab\nlast line\n"], "x last line\r\nab"), "x ***\r\nab");
        assert_eq!(masked(&["abcdef", "defghi"], "abcdefghi"), "***");
        assert_eq!(masked(&["abcd", "abcdef"], "abcdeabcdef"), "***e***");
    }

    #[test]
    fn documents_are_masked_in_keys_and_texts() {
        let mut document = json!({"hunter22": ["a hunter22", 5], "b": {"c": "hunter22"}});
        mask(&["hunter22"]).document(&mut document);
        assert_eq!(document, json!({"***": ["a ***", 5], "b": {"c": "***"}}));
    }

    #[test]
    fn an_end_that_may_be_a_beginning_is_held_and_told_when_nothing_follows() {
        let mask = mask(&["hunter22"]);
        let mut masking = Masking::default();
        assert_eq!(*masking.take(&mask, b"a line\nhunt"), *b"a line\n");
        assert_eq!((masking.held(), masking.idle(&mask)), (4, b"hunt".to_vec()));
        assert_eq!((masking.held(), masking.idle(&mask)), (0, Vec::new()));
        assert_eq!(*masking.take(&mask, b"er22 and hunting"), *b"*** and hunting");
        assert_eq!(*masking.take(&mask, b" hun"), *b" ");
        assert_eq!(*masking.take(&mask, b"hunter22"), *b"hun***");
    }

    proptest! {
        #[test]
        fn pieces_show_no_secret_and_all_the_rest(
            text in "[ab]{0,60}", size in 1_usize..9, secrets in proptest::collection::vec("[ab]{4,7}", 1..4)
        ) {
            let values: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mask = mask(&values);
            let found = mask.search.as_ref().unwrap().find(text.as_bytes());
            let hidden: usize = found.iter().map(Range::len).sum();
            let told = in_pieces(&mask, text.as_bytes(), size);
            let shown = told.iter().filter(|byte| **byte != b'*').count();
            prop_assert_eq!(shown, text.len() - hidden, "{}", String::from_utf8_lossy(&told));
        }
    }
}
