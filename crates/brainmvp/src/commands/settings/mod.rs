//! `brainmvp settings`
//!
//! Everything here is made of the types that configurations are read into: their fields, their comments, and the values of
//! their presets. `docs/configuration.md` is what the command prints, which a test checks.

mod keys;
mod page;
mod parts;

use clap::Args;

use crate::ui::Ui;

/// Print every key of the configurations: its type, its default and what it is, as Markdown
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  brainmvp settings finetune
  brainmvp settings | grep learning_rate")]
pub(crate) struct Settings {
    /// What to print [default: everything]
    #[arg(value_name = "PART", value_parser = parts::PARTS.iter().map(|part| part.name).collect::<Vec<_>>())]
    part: Option<String>,
}

impl Settings {
    pub(crate) fn run(self, ui: &Ui) -> anyhow::Result<()> {
        let Some(name) = self.part else { return ui.result(page::whole()?.trim_end()) };
        let part = parts::PARTS.iter().find(|part| part.name == name);
        let text = part.map(page::part).transpose()?.unwrap_or_default();
        ui.result(text.trim_end())
    }
}
