//! What the steps themselves write of their runs, where nobody of the product can touch it.
//!
//! Each process of a step sources one script first. It appends to a file of its step that it has
//! begun, then looks whether the processes of earlier attempts are gone, and says so when it ends.
//! Whoever of two comes second sees the first, because each writes before it reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use uuid::Uuid;

/// The 22nd word of `stat` is when a process began: with it, a number names one process for ever. A
/// zombie (the third word) does nothing any more.
const SCRIPT: &str = r#"
facts_of() { read -r facts < "/proc/$1/stat"; } 2>/dev/null
begun_of() { facts_of "$1" && set -- $facts && [ "$3" != Z ] && shift 21 && begun=$1; }
begun_of $$
journal="$JOURNAL/$SUT_OPERATION_ID.$SUT_STEP"
mine=$begun
echo "start $SUT_ATTEMPT $$ $mine" >> "$journal"
while read -r what attempt pid since; do
    [ "$what" = start ] && [ "$pid $since" != "$$ $mine" ] || continue
    if begun_of "$pid" && [ "$begun" = "$since" ]; then
        echo "overlap $SUT_ATTEMPT $attempt $pid" >> "$journal"
    fi
done < "$journal"
trap 'echo "end $SUT_ATTEMPT $$ $mine" >> "$journal"' EXIT
"#;

/// The folder of what steps write.
pub(crate) struct Journal {
    folder: PathBuf,
}

/// What one step wrote.
#[derive(Default)]
pub(crate) struct Account {
    /// How often each attempt began.
    pub(crate) starts: BTreeMap<i32, usize>,
    /// The attempts that came to the end of their text.
    pub(crate) ends: BTreeSet<i32>,
    /// What it saw of other attempts that still ran.
    pub(crate) overlaps: Vec<String>,
}

impl Journal {
    pub(crate) fn open(folder: &Path) -> Self {
        fs::create_dir(folder).expect("a folder");
        let script = SCRIPT.replace("$JOURNAL", &folder.display().to_string());
        fs::write(folder.join("script"), script).expect("a file");
        Self { folder: folder.to_owned() }
    }

    /// A shell text that keeps the journal.
    pub(crate) fn keeping(&self, text: &str) -> String {
        format!(". {}/script\n{text}", self.folder.display())
    }

    /// What was written of all steps.
    pub(crate) fn read(&self) -> BTreeMap<(Uuid, String), Account> {
        let files = fs::read_dir(&self.folder).expect("a folder").map(|e| e.expect("a file"));
        let mut accounts = BTreeMap::new();
        for file in files {
            let name = file.file_name().into_string().expect("a name of ours");
            let Some((operation, step)) = name.split_once('.') else { continue };
            let account: &mut Account =
                accounts.entry((operation.parse().expect("an id"), step.to_owned())).or_default();
            for line in fs::read_to_string(file.path()).expect("text").lines() {
                account.take(line);
            }
        }
        accounts
    }
}

impl Account {
    fn take(&mut self, line: &str) {
        let mut words = line.split(' ');
        let what = words.next().expect("a word");
        let attempt = words.next().expect("an attempt").parse().expect("a number");
        match what {
            "start" => *self.starts.entry(attempt).or_default() += 1,
            "end" => _ = self.ends.insert(attempt),
            "overlap" => self.overlaps.push(line.to_owned()),
            _ => panic!("{line}"),
        }
    }
}
