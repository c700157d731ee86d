//! Where and on what the figures came about.

use std::process::Command;

use sqlx::PgConnection;

use crate::Failure;

/// The settings of PostgreSQL that the figures hang on most.
const SETTINGS: [&str; 7] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "autovacuum_naptime",
];

/// The conditions of this run.
pub(crate) async fn read(
    database: &mut PgConnection,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let processors = std::thread::available_parallelism()?.to_string();
    let mut conditions = vec![
        ("processor", processor().unwrap_or_default()),
        ("cores", processors),
        ("kernel", output("uname", &["-sr"])),
        ("commit", output("git", &["rev-parse", "HEAD"])),
    ];
    for name in SETTINGS {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&mut *database)
            .await?;
        let name = if name == "server_version" { "PostgreSQL" } else { name };
        conditions.push((name, value));
    }
    Ok(conditions)
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// What a program prints; nothing if it cannot.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.ok().filter(|output| output.status.success());
    output.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned()).unwrap_or_default()
}
