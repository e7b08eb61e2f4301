//! `brainmvp view`

use std::path::PathBuf;
use std::process::Stdio;

use brainmvp_view::{Options, Server};
use clap::Args;

use crate::failure::{Advise as _, bad_input};
use crate::interrupt;
use crate::ui::Ui;

/// Look at cohorts, prepared cases, runs, predictions and studies in the browser
///
/// PATH is a cohort file, a folder of prepared cases, a run, a folder of predictions or templates, a report, the work folder of a study, scores
/// (metrics.json), a volume, or a folder with some of these. Cases that several of them have are shown as one: original and
/// prepared images, label, prediction and their difference. Runs are followed while they train.
///
/// The pages are part of the program, and are served to this computer alone: at an address of 127.0.0.1 with a random part, which
/// is printed. Nothing is written. From another computer, use a tunnel (ssh -L PORT:127.0.0.1:PORT). Ctrl-C ends it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp view cohort.json cache report --open
  brainmvp view cohort.json predictions metrics.json   # predictions beside labels, the worst first
  brainmvp view run --port 8000                        # curves while it trains
  brainmvp view study                                  # cells, tables and curves of a study
  brainmvp view T1.nii.gz                              # a single file

Exit codes: 0 ended by Ctrl-C, 1 failed, 2 bad input or usage.")]
pub(crate) struct View {
    /// What to look at
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Port of 127.0.0.1 [default: any that is free]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Open the browser
    #[arg(long)]
    open: bool,
}

impl View {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let server = Server::open(Options { paths: self.paths, port: self.port })
            .advise(|_| "choose another --port, or leave it out".to_owned())?;
        let problems = server.problems();
        if server.is_empty() {
            return Err(bad_input(problems.join("\n")));
        }
        for problem in problems {
            ui.alert(format!("warning: {problem}"));
        }
        ui.result(server.address())?;
        ui.note("open this address in a browser on this computer; Ctrl-C ends the viewer");
        if self.open {
            open_browser(server.address(), ui);
        }
        Ok(server.run(interrupt::stop_flag())?)
    }
}

/// Asks the system to show an address. Where it cannot, the address has been printed.
fn open_browser(address: &str, ui: &Ui) {
    let (program, arguments): (&str, &[&str]) = if cfg!(target_os = "macos") {
        ("open", &[])
    } else if cfg!(windows) {
        ("rundll32", &["url.dll,FileProtocolHandler"])
    } else {
        ("xdg-open", &[])
    };
    let mut command = std::process::Command::new(program);
    command.args(arguments).arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = command.spawn() {
        ui.note(format!("note: the browser could not be opened ({program}: {error})"));
    }
}
