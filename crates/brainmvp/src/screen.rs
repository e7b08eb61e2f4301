//! The terminal that bars and views are drawn on.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

use console::Term;
use indicatif::TermLike;

/// Standard error, drawn on line by line.
///
/// indicatif fills every line up to the margin and leaves it to the terminal to go on in the next one. Terminals that
/// rearrange long lines when they are resized would join such lines, so that too many are erased later: here each ends with a
/// line feed. The cursor rests at the beginning of the last line, where the `^C` that a terminal shows does not begin a new one.
#[derive(Debug)]
pub(crate) struct Screen {
    terminal: Term,
    /// Columns that are written of the present line.
    column: AtomicUsize,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self { terminal: Term::buffered_stderr(), column: AtomicUsize::new(0) }
    }

    fn moved(&self) {
        self.column.store(0, Ordering::Relaxed);
    }
}

/// Rows and columns of the terminal.
pub(crate) fn size() -> (usize, usize) {
    let (rows, columns) = Term::stderr().size();
    (rows.into(), columns.into())
}

impl TermLike for Screen {
    fn width(&self) -> u16 {
        self.terminal.size().1
    }

    fn height(&self) -> u16 {
        self.terminal.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.terminal.move_cursor_left(n)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.moved();
        self.terminal.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        if text == "\r" {
            self.moved();
        } else if !text.is_empty() {
            let column = self.column.load(Ordering::Relaxed);
            let is_at_margin = column > 0 && column.is_multiple_of(usize::from(self.width()));
            if is_at_margin {
                self.terminal.write_str("\r\n")?;
            }
            let before = if is_at_margin { 0 } else { column };
            self.column.store(before + console::measure_text_width(text), Ordering::Relaxed);
        }
        self.terminal.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.moved();
        self.terminal.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.moved();
        self.terminal.write_str("\r")?;
        self.terminal.flush()
    }
}
