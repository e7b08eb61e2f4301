//! Parses command-line values that are more than a word or a number.

use std::path::Path;

use anyhow::Context as _;
use brainmvp_cohort::identity::{self, Aliases};
use brainmvp_prep::Shard;
use brainmvp_volume::Modality;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use regex::Regex;

use crate::failure::bad_input;

/// One of several named values, listed in the help.
pub(crate) fn choice<T: Copy + Send + Sync + 'static>(
    choices: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(choices.iter().map(|(name, _)| *name)).try_map(move |typed| {
        let found = choices.iter().find(|(name, _)| *name == typed);
        found.map(|(_, value)| *value).ok_or("not one of the choices")
    })
}

/// A modality, by its name or any alias of it.
pub(crate) fn modality(text: &str) -> Result<Modality, String> {
    match identity::of_word(text, &Aliases::default()).modality() {
        Some(modality) => Ok(modality),
        None => text.parse(),
    }
}

/// A text as TOML writes it: a path may look like a number.
pub(crate) fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `WORD=MODALITY` of `--alias`.
pub(crate) fn alias(text: &str) -> Result<(String, String), String> {
    let (word, role) = text.split_once('=').ok_or("write WORD=MODALITY, e.g. t1gad=t1c")?;
    Ok((word.trim().to_owned(), role.trim().to_owned()))
}

/// A label of BIDS: letters and digits.
pub(crate) fn bids_label(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric());
    if fits { Ok(text.to_owned()) } else { Err("use only letters and digits, e.g. SRI24".to_owned()) }
}

/// A share of a cohort: `2/8`, or `auto` for the share of this job in a job array.
pub(crate) fn shard(text: &str) -> Result<Shard, String> {
    let Some(rest) = text.strip_prefix("auto") else { return text.parse() };
    shard_of_job(rest.strip_prefix('/'), |name| {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    })
}

/// The share given by the variables of Slurm and Kubernetes (which does not say how many jobs there are).
fn shard_of_job(count: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Shard, String> {
    let number = |name: &str| {
        let number = variable(name).map(|value| value.trim().parse::<usize>().map_err(|_| value));
        number.transpose().map_err(|value| format!("{name} is '{value}', not a whole number; write I/N"))
    };
    let count =
        count.map(|count| count.parse::<usize>().map_err(|_| "write auto/N, e.g. auto/8")).transpose()?;
    let index = match number("SLURM_ARRAY_TASK_ID")? {
        Some(id) => {
            let first = number("SLURM_ARRAY_TASK_MIN")?.unwrap_or(0);
            let step = number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1);
            let jobs = id.checked_sub(first).and_then(|jobs| jobs.checked_div(step));
            jobs.ok_or_else(|| format!("job {id} is not of an array from {first} by {step}; write I/N"))?
        }
        None => number("JOB_COMPLETION_INDEX")?
            .ok_or("neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set; write I/N")?,
    };
    let count = match count {
        Some(count) => count,
        None => number("SLURM_ARRAY_TASK_COUNT")?.ok_or("SLURM_ARRAY_TASK_COUNT is not set; write auto/N")?,
    };
    Shard::new(index + 1, count)
        .ok_or_else(|| format!("job {} of {count}: there are only {count}", index + 1))
}

/// A regular expression; errors are reduced to one line.
pub(crate) fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| {
        let message = error.to_string();
        message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// A share or probability, 0 to 1.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let value = number(text)?;
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err("must be from 0 to 1".to_owned()) }
}

/// A voxel size in mm: one number for all axes, or `x,y,z`.
pub(crate) fn spacing_mm(text: &str) -> Result<[f64; 3], String> {
    match numbers(text)?.as_slice() {
        [all] => Ok([*all; 3]),
        [x, y, z] => Ok([*x, *y, *z]),
        _ => Err("give one number, or three such as 1,1,2".to_owned()),
    }
}

/// Two percentiles, `low,high`.
pub(crate) fn percentiles(text: &str) -> Result<[f64; 2], String> {
    match numbers(text)?.as_slice() {
        [low, high] => Ok([*low, *high]),
        _ => Err("give two numbers such as 1,99".to_owned()),
    }
}

