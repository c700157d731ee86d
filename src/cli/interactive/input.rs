//! Where lines come from: a person at a terminal, or a script.
//!
//! The editor waits for keys in a thread of its own, because it blocks. What happens meanwhile is
//! printed above its prompt by a second thread: an editor that is not asked for a line at the moment
//! takes a message only when it is asked again, and nothing else should wait for that.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::MemHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, ExternalPrinter, Helper, Prompt};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};
use tokio::sync::mpsc as channel;

use super::complete::{Names, complete};

/// What ends the mode in which a terminal marks what is pasted.
const PASTE_MARKS_OFF: &str = "\x1b[?2004l";
/// Candidates that are listed without asking first.
const LISTED_MAX: usize = 200;

/// What was typed.
#[derive(Debug)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C.
    Interrupt,
    /// Ctrl-D, or the end of the script.
    End,
    Failed(io::Error),
}

/// Where lines come from.
#[derive(Debug)]
pub(super) enum Input {
    Terminal(Terminal),
    Script(Lines<BufReader<Stdin>>),
}

impl Input {
    pub(super) fn script() -> Self {
        Self::Script(BufReader::new(tokio::io::stdin()).lines())
    }

    /// Shows the prompt to a person. The answer comes with [`Input::typed`].
    pub(super) fn ask(&mut self, question: Question) {
        if let Self::Terminal(terminal) = self {
            terminal.asked += 1;
            // An editor that has ended says so where its answer is waited for.
            _ = terminal.questions.send(question);
        }
    }

    /// The next line. Whoever gives up waiting for it gets it the next time, unless something else
    /// was asked since: what was meant for one question is no answer to another.
    pub(super) async fn typed(&mut self) -> Typed {
        match self {
            Self::Terminal(terminal) => terminal.typed().await,
            Self::Script(lines) => match lines.next_line().await {
                Ok(Some(line)) => Typed::Line(line),
                Ok(None) => Typed::End,
                Err(error) => Typed::Failed(error),
            },
        }
    }
}

/// What the editor is asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) prompt: Marked,
    /// What completes; nothing for a question that is no command and not to be remembered.
    pub(super) names: Option<Arc<Names>>,
}

/// A prompt that changes while it stands there, once the operation has ended.
#[derive(Clone, Debug)]
pub(super) struct Marked {
    pub(super) going: String,
    /// As wide as `going`, because an editor measures a prompt only once.
    pub(super) ended: String,
    pub(super) has_ended: Arc<AtomicBool>,
}

impl Marked {
    /// A prompt that stays as it is.
    pub(super) fn fixed(text: &str) -> Self {
        let (going, ended) = (text.to_owned(), text.to_owned());
        Self { going, ended, has_ended: Arc::default() }
    }
}

impl Prompt for Marked {
    fn raw(&self) -> &str {
        if self.has_ended.load(Ordering::Relaxed) { &self.ended } else { &self.going }
    }
}

/// A person at a terminal.
#[derive(Debug)]
pub(super) struct Terminal {
    questions: mpsc::Sender<Question>,
    typed: channel::UnboundedReceiver<Typed>,
    /// How many questions have no answer yet. The editor takes one after the other.
    asked: usize,
    news: mpsc::Sender<String>,
    /// How the terminal was before.
    before: Option<Termios>,
}

impl Terminal {
    /// Starts the editor.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) fn open() -> io::Result<Self> {
        let before = tcgetattr(io::stdin()).ok();
        let mut editor = editor().map_err(into_io)?;
        let mut printer = editor.create_external_printer().ok();
        let (questions, asked) = mpsc::channel::<Question>();
        let (answer, typed) = channel::unbounded_channel();
        thread::Builder::new().name("editor".to_owned()).spawn(move || {
            for question in asked {
                if answer.send(read(&mut editor, question)).is_err() {
                    break;
                }
            }
        })?;
        let (news, to_print) = mpsc::channel::<String>();
        thread::Builder::new().name("news".to_owned()).spawn(move || {
            for text in to_print {
                // A terminal that went away is noticed where it is read.
                _ = match &mut printer {
                    Some(printer) => printer.print(text).map_err(into_io),
                    // A terminal without a cursor that can be moved: the line stays where it is.
                    None => io::stdout().write_all(text.as_bytes()),
                };
            }
        })?;
        Ok(Self { questions, typed, asked: 0, news, before })
    }

    /// What is typed for the question that was asked last.
    async fn typed(&mut self) -> Typed {
        loop {
            let Some(typed) = self.typed.recv().await else { return Typed::End };
            self.asked = self.asked.saturating_sub(1);
            if self.asked == 0 {
                return typed;
            }
        }
    }

    /// Prints lines above the prompt.
    pub(super) fn print(&self, lines: &str) {
        _ = self.news.send(format!("{lines}\n"));
    }
}

impl Drop for Terminal {
    /// An editor that is left while it waits for keys does not clean up.
    fn drop(&mut self) {
        let Some(before) = &self.before else { return };
        if tcgetattr(io::stdin()).is_ok_and(|now| now != *before) {
            let mut stdout = io::stdout();
            _ = stdout.write_all(PASTE_MARKS_OFF.as_bytes()).and_then(|()| stdout.flush());
            _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
    }
}

type LineEditor = Editor<Completion, MemHistory>;

/// History stays in memory: what is sent to steps may be nobody else's business.
fn editor() -> rustyline::Result<LineEditor> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .completion_prompt_limit(LISTED_MAX)
        .history_ignore_space(true)
        .build();
    let history = MemHistory::with_config(&config);
    let mut editor = Editor::with_history(config, history)?;
    editor.set_helper(Some(Completion::default()));
    Ok(editor)
}

fn read(editor: &mut LineEditor, question: Question) -> Typed {
    let is_command = question.names.is_some();
    if let Some(helper) = editor.helper_mut() {
        helper.0 = question.names;
    }
    match editor.readline(&question.prompt) {
        Ok(line) => {
            if is_command && !line.trim().is_empty() {
                // What is not remembered is only less comfortable.
                _ = editor.add_history_entry(&line);
            }
            Typed::Line(line)
        }
        Err(ReadlineError::Eof) => Typed::End,
        Err(ReadlineError::Interrupted | ReadlineError::Signal(_)) => Typed::Interrupt,
        Err(error) => Typed::Failed(into_io(error)),
    }
}

fn into_io(error: ReadlineError) -> io::Error {
    match error {
        ReadlineError::Io(error) => error,
        ReadlineError::Errno(number) => number.into(),
        other => io::Error::other(other),
    }
}

/// What the editor asks when Tab is pressed.
#[derive(Default)]
struct Completion(Option<Arc<Names>>);

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Some(names) = &self.0 else { return Ok((position, Vec::new())) };
        let (start, words) = complete(&line[..position], names);
        let pair = |word: String| Pair { display: word.trim_end().to_owned(), replacement: word };
        Ok((start, words.into_iter().map(pair).collect()))
    }
}

impl Hinter for Completion {
    type Hint = String;
}
impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}
