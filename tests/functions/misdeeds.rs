//! The functions of this program: what those of other programs do, mistakes included.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::panic::panic_any;
use std::process::{Command, exit};

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill, raise};
use nix::unistd::{Pid, close, getppid, pause};
use serde_json::Value;
use sutbot::{Exception, Functions};

/// The descriptor by which a result goes.
const ANSWER: &str = "/proc/self/fd/4";

type Done<T> = Result<T, Infallible>;

pub(crate) fn functions() -> Functions {
    sutbot::stock()
        .register("echo", |value: Value| Done::Ok(value))
        .register("print", |text: String| {
            println!("{text} to stdout");
            eprint!("{text} to stderr, without an end of line");
            Done::Ok(())
        })
        .register("panic", |text: String| -> Done<()> { panic!("{text}") })
        .register("panic_strangely", |()| -> Done<()> { panic_any(SorePanic) })
        .register("fail", |text: String| Err::<(), _>(text))
        .register("fail_io", |path: String| File::open(path).map(drop))
        .register("fail_own", |kind: String| Err::<(), _>(Exception::new(kind, "its own")))
        .register("exit", |code: i32| -> Done<()> { exit(code) })
        .register("abort", |()| -> Done<()> { std::process::abort() })
        .register("overflow", |depth: u64| Done::Ok(overflow(depth)))
        .register("out_of_memory", |()| {
            setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30)?;
            Ok::<_, nix::Error>(vec![1_u8; 2 << 30].len())
        })
        .register("signal", |number: i32| raise(Signal::try_from(number)?))
        .register("pairs", |()| Done::Ok(BTreeMap::from([((1, 2), 3)])))
        .register("nul", |()| Done::Ok("\0"))
        .register("big", |bytes: usize| Done::Ok("x".repeat(bytes)))
        .register("deep", |depth: usize| {
            Done::Ok((0..depth).fold(Value::Null, |inner, _| Value::Array(vec![inner])))
        })
        .register("meddle", |(text, code): (String, Option<i32>)| {
            OpenOptions::new().write(true).open(ANSWER)?.write_all(text.as_bytes())?;
            if let Some(code) = code {
                exit(code);
            }
            Ok::<_, std::io::Error>(())
        })
        .register("close_and_go_on", |sign: String| {
            close(4)?;
            let mut sign = OpenOptions::new().write(true).open(sign)?;
            writeln!(sign, "closed")?;
            // Until the pipe is full, and then until nobody reads it any more.
            while sign.write_all(&[b'.'; 4096]).is_ok() {}
            Ok::<_, std::io::Error>("unheard")
        })
        .register("hold", |sign: String| hold(&sign))
        .register("hold_stubbornly", |sign: String| {
            SigSet::all().thread_block()?;
            leave_behind(&sign).wait().map(drop)
        })
        .register("leave_behind", |sign: String| Done::Ok(leave_behind(&sign).id()))
        .register("open_to_children", |()| {
            let output = Command::new("ls").arg("/proc/self/fd").output()?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&output.stdout).into_owned())
        })
        .register("kill_monitor", |()| {
            kill(getppid(), Signal::SIGKILL)?;
            wait_for_the_end()
        })
        .register("kill_zygote", |()| {
            let zygote = parent_of(getppid());
            kill(zygote, Signal::SIGKILL)?;
            wait_for_the_end()
        })
}

/// What panics when it is dropped, too.
struct SorePanic;

impl Drop for SorePanic {
    fn drop(&mut self) {
        panic!("again");
    }
}

fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 1024]);
    if depth == 0 { 0 } else { overflow(depth - 1) + room[7] }
}

/// Holds a sign until the process is killed.
fn hold(sign: &str) -> std::io::Result<()> {
    let mut sign = OpenOptions::new().write(true).open(sign)?;
    writeln!(sign, "held")?;
    Ok(wait_for_the_end()?)
}

/// Never returns.
fn wait_for_the_end() -> nix::Result<()> {
    loop {
        pause();
    }
}

/// Starts a process that does all it can to survive, and holds the sign.
fn leave_behind(sign: &str) -> std::process::Child {
    let script = r#"trap '' TERM INT HUP; exec 9>"$1"; echo $$ >&9
                    while :; do sleep 1000 9>&-; done"#;
    Command::new("setsid").args(["sh", "-c", script, "sh", sign]).spawn().unwrap()
}

fn parent_of(pid: Pid) -> Pid {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}
