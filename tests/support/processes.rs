//! The processes of this machine.

use std::ffi::OsStr;
use std::path::Path;

/// The command lines of the processes with `mark` in their environment. What has ended and was not
/// reaped has none.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let has_mark = |path: &Path| {
        std::fs::read(path.join("environ")).is_ok_and(|environ| {
            environ.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
    };
    named(has_mark)
}

/// The command lines of the processes whose folder in `/proc` is meant.
pub(crate) fn named(is_meant: impl Fn(&Path) -> bool) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok);
    let is_number = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let processes = entries.filter(|entry| is_number(&entry.file_name())).map(|entry| entry.path());
    let name = |path: &Path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
    processes.filter(|path| is_meant(path)).map(|path| name(&path)).collect()
}
