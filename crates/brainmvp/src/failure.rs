//! Errors as the user sees them: one line with what and where, one with what to do, and the exit code.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::process::ExitCode;

use brainmvp_volume::is_wrong_path;
use clap::error::ErrorKind as UsageKind;

use crate::ui::Ui;

/// Something failed that may work in another attempt, or on another machine or disk.
const FAILED: u8 = 1;

/// The input or the command line cannot be used as it is.
const BAD_INPUT: u8 = 2;

/// The user's input cannot be used.
#[derive(Debug)]
pub(crate) struct BadInput(pub(crate) String);

impl fmt::Display for BadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl StdError for BadInput {}

/// An error about the user's input.
pub(crate) fn bad_input(message: impl Into<String>) -> anyhow::Error {
    BadInput(message.into()).into()
}

/// What to do about an error; printed below it.
#[derive(Debug)]
struct Advice(String);

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Adds advice to errors.
pub(crate) trait Advise<T, E> {
    /// Adds what to do about the error. Of several pieces of advice, the one added last is printed.
    fn advise(self, what_to_do: impl FnOnce(&E) -> String) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> Advise<T, E> for Result<T, E> {
    fn advise(self, what_to_do: impl FnOnce(&E) -> String) -> anyhow::Result<T> {
        self.map_err(|error| {
            let advice = Advice(what_to_do(&error));
            error.into().context(advice)
        })
    }
}

/// Prints an error and returns the exit code that it means.
pub(crate) fn report(error: &anyhow::Error, ui: &Ui) -> ExitCode {
    for line in lines(error) {
        ui.alert(line);
    }
    ExitCode::from(exit_code(error))
}

/// The exit code after a panic, whose message has been printed.
pub(crate) fn report_panic(ui: &Ui) -> ExitCode {
    ui.alert("hint: this is a bug in brainmvp; please report it with the lines above");
    ExitCode::from(FAILED)
}

/// Prints clap's messages: help and version as they are, errors in two lines.
///
/// `command` is the command that was typed, as far as it was understood.
pub(crate) fn report_usage(error: &clap::Error, command: &str) -> ExitCode {
    let help = UsageKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if !error.use_stderr() || error.kind() == help {
        // A reader that has gone away is not an error.
        drop(error.print());
        return ExitCode::from(if error.use_stderr() { BAD_INPUT } else { 0 });
    }
    let ui = Ui::new(false);
    for line in usage_lines(&error.render().to_string(), command) {
        ui.alert(line);
    }
    ExitCode::from(BAD_INPUT)
}

/// The first paragraph of clap's message as one line; a second line with its suggestion and where to look.
fn usage_lines(text: &str, command: &str) -> [String; 2] {
    let paragraph = text.split("\n\n").next().unwrap_or_default();
    let what = paragraph.split_whitespace().collect::<Vec<_>>().join(" ");
    let similar =
        text.lines().filter_map(|line| line.trim().strip_prefix("tip: ")).find(|t| t.contains("similar"));
    let similar = similar.map_or(String::new(), |tip| format!("{tip}; "));
    [what, format!("hint: {similar}see `{command} --help`")]
}

/// One line with the chain of causes, and one with advice, if there is any.
fn lines(error: &anyhow::Error) -> Vec<String> {
    let advice = error.downcast_ref::<Advice>().map(ToString::to_string);
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        // Advice has its own line, and many errors already quote their cause.
        if Some(&cause) == advice.as_ref() || said.contains(&cause) {
            continue;
        }
        if !said.is_empty() {
            said.push_str(": ");
        }
        said.push_str(&cause);
    }
    let said = without_error_numbers(&said).split_whitespace().collect::<Vec<_>>().join(" ");
    let hint = advice.map(|advice| format!("hint: {advice}"));
    std::iter::once(format!("error: {said}")).chain(hint).collect()
}

/// Drops ` (os error 2)`, which adds nothing to the words before it.
pub(crate) fn without_error_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    kept
}

/// The exit code for an error; the only place that decides it.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    if error.chain().any(is_bad_input) { BAD_INPUT } else { FAILED }
}

/// Whether an error is one of a crate of ours, and if so, whether the user's input is to blame for it.
type Blame = fn(&(dyn StdError + 'static)) -> Option<bool>;

/// A line for each crate.
const BLAMES: &[Blame] = &[
    |error| error.downcast_ref().map(brainmvp_volume::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_volume::FileError::is_of_input),
    |error| error.downcast_ref().map(brainmvp_cohort::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_dicom::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_registration::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_prep::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_quality::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_infer::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_metrics::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_train::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_study::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_bench::Error::is_of_input),
    |error| error.downcast_ref().map(brainmvp_view::Error::is_of_input),
    |error| error.downcast_ref::<io::Error>().map(|error| is_wrong_path(error.kind())),
];

/// Whether the user's files or options are to blame, rather than the machine.
fn is_bad_input(error: &(dyn StdError + 'static)) -> bool {
    error.is::<BadInput>() || BLAMES.iter().find_map(|blame| blame(error)).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use anyhow::Context as _;

    use super::*;

    fn io_error(kind: io::ErrorKind) -> brainmvp_volume::Error {
        brainmvp_volume::FileError::new(Path::new("a.nii"), kind).into()
    }

    #[test]
    fn the_users_mistakes_are_told_from_failures() {
        let nested = |kind| anyhow::Error::from(brainmvp_prep::Error::Volume(io_error(kind)));
        let rows = [
            (nested(io::ErrorKind::NotFound), BAD_INPUT),
            (nested(io::ErrorKind::StorageFull), FAILED),
            (nested(io::ErrorKind::PermissionDenied), FAILED),
            (
                brainmvp_train::Error::Cache(brainmvp_prep::Error::Config { reason: "odd".to_owned() })
                    .into(),
                BAD_INPUT,
            ),
            (
                brainmvp_prep::Error::Volume(brainmvp_volume::Error::malformed(Path::new("a"), "odd")).into(),
                BAD_INPUT,
            ),
            (brainmvp_cohort::Error::Option("odd".to_owned()).into(), BAD_INPUT),
            (bad_input("odd").context("while reading"), BAD_INPUT),
            (anyhow::anyhow!("odd"), FAILED),
        ];
        for (error, code) in rows {
            assert_eq!(exit_code(&error), code, "{error:#}");
        }
    }

    #[test]
    fn causes_are_said_once_and_advice_comes_last() {
        let cause = io::Error::from_raw_os_error(2);
        let error = Err::<(), _>(brainmvp_volume::FileError::new(Path::new("a.nii"), cause))
            .advise(|_| "look elsewhere".to_owned())
            .context("case 'a'")
            .unwrap_err();
        let lines = lines(&error);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].starts_with("error: case 'a': a.nii: "), "{lines:?}");
        assert!(!lines[0].contains("os error"), "{lines:?}");
        assert_eq!(lines[1], "hint: look elsewhere");
    }

    #[test]
    fn usage_takes_two_lines() {
        let text = "error: the following required arguments were not provided:\n  --out <FILE>\n\n\
                    Usage: brainmvp index --out <FILE> <DIR>...\n\nFor more information, try '--help'.\n";
        let expected = [
            "error: the following required arguments were not provided: --out <FILE>",
            "hint: see `brainmvp index --help`",
        ];
        assert_eq!(usage_lines(text, "brainmvp index"), expected);
    }
}