/// An amount of memory in bytes: `4G`, `512M`, `1.5GiB`; a bare number is bytes. K, M, G, T are powers of 1024.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let refuse = || "give a positive number with K, M, G or T, e.g. 4G".to_owned();
    let digits = text.trim().trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.trim()[digits.len()..].to_ascii_uppercase();
    let power = match unit.trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(refuse()),
    };
    let value: f64 = digits.trim().parse().map_err(|_| refuse())?;
    let bytes = value * 1024_f64.powi(power);
    if bytes >= 1.0 && bytes < 2_f64.powi(63) { Ok(bytes as u64) } else { Err(refuse()) }
}

/// Checks that an output file can be written, before any work is done.
pub(crate) fn prepare_output_file(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        let example = path.join("cohort.json");
        return Err(bad_input(format!(
            "{}: is a folder; give a file, e.g. {}",
            path.display(),
            example.display()
        )));
    }
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create the folder {}", folder.display()))
}

/// Reads a text file that the user named.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

/// Refuses a file as an output folder.
pub(crate) fn refuse_file_as_folder(path: &Path) -> anyhow::Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(bad_input(format!("{}: is a file, but should be a folder to write to", path.display())));
    }
    Ok(())
}

fn numbers(text: &str) -> Result<Vec<f64>, String> {
    text.split(',').map(number).collect()
}

fn number(text: &str) -> Result<f64, String> {
    let value: f64 = text.trim().parse().map_err(|_| format!("'{text}' is not a number"))?;
    if value.is_finite() { Ok(value) } else { Err(format!("'{text}' is not a finite number")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory() {
        let rows = [("4G", 4 << 30), ("512m", 512 << 20), ("1.5GiB", 3 << 29), ("10kB", 10 << 10), ("7", 7)];
        for (text, expected) in rows {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for bad in ["", "G", "-1G", "0", "4X", "nan", "1e30T", "4 giga"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_of_job_arrays() {
        let share = |count: Option<&str>, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            shard_of_job(count, variable).map(|shard| shard.to_string())
        };
        let slurm = |id| {
            [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", "1"), ("SLURM_ARRAY_TASK_COUNT", "4")]
        };
        assert_eq!(share(None, &slurm("1")), Ok("1/4".to_owned()));
        assert_eq!(share(None, &slurm(" 4\n")), Ok("4/4".to_owned()));
        assert!(share(None, &slurm("5")).unwrap_err().contains("job 5 of 4"));
        assert_eq!(share(Some("8"), &[("JOB_COMPLETION_INDEX", "0")]), Ok("1/8".to_owned()));
        assert!(share(None, &[("JOB_COMPLETION_INDEX", "0")]).unwrap_err().contains("auto/N"));
        // What is not a number is no default: the share would be another job's.
        assert!(share(None, &slurm("0")).unwrap_err().contains("job 0 is not of an array from 1"));
        assert!(share(None, &slurm("x")).unwrap_err().contains("SLURM_ARRAY_TASK_ID is 'x'"));
        let odd = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_MIN", "one")];
        assert!(share(Some("4"), &odd).unwrap_err().contains("SLURM_ARRAY_TASK_MIN is 'one'"));
        let by_none = [("SLURM_ARRAY_TASK_ID", "3"), ("SLURM_ARRAY_TASK_STEP", "0")];
        assert!(share(Some("4"), &by_none).unwrap_err().contains("by 0"));
        assert!(share(None, &[]).unwrap_err().contains("I/N"));
        assert_eq!(shard("3/5").map(|shard| shard.to_string()), Ok("3/5".to_owned()));
    }

    #[test]
    fn vectors() {
        assert_eq!(spacing_mm("1"), Ok([1.0; 3]));
        assert_eq!(spacing_mm("1, 1,2.5"), Ok([1.0, 1.0, 2.5]));
        assert!(spacing_mm("1,2").is_err() && spacing_mm("a").is_err() && spacing_mm("inf").is_err());
        assert_eq!(percentiles("5,95"), Ok([5.0, 95.0]));
        assert!(percentiles("5").is_err());
    }

    #[test]
    fn words() {
        assert_eq!(modality("T1CE"), Ok(Modality::T1c));
        assert!(modality("seg").is_err() && modality("t9").is_err());
        assert_eq!(alias("x=t1"), Ok(("x".to_owned(), "t1".to_owned())));
        assert!(alias("x").is_err());
        let reason = pattern("(?P<case>").unwrap_err();
        assert!(!reason.contains('\n') && reason.contains("unclosed group"), "{reason}");
    }
}
