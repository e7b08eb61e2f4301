//! Converts DICOM to a BIDS folder.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Context as _;
use brainmvp_cohort::identity::Finding;
use brainmvp_dicom::{ConvertOptions, Scan, SeriesRules, SubjectKey, Told, convert, scan};

use super::deface::eraser;
use super::refuse_full_folder;
use crate::argument;
use crate::commands::counted;
use crate::failure::{Advise as _, bad_input, without_error_numbers};
use crate::ui::Ui;

/// The input of a conversion, and its options.
pub(crate) struct Conversion<'a> {
    pub(crate) source: &'a Path,
    pub(crate) out: &'a Path,
    pub(crate) rules: SeriesRules,
    pub(crate) key: Option<&'a Path>,
    pub(crate) descriptions: bool,
    pub(crate) deface: bool,
}

/// Converts, and prints the modality of each volume and the reason for it.
pub(crate) fn convert_dicom(conversion: Conversion<'_>, ui: &Ui) -> anyhow::Result<()> {
    let Conversion { source, out, rules, key, descriptions, deface } = conversion;
    let known = key.filter(|path| path.exists());
    if known.is_none() {
        refuse_full_folder(out).advise(|_| {
            "choose another folder with --out, or continue with the --key that the first run wrote".to_owned()
        })?;
    }
    if let Some(path) = key {
        refuse_key_in_folder(path, out)?;
        argument::prepare_output_file(path)?;
    }
    let mut numbers = known.map(SubjectKey::load).transpose()?.unwrap_or_default();
    std::fs::metadata(source).with_context(|| source.display().to_string())?;
    let scan = scan(source)?;
    tell_left_out(&scan, ui);
    if scan.series.is_empty() {
        return Err(bad_input(format!("{}: no DICOM image can be used", source.display())));
    }
    let eraser = eraser();
    let options = ConvertOptions { rules, descriptions, eraser: deface.then_some(&eraser) };
    let (mut written, mut failed, mut others) = (0, 0, 0);
    let mut lines = Vec::new();
    convert(&scan, out, &options, &mut numbers, &mut |told: Told| {
        let Told { session, series, finding, file, failed: failure, untouched } = told;
        let decision = finding.as_ref().map_or_else(String::new, Finding::decision);
        let reason = finding.as_ref().map_or_else(String::new, Finding::reason);
        match (file, failure) {
            (_, Some(reason)) => {
                failed += 1;
                ui.alert(format!(
                    "warning: {session} {series} is left out: {}",
                    without_error_numbers(&reason)
                ));
            }
            (Some(file), _) => {
                written += 1;
                if let Some(reason) = untouched {
                    ui.note(format!("note: nothing is erased of {session} {series}: {reason}"));
                }
                let file = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
                lines.push(format!("  {file}: {decision}, of {series} [{reason}]"));
            }
            (None, None) => {
                others += 1;
                lines.push(format!("  not written: {session} {series}: {decision} [{reason}]"));
            }
        }
    })?;
    if let Some(path) = key {
        numbers.save(path)?;
    }
    lines.iter().try_for_each(|line| ui.result(line))?;
    ui.result(format!(
        "{}: {} written, {others} of no known modality, {failed} left out",
        out.display(),
        counted(written, "volume")
    ))?;
    if written == 0 {
        return Err(bad_input("no volume was written")).advise(|_| {
            if others > 0 {
                "give the modality of a series with --series SERIES=MODALITY".to_owned()
            } else {
                "copy the files named above again, or convert them with dcm2niix and index the result"
                    .to_owned()
            }
        });
    }
    Ok(())
}

/// Prints which files are not used.
fn tell_left_out(scan: &Scan, ui: &Ui) {
    for refusal in refusals(&scan.refused) {
        ui.alert(format!("warning: left out: {}", without_error_numbers(&refusal)));
    }
    let copies: usize = scan.series.iter().map(|series| series.copies).sum();
    if copies > 0 {
        ui.note(format!("note: {} found twice, used once", counted(copies, "image")));
    }
}

/// The refused files, those of a folder with the same fault together.
fn refusals(errors: &[brainmvp_dicom::Error]) -> impl Iterator<Item = String> {
    let mut places = HashMap::new();
    let mut found: Vec<(String, usize)> = Vec::new();
    for error in errors {
        let (text, path) = (error.to_string(), error.path());
        let fault = path.and_then(|path| text.strip_prefix(&format!("{}: ", path.display())));
        let key = (path.and_then(Path::parent), fault.unwrap_or(&text).to_owned());
        let place = *places.entry(key).or_insert(found.len());
        match found.get_mut(place) {
            Some((_, more)) => *more += 1,
            None => found.push((text, 0)),
        }
    }
    found.into_iter().map(|(text, more)| match more {
        0 => text,
        _ => format!("{text} (and {} of the same folder)", counted(more, "file")),
    })
}

/// The key identifies patients, so it must not be among the files that are passed on.
fn refuse_key_in_folder(key: &Path, out: &Path) -> anyhow::Result<()> {
    let absolute = |path: &Path| std::path::absolute(path).with_context(|| path.display().to_string());
    if absolute(key)?.starts_with(absolute(out)?) {
        return Err(bad_input(format!(
            "{}: the key identifies patients; keep it outside --out",
            key.display()
        )));
    }
    Ok(())
}
