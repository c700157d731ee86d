//! The rooms of `src/` and what each may name: the table of the design, held by a test.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Room, rooms of the crate that it may name, crates and modules that it may use only if they stand
/// here.
const ROOMS: [(&str, &[&str], &[&str]); 13] = [
    ("domain", &["itc"], &[]),
    ("itc", &[], &[]),
    ("odata", &[], &[]),
    ("wire", &["domain", "itc"], &["utoipa"]),
    ("store", &["domain", "itc", "odata"], &["sqlx"]),
    ("postgres", &[], &["reqwest", "std::process", "tokio::process"]),
    ("engine", &["domain", "itc", "odata", "store"], &["sqlx"]),
    ("functions", &["domain"], &["reqwest"]),
    ("runner", &["domain", "engine", "functions"], &["std::process", "minijinja"]),
    ("api", &["domain", "itc", "odata", "wire", "engine"], &["axum", "utoipa"]),
    ("client", &["wire"], &["reqwest"]),
    ("remote", &["client", "domain", "engine", "runner", "wire"], &[]),
    (
        "cli",
        &[
            "api", "client", "domain", "engine", "itc", "odata", "postgres", "remote", "runner",
            "store", "wire",
        ],
        &["clap", "std::process"],
    ),
];

/// What only the rooms that list it may use.
const GUARDED: [&str; 9] = [
    "sqlx",
    "axum",
    "utoipa",
    "clap",
    "reqwest",
    "minijinja",
    "std::process",
    "tokio::process",
    "std::time::SystemTime",
];

const LINES_MAX: usize = 500;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every source file with its room.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    sources(&root)
        .into_iter()
        .filter_map(|path| {
            let inside = path.strip_prefix(&root).ok()?;
            let room = inside.components().next()?.as_os_str().to_str()?.to_owned();
            let room = room.trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&path).expect("a source file");
            (room != "lib" && room != "main").then_some((room, path, text))
        })
        .collect()
}

/// The code without comments, line by line with its number.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
}

#[test]
fn rooms_name_only_what_the_design_allows() {
    let table: BTreeMap<_, _> = ROOMS.iter().map(|room| (room.0, (room.1, room.2))).collect();
    let mut wrong = Vec::new();
    for (room, path, text) in rooms() {
        let Some((rooms, crates)) = table.get(room.as_str()) else {
            wrong.push(format!("{}: `{room}` is no room of the design", path.display()));
            continue;
        };
        for (number, line) in code(&text) {
            for named in line.split("crate::").skip(1) {
                let end = named.find(|c: char| !c.is_alphanumeric() && c != '_');
                let named = &named[..end.unwrap_or(named.len())];
                let is_room = table.contains_key(named);
                if is_room && named != room && !rooms.contains(&named) {
                    let place = path.display();
                    wrong.push(format!("{place}:{number}: `{room}` may not name `{named}`"));
                }
            }
            for guarded in GUARDED {
                let is_used = line.contains(&format!("{guarded}::"))
                    || line.contains(&format!("use {guarded};"));
                if is_used && !crates.contains(&guarded) {
                    let place = path.display();
                    wrong.push(format!("{place}:{number}: `{room}` may not use `{guarded}`"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_domain_is_pure() {
    let impure = ["tokio", "std::fs", "std::net", "std::env", "std::thread", "Utc::now", "Instant"];
    for (room, path, text) in rooms() {
        if !["domain", "itc", "odata"].contains(&room.as_str()) {
            continue;
        }
        for (number, line) in code(&text) {
            for word in impure {
                assert!(!line.contains(word), "{}:{number}: `{word}`", path.display());
            }
        }
    }
}

#[test]
fn files_fit_in_the_head_and_nothing_is_left_over() {
    // Spelled in two parts, so that this file does not find itself.
    let left_over = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    for (_, path, text) in rooms() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{} has {lines} lines", path.display());
        for (index, line) in text.lines().enumerate() {
            for word in left_over {
                assert!(!line.contains(word), "{}:{}: {word}", path.display(), index + 1);
            }
        }
    }
}
