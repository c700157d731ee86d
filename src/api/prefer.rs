//! The `Prefer` header (RFC 7240).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The longest wait that is granted.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// The answer that names what was granted.
pub(super) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What a client prefers; what we do not know is ignored, as the RFC asks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefer {
    /// `respond-async`.
    pub(super) respond_async: bool,
    /// `wait=N`: the answer may take up to N seconds.
    pub(super) wait: Option<Duration>,
    /// `return=minimal`: the body may be left out.
    pub(super) minimal: bool,
    /// `maxpagesize=N` or `odata.maxpagesize=N`.
    pub(super) max_page_size: Option<usize>,
}

impl Prefer {
    /// Reads all `Prefer` headers.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut prefer = Self::default();
        let all = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for preference in all.flat_map(|line| line.split(',')) {
            let first = preference.split(';').next().unwrap_or_default();
            let (name, value) = first.split_once('=').unwrap_or((first, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "respond-async" => prefer.respond_async = true,
                "wait" => {
                    prefer.wait = value.parse().ok().map(|s| Duration::from_secs(s).min(WAIT_MAX));
                }
                "return" => prefer.minimal = value == "minimal",
                "maxpagesize" | "odata.maxpagesize" => {
                    prefer.max_page_size = value.parse().ok().filter(|size| *size > 0);
                }
                _ => {}
            }
        }
        prefer
    }

    /// The `Preference-Applied` header for those of `granted` that were asked for.
    pub(super) fn applied(self, headers: &mut HeaderMap) {
        let mut granted = Vec::new();
        if self.respond_async {
            granted.push("respond-async".to_owned());
        }
        if let Some(wait) = self.wait {
            granted.push(format!("wait={}", wait.as_secs()));
        }
        if self.minimal {
            granted.push("return=minimal".to_owned());
        }
        if let Some(size) = self.max_page_size {
            granted.push(format!("odata.maxpagesize={size}"));
        }
        if let (false, Ok(value)) = (granted.is_empty(), HeaderValue::from_str(&granted.join(", ")))
        {
            headers.insert(PREFERENCE_APPLIED, value);
        }
    }
}
