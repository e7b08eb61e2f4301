//! What the user sees: results on standard output, everything else on standard error.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressDrawTarget};

use crate::screen::Screen;

/// Bars are not drawn more often.
const DRAWN_PER_S: u8 = 20;

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
        // Windows does not set it.
        let can_redraw = std::env::var_os("TERM").map_or(cfg!(windows), |term| term != "dumb");
        let drawn = io::stderr().is_terminal() && can_redraw && !quiet;
        let target = || ProgressDrawTarget::term_like_with_hz(Box::new(Screen::new()), DRAWN_PER_S);
        Self { quiet, bars: drawn.then(|| MultiProgress::with_draw_target(target())) }
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

    /// Prints something and ends the program at once; nothing that was drawn is left.
    pub(crate) fn exit(&self, text: impl Display, code: i32) -> ! {
        self.beside_bars(|| {
            drop(writeln!(io::stderr(), "{text}"));
            std::process::exit(code)
        })
    }

    /// Writes while no bar is drawn.
    fn beside_bars<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
    }
}
