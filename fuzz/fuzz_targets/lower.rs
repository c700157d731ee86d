#![no_main]

#[allow(dead_code, reason = "the other target uses the rest")]
#[path = "../../tests/odata/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| entry::lower(bytes));
