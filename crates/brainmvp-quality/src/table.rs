//! The records of a cohort as one table, with what is unusual marked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{Modality, write_atomically};

use crate::columns::{COLUMNS, Digits, Value, without_zeros};
use crate::outliers::{FEWEST_TO_COMPARE, Spread};
use crate::record::{CaseRecord, ImageRecord};
use crate::{Error, Result, page};

/// An image of a case, or a case without any.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The case.
    pub record: &'a CaseRecord,
    /// The image.
    pub image: Option<&'a ImageRecord>,
}

/// What is unusual about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name of the column that shows it.
    pub column: &'static str,
    /// Why, in words.
    pub reason: String,
}

/// All rows, with their flags.
#[derive(Debug)]
pub struct Table<'a> {
    /// The cohort's or cache's name, for the heading.
    pub title: String,
    /// By case, and within it by modality.
    pub rows: Vec<(Row<'a>, Vec<Flag>)>,
    /// The usual range of every compared column, by modality.
    pub spreads: BTreeMap<(Modality, &'static str), Spread>,
}

/// Sizes that no brain has, from a newborn's to the largest adult's with its cisterns.
const PLAUSIBLE_ML: std::ops::RangeInclusive<f64> = 250.0..=2200.0;
/// A word that at least this share of a modality's images have is usual.
const USUAL_SHARE: f64 = 0.9;

impl Row<'_> {
    pub(crate) fn status(&self) -> &'static str {
        if self.record.left_out.is_some() { "left out" } else { "prepared" }
    }
}

impl<'a> Table<'a> {
    /// The table of some cases.
    pub fn of(title: impl Into<String>, records: &'a [CaseRecord]) -> Self {
        let rows: Vec<Row<'_>> = records
            .iter()
            .flat_map(|record| {
                let alone = record.images.is_empty().then_some(Row { record, image: None });
                record.images.iter().map(move |image| Row { record, image: Some(image) }).chain(alone)
            })
            .collect();
        let spreads = spreads(&rows);
        let words = usual_words(&rows);
        let flagged = |row: Row<'a>| {
            let mut flags = checks(&row);
            if let Some(image) = row.image {
                flags.extend(COLUMNS.iter().filter_map(|column| {
                    let key = (image.modality, column.name);
                    let reason = match column.value {
                        Value::Number { of, digits, compared: Some(_) } => {
                            outlier(image.modality, of(&row)?, digits, spreads.get(&key)?)
                        }
                        Value::Text { of, is_compared: true } => {
                            unusual(image.modality, &of(&row)?, words.get(&key)?)
                        }
                        _ => None,
                    };
                    reason.map(|reason| Flag {
                        column: column.name,
                        reason: format!("{}: {reason}", column.title),
                    })
                }));
            }
            (row, flags)
        };
        let rows = rows.into_iter().map(flagged).collect();
        Self { title: title.into(), rows, spreads }
    }

    /// Rows with a flag.
    pub fn flagged(&self) -> usize {
        self.rows.iter().filter(|(_, flags)| !flags.is_empty()).count()
    }

    /// Whether the cohort tells of any case where it was scanned.
    pub(crate) fn has_sites(&self) -> bool {
        self.rows.iter().any(|(row, _)| row.record.case.site.is_some())
    }

    /// The table as CSV: a row an image; `flags` has the names of the columns, `reasons` the words.
    fn csv(&self, path: &Path) -> Result<Vec<u8>> {
        let fail = |source| Error::Csv { path: path.to_owned(), source };
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = COLUMNS.iter().map(|column| column.name);
        writer.write_record(names.chain(["flags", "reasons"])).map_err(fail)?;
        for (row, flags) in &self.rows {
            let mut cells: Vec<String> = COLUMNS.iter().map(|column| cell(&column.value, row)).collect();
            cells.push(flags.iter().map(|flag| flag.column).collect::<Vec<_>>().join("; "));
            cells.push(flags.iter().map(|flag| flag.reason.as_str()).collect::<Vec<_>>().join("; "));
            writer.write_record(&cells).map_err(fail)?;
        }
        writer.into_inner().map_err(|e| Error::io(path, e.into_error()))
    }
}

/// Writes the table of some cases as `index.html` and `images.csv`, whole or not at all.
///
/// # Errors
/// Where a file cannot be written.
pub fn write_table(table: &Table<'_>, dir: &Path) -> Result<()> {
    let path = dir.join("images.csv");
    let csv = table.csv(&path)?;
    write_atomically(&path, |file| file.write_all(&csv))?;
    let html = page::html(table);
    Ok(write_atomically(&dir.join("index.html"), |file| file.write_all(html.as_bytes()))?)
}

