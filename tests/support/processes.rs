//! The processes of this machine.

use std::path::Path;

/// The command lines of the processes with `mark` in their environment. What has ended and was not
/// reaped has none.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").expect("it is mounted").filter_map(Result::ok);
    let has_mark = |path: &Path| {
        std::fs::read(path.join("environ")).is_ok_and(|environ| {
            environ.windows(mark.len()).any(|window| window == mark.as_bytes())
        })
    };
    let name = |path: &Path| std::fs::read_to_string(path.join("cmdline")).unwrap_or_default();
    processes.map(|p| p.path()).filter(|path| has_mark(path)).map(|path| name(&path)).collect()
}
