//! `mother interactive`: as a script, and in a terminal.

use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use serde_json::{Value, json};
use sutbot::client::Client;
use tempfile::TempDir;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_mins(1);

/// A server with a database of its own.
struct Server {
    folder: TempDir,
    child: Child,
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // As root, the account of postgres has to get through.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("chmod");
        let path = |name: &str| folder.path().join(name);
        let mut child = Command::new(env!("CARGO_BIN_EXE_mother"))
            .args(["serve", "--slots", "4", "--socket"])
            .arg(path("s"))
            .arg("--data-dir")
            .arg(path("data"))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary was built");
        let stdout = child.stdout.take().expect("it is a pipe");
        let server = Self { folder, child };
        Heard::of(stdout).until("listening on the socket");
        server
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A command that a step runs and that ends when [`Server::open`] is called.
    fn gate(&self, name: &str) -> Value {
        mkfifo(&self.path(name), Mode::S_IRWXU).expect("a new name");
        fs::set_permissions(self.path(name), Permissions::from_mode(0o666)).expect("chmod");
        json!({"command": ["cat", self.path(name)]})
    }

    /// Waits until the step runs and lets it end.
    fn open(&self, name: &str) {
        fs::write(self.path(name), "").expect("the step reads");
    }

    async fn submit(&self, jobset: &Value) -> String {
        let client = Client::over_socket(&self.path("s"), None).expect("a client");
        let submitted = client.submit_json(jobset.to_string().into_bytes()).await;
        submitted.expect("a valid jobset").operation.id
    }

    fn interactive(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mother"));
        command.arg("interactive").args(arguments).arg("--socket").arg(self.path("s"));
        command.env_clear().env("TERM", "xterm").env("NO_COLOR", "1");
        command
    }

    /// The command in a terminal, as a person has it.
    fn terminal(&self) -> Terminal {
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(&size, None).expect("a terminal");
        let stdio = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        let mut command = self.interactive(&[]);
        let spawned = command.stdin(stdio()).stdout(stdio()).stderr(stdio()).spawn();
        let child = spawned.expect("the binary was built");
        // Only the command has the other end, so that reading ends with it.
        drop((command, pair.slave));
        let keys = File::from(pair.master);
        let screen = Heard::of(keys.try_clone().expect("a descriptor"));
        Terminal { child, keys, screen }
    }

