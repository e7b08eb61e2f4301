//! What the user sees: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use indicatif::MultiProgress;

/// The outputs, and how much to print.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    quiet: bool,
    /// The bars being drawn on standard error; `None` if lines cannot be redrawn or nobody is watching.
    bars: Option<MultiProgress>,
}

impl Ui {
    /// The streams of this process. With `quiet` only errors are printed.
    pub(crate) fn new(quiet: bool) -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let drawn = io::stderr().is_terminal() && !dumb && !quiet;
        Self { quiet, bars: drawn.then(MultiProgress::new) }
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// The bars, if they may be drawn.
    pub(crate) fn bars(&self) -> Option<&MultiProgress> {
        self.bars.as_ref()
    }

    /// Prints a result on standard output. A reader that has gone away (`| head`) is not an error.
    ///
    /// # Errors
    /// Where it cannot be written, e.g. to a full disk with `> file`.
    pub(crate) fn result(&self, text: impl Display) -> anyhow::Result<()> {
        if self.quiet {
            return Ok(());
        }
        let written = self.beside_bars(|| {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{text}").and_then(|()| stdout.flush())
        });
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to standard output"),
        }
    }

    /// Prints something worth knowing that is not a result.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.alert(text);
        }
    }

    /// Prints something that must not be missed, quiet or not. A closed standard error is ignored.
    pub(crate) fn alert(&self, text: impl Display) {
        drop(self.beside_bars(|| writeln!(io::stderr(), "{text}")));
    }

    /// Writes while no bar is drawn.
    fn beside_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}
