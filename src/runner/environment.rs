//! The environment of an attempt.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// What steps inherit of the worker's environment: what describes the user and the machine, not what
/// configures the service. A name that ends with `*` stands for all that begin like it.
const INHERITED: [&str; 18] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_*",
    "TZ",
    "TERM",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
];

/// The part of the worker's environment that its steps get: what describes the user and the machine,
/// and what the worker was told to pass on.
pub(super) fn inherited(pass: &[String]) -> BTreeMap<OsString, OsString> {
    std::env::vars_os().filter(|(name, _)| is_passed(&name.to_string_lossy(), pass)).collect()
}

fn is_passed(name: &str, pass: &[String]) -> bool {
    let mut patterns = INHERITED.into_iter().chain(pass.iter().map(String::as_str));
    patterns.any(|pattern| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_not_passed() {
        let pass = ["CI".to_owned(), "BUILD_*".to_owned()];
        for (name, is) in [
            ("PATH", true),
            ("LC_ALL", true),
            ("CI", true),
            ("BUILD_NUMBER", true),
            ("no_proxy", true),
            ("CIRCLE", false),
            ("PATHS", false),
            ("DATABASE_URL", false),
            ("MOTHER_TOKEN", false),
            ("AWS_SECRET_ACCESS_KEY", false),
        ] {
            assert_eq!(is_passed(name, &pass), is, "{name}");
        }
    }
}