    /// What a script prints, with its errors and its exit code.
    fn script(&self, arguments: &[&str], lines: &str) -> String {
        let mut child = self
            .interactive(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was built");
        // A script that is refused is not read.
        _ = child.stdin.take().expect("it is a pipe").write_all(lines.as_bytes());
        let output = child.wait_with_output().expect("it ends");
        let text = [output.stdout, output.stderr].concat();
        let mut text = String::from_utf8(text).expect("text");
        writeln!(text, "exit {}", output.status.code().expect("no signal")).expect("a string");
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let id = Pid::from_raw(self.child.id().try_into().expect("small"));
        // It takes its database with it.
        _ = kill(id, Signal::SIGTERM);
        _ = self.child.wait();
    }
}

/// A command that a person types at.
struct Terminal {
    child: Child,
    keys: File,
    screen: Heard,
}

fn terminate(child: &Child) {
    let id = Pid::from_raw(child.id().try_into().expect("small"));
    kill(id, Signal::SIGTERM).expect("it runs");
}

/// What a process has said so far.
struct Heard {
    pieces: mpsc::Receiver<Vec<u8>>,
    text: String,
}

impl Heard {
    fn of(mut source: impl Read + Send + 'static) -> Self {
        let (piece, pieces) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Reading from a terminal that nobody has open any more is an error.
            while let Ok(count @ 1..) = source.read(&mut buffer) {
                _ = piece.send(buffer[..count].to_vec());
            }
        });
        Self { pieces, text: String::new() }
    }

    /// Waits until nobody can say anything any more.
    fn until_the_end(&mut self) {
        loop {
            match self.pieces.recv_timeout(PATIENCE) {
                Ok(_) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
    }

    /// Waits for these words, and hands back what was said up to them.
    fn until(&mut self, words: &str) -> String {
        loop {
            if let Some(at) = self.text.find(words) {
                let rest = self.text.split_off(at + words.len());
                return std::mem::replace(&mut self.text, rest);
            }
            let piece = self.pieces.recv_timeout(PATIENCE);
            let piece = piece.unwrap_or_else(|_| panic!("no `{words}` in {:?}", self.text));
            self.text += &String::from_utf8_lossy(&piece);
        }
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no `{part}` in:\n{text}");
    }
}

#[tokio::test]
async fn a_script_steers_an_operation() {
    let server = Server::start();
    let none = server.script(&[], "status\n");
    has(&none, &["no operation runs; name one: mother interactive OP", "exit 2"]);
    has(&server.script(&["x"], "status\n"), &["error: ", "exit 3"]);

    let jobset = json!({"name": "nightly", "steps": [
        {"name": "build", "run": server.gate("build")},
        {"name": "unit", "run": {"shell": "exit 3"}, "onFailure": "hold"},
        {"name": "load", "run": {"shell": "true"}, "tags": {"suite": "slow"}},
    ], "successPairs": [["build", "unit"], ["build", "load"]]});
    let id = server.submit(&jobset).await;

    // The only one that runs is meant; all lines are done, whatever becomes of the ones before.
    let mistakes =
        server.script(&[], "skup load\nskip nope\n\n# a remark\nsteps load\nexplain load");
    has(
        &mistakes,
        &[
            "there is no command `skup`; did you mean `skip`?",
            "the operation has no step called `nope`",
            "load  Waiting",
            "`load` waits for `build`",
            "exit 1",
        ],
    );

    let steered = server.script(&[], "pause\nresume\nskip suite=slow --dry-run\nskip suite=slow\n");
    has(
        &steered,
        &[
            "the operation is paused: what runs ends, nothing new starts",
            "the operation is not paused",
            "load  Waiting  ToSkip\nthis is what would be done; nothing was done\n",
            "exit 0",
        ],
    );

    server.open("build");
    let waited = server.script(&[&id], "wait\nsteps state:error\nskip unit\nwait\nevents\n");
    has(
        &waited,
        &[
            "steps wait for a person; `status` names them",
            "unit  Error",
            "unit  Error  ToSkip",
            "Succeeded after ",
            "exit 0",
        ],
    );
}

#[tokio::test]
async fn a_rerun_of_what_has_ended_goes_on_with_the_new_operation() {
    let server = Server::start();
    let once = json!({"name": "once", "steps": [{"name": "a", "run": {"shell": "echo hello"}}]});
    let id = server.submit(&once).await;
    let reran = server.script(&[&id, "--json"], "wait\nrerun a\nwait\nstatus\ncancel\n");
    let lines: Vec<Value> =
        reran.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(lines.len(), 5, "{reran}");
    assert_eq!(lines[0]["id"], *id);
    assert_eq!(lines[1]["forkedFrom"], *id);
    assert_ne!(lines[1]["id"], *id);
    assert_eq!(lines[2]["id"], lines[1]["id"]);
    assert_eq!(lines[3]["operation"]["id"], lines[1]["id"]);
    assert_eq!(lines[4]["state"], "Succeeded", "no harm is done to what has ended");
    has(&server.script(&[&id], "output a\noutput a 7\n"), &["hello\n", "error: ", "exit 1"]);

    let gate = server.gate("gate");
    let held = json!({"name": "held", "steps": [{"name": "a", "run": gate}]});
    let ids = [server.submit(&held).await, server.submit(&held).await];
    let several = server.script(&[], "cancel\n");
    has(&several, &["several operations run; name one: ", "exit 2"]);
    for id in ids {
        has(&server.script(&[&id], "cancel\nwait\n"), &["Cancelled after ", "exit 0"]);
    }
}

#[tokio::test]
async fn a_person_sees_what_happens_above_the_prompt() {
    let server = Server::start();
    let jobset = json!({"name": "nightly", "steps": [
        {"name": "build", "run": server.gate("build")},
        {"name": "unit", "run": server.gate("unit")},
    ], "successPairs": [["build", "unit"]]});
    server.submit(&jobset).await;

    let Terminal { mut child, mut keys, mut screen } = server.terminal();
    let mut press = |text: &str| keys.write_all(text.as_bytes()).expect("it is open");

    screen.until("nightly going> ");
    press("pau\t");
    screen.until("pause ");
    press("bu\t");
    screen.until("pause build ");

    server.open("build");
    screen.until("Succeeded    build");
    // What was typed is still there, below the news.
    screen.until("nightly going> pause build ");
    server.open("unit");
    screen.until("Succeeded after ");
    screen.until("nightly ended> pause build ");

    // Ctrl-U takes the line away.
    press("\x15stauts\r");
    screen.until("did you mean `status`?");
    screen.until("nightly ended> ");
    // The news of the end have been told, and are told again to whoever asks.
    press("wait\r");
    screen.until("Succeeded after ");
    screen.until("nightly ended> ");
    press("rerun unit\r");
    screen.until("go on with the new one? [Y/n] ");
    press("\r");
    screen.until("nightly going> ");
    press("cancel\r");
    screen.until("cancel nightly and its running steps? [y/N] ");
    press("\r");
    screen.until("not cancelled");
    screen.until("nightly going> ");
    press("\x03");
    screen.until("Ctrl-D leaves");
    screen.until("nightly going> ");
    press("\x04");
    screen.until("leaving; the operation goes on");
    assert!(child.wait().expect("it ends").success());
    server.open("unit");
}

#[tokio::test]
async fn a_signal_ends_what_is_asked() {
    let server = Server::start();
    let jobset =
        |name: &str| json!({"name": name, "steps": [{"name": "a", "run": server.gate(name)}]});
    server.submit(&jobset("nightly")).await;

    let Terminal { mut child, mut keys, mut screen } = server.terminal();
    let mut press = |text: &str| keys.write_all(text.as_bytes()).expect("it is open");
    screen.until("nightly going> ");
    press("cancel\r");
    screen.until("cancel nightly and its running steps? [y/N] ");
    terminate(&child);
    screen.until("not waiting any longer");
    // The editor still asks that. What is said to it is no command.
    press("y\r");
    let mut said = screen.until("nightly going> ");
    press("stauts\r");
    said += &screen.until("did you mean `status`?");
    assert!(!said.contains("no command `y`"), "{said}");
    said = screen.until("nightly going> ");
    assert!(!said.contains("say yes or no"), "{said}");
    terminate(&child);
    screen.until("leaving; the operation goes on");
    assert!(child.wait().expect("it ends").success());

    server.submit(&jobset("weekly")).await;
    let Terminal { mut child, keys: _keys, mut screen } = server.terminal();
    screen.until("which one, 1 to 2? ");
    terminate(&child);
    screen.until_the_end();
    assert!(child.wait().expect("it ends").success());
    server.open("nightly");
    server.open("weekly");
}
