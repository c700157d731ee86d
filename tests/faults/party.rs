//! Processes that faults befall and that are started again as they were.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::family::{Relative, descendants};
use crate::patience::{PATIENCE, until};
use crate::serve::listening;

/// How a process is started.
pub(crate) struct Recipe {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    /// What it says to people.
    pub(crate) log: PathBuf,
}

impl Recipe {
    /// This program's `mother`, with a command line; what it says is below `folder`.
    pub(crate) fn mother(folder: &Path, name: &str, words: &[&str]) -> Self {
        let recipe = Self {
            name: name.to_owned(),
            program: env!("CARGO_BIN_EXE_mother").into(),
            arguments: vec![],
            environment: vec![],
            log: folder.join(format!("{name}.log")),
        };
        recipe.with(words)
    }

    pub(crate) fn with(mut self, words: &[&str]) -> Self {
        self.arguments.extend(words.iter().map(|word| (*word).to_owned()));
        self
    }

    pub(crate) fn seeing(self, environment: Vec<(String, String)>) -> Self {
        Self { environment, ..self }
    }

    /// The same, started by another program that becomes it.
    pub(crate) fn by(mut self, starter: &[String]) -> Self {
        let (program, words) = starter.split_first().expect("a program");
        let own = self.program.display().to_string();
        self.arguments = words.iter().cloned().chain([own]).chain(self.arguments).collect();
        Self { program: program.into(), ..self }
    }

    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log");
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_remove("DATABASE_URL").envs(self.environment.clone());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }
}

/// A process and how to start it again; killed when dropped.
pub(crate) struct Party {
    recipe: Recipe,
    child: Child,
}

impl Party {
    /// Starts a process that only has to be there.
    pub(crate) fn start(recipe: Recipe) -> Self {
        let child = recipe.command().spawn().expect("it can be started");
        Self { recipe, child }
    }

    /// Starts a server on a port of its own, which it keeps when it is started again; answers the base
    /// of its URLs too.
    pub(crate) fn serve(mut recipe: Recipe) -> (Self, String) {
        let (child, url) = listening(&mut recipe.command()).expect("it can be started");
        let port = url.strip_prefix("http://").expect("a URL");
        for argument in &mut recipe.arguments {
            if argument.ends_with(ANY_PORT) {
                port.clone_into(argument);
            }
        }
        (Self { recipe, child }, url)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(&self.child), signal).expect("it has not been reaped");
    }

    /// Kills it where it stands.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it has not been reaped");
        self.child.wait().expect("a child");
    }

    /// Starts it again if it has ended. The port of a server may be taken for a moment.
    pub(crate) fn revive(&mut self) {
        if self.child.try_wait().expect("a child").is_none() {
            return;
        }
        let mut command = self.recipe.command();
        if !self.recipe.arguments.iter().any(|argument| argument == "serve") {
            self.child = command.spawn().expect("it can be started");
            return;
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        self.child = loop {
            match listening(&mut command) {
                Ok((child, _)) => break child,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
        };
    }

    /// The processes below it with that name.
    pub(crate) fn below(&self, name: &str) -> Vec<Pid> {
        let below = descendants(pid(&self.child));
        below.into_iter().filter(|Relative { comm, .. }| comm == name).map(|r| r.pid).collect()
    }

    /// Asks all of them to end, and waits until they have.
    pub(crate) async fn end_all(parties: Vec<&mut Self>) {
        for party in &parties {
            party.signal(Signal::SIGTERM);
        }
        for party in parties {
            let name = party.recipe.name.clone();
            let has_ended = async || party.child.try_wait().expect("a child").map(drop);
            until(&format!("{name} ends"), has_ended).await;
        }
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The end of the address of a server that may have any port.
const ANY_PORT: &str = ":0";

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().try_into().expect("a number of a process"))
}
