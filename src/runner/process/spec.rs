//! What to run, and how that travels to the monitor.

use std::ffi::{CStr, OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use nix::errno::Errno;

use super::{Confinement, Rescue, SpawnError};

/// A command with everything that it gets: nothing is inherited.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// The program and its arguments. A program without a slash is looked up in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working folder; an absolute path.
    pub cwd: PathBuf,
    /// What the process reads.
    pub stdin: Stdin,
    /// What is to stand around it.
    pub confinement: Confinement,
    /// What becomes of its output if the worker dies; nothing without.
    pub rescue: Option<Rescue>,
}

/// The standard input of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stdin {
    /// Nothing: `/dev/null`.
    #[default]
    Null,
    /// A pipe that the caller writes to.
    Piped,
}

impl ProcessSpec {
    /// Writes the specification to a file in memory, in the place of the last one, so that its length
    /// is never a packet's problem.
    ///
    /// The format: the folder, the confinement as JSON, the spool and its first line (both empty
    /// without a rescue), the number of arguments, the arguments, the variables as `NAME=value`, a NUL
    /// byte after each.
    pub(super) fn write_to(&self, memory: &File) -> Result<(), SpawnError> {
        if self.argv.is_empty() {
            return Err(SpawnError::NoProgram);
        }
        let host = |source: std::io::Error| SpawnError::Host {
            action: "store its command".into(),
            source,
        };
        let mut bytes = Vec::with_capacity(4096);
        push(&mut bytes, self.cwd.as_os_str())?;
        let confinement = serde_json::to_string(&self.confinement).map_err(|e| host(e.into()))?;
        push(&mut bytes, OsStr::new(&confinement))?;
        let rescue = self.rescue.as_ref();
        push(&mut bytes, rescue.map_or(OsStr::new(""), |rescue| rescue.spool.as_os_str()))?;
        push(&mut bytes, OsStr::new(rescue.map_or("", |rescue| &rescue.head)))?;
        push(&mut bytes, OsStr::new(&self.argv.len().to_string()))?;
        for argument in &self.argv {
            push(&mut bytes, argument)?;
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.as_bytes().contains(&b'=') {
                return Err(SpawnError::VariableName { name: name.clone() });
            }
            push(&mut bytes, name)?;
            bytes.pop();
            bytes.push(b'=');
            push(&mut bytes, value)?;
        }
        memory.write_all_at(&bytes, 0).map_err(host)?;
        memory.set_len(bytes.len() as u64).map_err(host)
    }
}

fn push(bytes: &mut Vec<u8>, text: &OsStr) -> Result<(), SpawnError> {
    if text.as_bytes().contains(&0) {
        return Err(SpawnError::Nul { text: text.to_owned() });
    }
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    Ok(())
}

/// A specification as the monitor reads it.
pub(super) struct Plan<'a> {
    pub(super) cwd: &'a CStr,
    pub(super) confinement: Confinement,
    /// The spool and its first line.
    pub(super) rescue: Option<(&'a CStr, &'a CStr)>,
    pub(super) argv: Vec<&'a CStr>,
    pub(super) env: Vec<&'a CStr>,
}

/// The bytes that [`ProcessSpec::write_to`] wrote.
pub(super) fn read_memory(memory: &File) -> std::io::Result<Vec<u8>> {
    let length = usize::try_from(memory.metadata()?.len()).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; length];
    memory.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

impl<'a> Plan<'a> {
    /// Reads the format that [`ProcessSpec::write_to`] writes.
    pub(super) fn parse(bytes: &'a [u8]) -> nix::Result<Plan<'a>> {
        let mut fields = bytes
            .split_inclusive(|byte| *byte == 0)
            .map(CStr::from_bytes_with_nul)
            .map_while(Result::ok);
        let cwd = fields.next().ok_or(Errno::EBADMSG)?;
        let confinement = fields.next().ok_or(Errno::EBADMSG)?.to_bytes();
        let confinement = serde_json::from_slice(confinement).map_err(|_| Errno::EBADMSG)?;
        let (spool, head) = fields.next().zip(fields.next()).ok_or(Errno::EBADMSG)?;
        let rescue = (!spool.is_empty()).then_some((spool, head));
        let count = fields.next().and_then(|field| field.to_str().ok()?.parse().ok());
        let argv: Vec<_> = fields.by_ref().take(count.ok_or(Errno::EBADMSG)?).collect();
        Ok(Plan { cwd, confinement, rescue, argv, env: fields.collect() })
    }

    /// The files that may be the program, in the order of the `PATH`.
    pub(super) fn candidates(&self) -> Vec<PathBuf> {
        let program = OsStr::from_bytes(self.argv[0].to_bytes());
        if program.as_bytes().contains(&b'/') {
            return vec![PathBuf::from(program)];
        }
        let path = self.env.iter().find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
        let folders = path.unwrap_or(b"/usr/local/bin:/usr/bin:/bin").split(|byte| *byte == b':');
        // An empty entry is the working folder, as it has always been.
        folders
            .map(|folder| if folder.is_empty() { b"." } else { folder })
            .map(|folder| PathBuf::from(OsString::from_vec(folder.to_vec())).join(program))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(argv: &[&str], env: &[(&str, &str)]) -> ProcessSpec {
        ProcessSpec {
            argv: argv.iter().map(OsString::from).collect(),
            env: env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            cwd: "/work folder".into(),
            stdin: Stdin::Null,
            confinement: Confinement::default(),
            rescue: None,
        }
    }

    /// What a monitor reads of it, in the place of a longer one.
    fn read(spec: &ProcessSpec) -> Result<Vec<u8>, SpawnError> {
        let memory = tempfile::tempfile().unwrap();
        memory.write_all_at(&[b'x'; 10_000], 0).unwrap();
        spec.write_to(&memory)?;
        Ok(read_memory(&memory).unwrap())
    }

    #[test]
    fn what_was_written_is_read() {
        let spec = spec(&["echo", "", "two words"], &[("A", ""), ("B", "x=y")]);
        let bytes = read(&spec).unwrap();
        let plan = Plan::parse(&bytes).unwrap();
        assert_eq!(plan.cwd, c"/work folder");
        assert_eq!(plan.argv, [c"echo", c"", c"two words"]);
        assert_eq!(plan.env, [c"A=", c"B=x=y"]);
    }

    #[test]
    fn a_program_is_looked_up_in_its_own_path() {
        let names = |spec: &ProcessSpec| {
            let bytes = read(spec).unwrap();
            Plan::parse(&bytes).unwrap().candidates()
        };
        let own = names(&spec(&["tool"], &[("PATH", "/a::/b/")]));
        assert_eq!(own, ["/a/tool", "./tool", "/b/tool"].map(PathBuf::from));
        assert_eq!(names(&spec(&["./tool"], &[("PATH", "/a")])), [PathBuf::from("./tool")]);
    }

    #[test]
    fn what_no_command_can_hold_is_refused() {
        assert!(matches!(read(&spec(&[], &[])), Err(SpawnError::NoProgram)));
        assert!(matches!(read(&spec(&["a\0b"], &[])), Err(SpawnError::Nul { .. })));
        let named = spec(&["a"], &[("B=", "")]);
        assert!(matches!(read(&named), Err(SpawnError::VariableName { .. })));
    }
}