/// A cell in words, empty where there is nothing to tell.
pub(crate) fn cell(value: &Value, row: &Row<'_>) -> String {
    match *value {
        Value::Text { of, .. } => of(row).unwrap_or_default(),
        Value::Number { of, digits, .. } => of(row).map_or(String::new(), |number| digits.of(number)),
    }
}

fn spreads(rows: &[Row<'_>]) -> BTreeMap<(Modality, &'static str), Spread> {
    let mut values: BTreeMap<(Modality, usize), Vec<f64>> = BTreeMap::new();
    for row in rows {
        let Some(image) = row.image else { continue };
        for (index, column) in COLUMNS.iter().enumerate() {
            if let Value::Number { of, compared: Some(_), .. } = column.value {
                values.entry((image.modality, index)).or_default().extend(of(row));
            }
        }
    }
    let spread = |((modality, index), values): ((Modality, usize), Vec<f64>)| {
        let Value::Number { compared: Some(scale), .. } = COLUMNS[index].value else { return None };
        Some(((modality, COLUMNS[index].name), Spread::of(&values, scale)?))
    };
    values.into_iter().filter_map(spread).collect()
}

/// How many images of a modality have the word that most have, of how many.
struct UsualWord {
    word: String,
    have: usize,
    of: usize,
}

fn usual_words(rows: &[Row<'_>]) -> BTreeMap<(Modality, &'static str), UsualWord> {
    let mut counts: BTreeMap<(Modality, &'static str), BTreeMap<String, usize>> = BTreeMap::new();
    for row in rows {
        let Some(image) = row.image else { continue };
        for column in COLUMNS {
            if let Value::Text { of, is_compared: true } = column.value
                && let Some(word) = of(row)
            {
                *counts.entry((image.modality, column.name)).or_default().entry(word).or_default() += 1;
            }
        }
    }
    let usual = |(key, words): (_, BTreeMap<String, usize>)| {
        let of = words.values().sum();
        let (word, have) = words.into_iter().max_by_key(|(_, count)| *count)?;
        let is_usual = of >= FEWEST_TO_COMPARE && have as f64 >= USUAL_SHARE * of as f64;
        is_usual.then_some((key, UsualWord { word, have, of }))
    };
    counts.into_iter().filter_map(usual).collect()
}

fn outlier(modality: Modality, value: f64, digits: Digits, spread: &Spread) -> Option<String> {
    let side = spread.side(value)?;
    let [value, median, low, high] =
        [value, spread.median, spread.low, spread.high].map(|v| without_zeros(&digits.of(v)));
    Some(format!(
        "{value} is unusually {side}; the median of {} {modality} images is {median}, usual are {low} to {high}",
        spread.count
    ))
}

fn unusual(modality: Modality, word: &str, usual: &UsualWord) -> Option<String> {
    let UsualWord { word: most, have, of } = usual;
    (word != most).then(|| format!("{word}, while {have} of {of} {modality} images are {most}"))
}

/// What is wrong by itself, whatever the others are like.
fn checks(row: &Row<'_>) -> Vec<Flag> {
    let mut flags = Vec::new();
    let mut flag = |column, reason: String| flags.push(Flag { column, reason });
    if let Some(reason) = &row.record.left_out {
        flag("status", format!("Left out: {reason}"));
    }
    if let Some(reason) = row.image.and_then(|image| image.unread.as_ref())
        && !row.record.left_out.as_ref().is_some_and(|told| told.contains(reason))
    {
        flag("file", format!("File: {reason}"));
    }
    if let Some(original) = row.image.and_then(|image| image.original.as_ref())
        && original.not_finite > 0
    {
        flag("not_finite", format!("{} voxels are NaN or infinite", original.not_finite));
    }
    if let Some(skull) = &row.record.skull {
        if !PLAUSIBLE_ML.contains(&skull.brain_ml) {
            let [low, high] = [PLAUSIBLE_ML.start(), PLAUSIBLE_ML.end()];
            flag("brain_ml", format!("Brain: {:.0} ml, no brain's ({low} to {high})", skull.brain_ml));
        }
        if !skull.touches.is_empty() {
            let sides = skull.touches.join(", ");
            flag(
                "touches",
                format!("Brain: the mask ends at the border of the image ({sides}); some may be cut off"),
            );
        }
    }
    flags
}
