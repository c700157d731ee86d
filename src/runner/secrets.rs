//! Secrets: variables of a step whose values only the worker knows.
//!
//! The value of `NAME` is the content of the file `NAME` in the folder of secrets (without the line
//! break at its end), or else the worker's own environment variable `NAME`. It is looked up for each
//! attempt, so a value that is changed counts from the next attempt on. It goes into the environment
//! of the step and nowhere else.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::mask::{Mask, VALUE_MIN};
use super::place::off_thread;
use crate::engine::Assignment;
use crate::functions::Exception;

/// The longest value in bytes: Linux takes no longer variable (`MAX_ARG_STRLEN`), name included.
const VALUE_MAX: usize = 127 * 1024;

/// What an attempt has of secrets.
pub(super) struct Secrets {
    /// Masks the secrets of all steps of the jobset.
    pub(super) mask: Arc<Mask>,
    /// The variables of this step, or why one of them cannot be had.
    pub(super) own: Result<Vec<(OsString, OsString)>, Exception>,
}

impl Secrets {
    /// Looks up what the jobset declares.
    pub(super) async fn of(assignment: &Assignment, folder: Option<&Path>) -> Self {
        let jobset = &assignment.jobset;
        if jobset.secrets.is_empty() {
            return Self { mask: Arc::default(), own: Ok(Vec::new()) };
        }
        let names = jobset.secrets.clone();
        let own = jobset.step(assignment.step).definition.secrets.clone();
        let folder = folder.map(Path::to_owned);
        off_thread(move || {
            let look_up = |name: &String| value(name, folder.as_deref());
            let known: Vec<Vec<u8>> = names.iter().flat_map(look_up).collect();
            let own = own.iter().map(|name| Ok((name.into(), OsString::from_vec(look_up(name)?))));
            Self { mask: Arc::new(mask(&known)), own: own.collect() }
        })
        .await
    }
}

fn mask(values: &[Vec<u8>]) -> Mask {
    Mask::new(values.iter().map(Vec::as_slice))
}

/// Masks these secrets; the name of the first one that is not known instead.
pub(super) async fn mask_for(names: Vec<String>, folder: Option<PathBuf>) -> Result<Mask, String> {
    if names.is_empty() {
        return Ok(Mask::default());
    }
    off_thread(move || {
        let look_up = |name: String| value(&name, folder.as_deref()).map_err(|_| name);
        let known: Vec<Vec<u8>> = names.into_iter().map(look_up).collect::<Result<_, _>>()?;
        Ok(mask(&known))
    })
    .await
}

/// The value of a secret.
fn value(name: &str, folder: Option<&Path>) -> Result<Vec<u8>, Exception> {
    let file = folder.map(|folder| folder.join(name));
    let of_file = match file.as_ref().map(std::fs::read) {
        Some(Ok(mut value)) => {
            if value.ends_with(b"\n") {
                value.pop();
            }
            Some(value)
        }
        Some(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
            let message = format!("the file of the secret `{name}` cannot be read: {error}");
            return Err(Exception::new("SecretMissing", message));
        }
        Some(Err(_)) | None => None,
    };
    let value = of_file.or_else(|| Some(std::env::var_os(name)?.as_bytes().to_vec()));
    let value = value.ok_or_else(|| {
        let file = match file {
            Some(file) => format!("there is no file {}", file.display()),
            None => "there is no folder of secrets (--secrets-dir)".to_owned(),
        };
        let message = format!(
            "the worker does not know the secret `{name}`: {file}, and it has no such variable"
        );
        Exception::new("SecretMissing", message)
    })?;
    let wrong = if value.len() < VALUE_MIN {
        let message = format!("has less than {VALUE_MIN} bytes: masking it would mask everything");
        Some(("SecretTooShort", message))
    } else if value.len() > VALUE_MAX {
        Some(("SecretTooLong", format!("has more than {VALUE_MAX} bytes: no variable holds it")))
    } else if value.contains(&0) {
        Some(("SecretNotText", "has a NUL byte: no variable holds it".to_owned()))
    } else {
        None
    };
    match wrong {
        Some((kind, why)) => Err(Exception::new(kind, format!("the secret `{name}` {why}"))),
        None => Ok(value),
    }
}
