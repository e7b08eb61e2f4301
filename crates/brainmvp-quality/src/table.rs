//! The records of a cohort as one table, with unusual values marked.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;

use brainmvp_prep::brain::PLAUSIBLE_ML;
use brainmvp_volume::{FileError, Modality, write_atomically};

use crate::columns::{COLUMNS, Digits, Value, without_zeros};
use crate::outliers::{FEWEST_TO_COMPARE, Spread};
use crate::record::{CaseRecord, ImageRecord, MeasuredIn};
use crate::{Error, Result, page};

/// An image of a case, or a case without any.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// The case.
    pub record: &'a CaseRecord,
    /// The image.
    pub image: Option<&'a ImageRecord>,
}

/// Something unusual about a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The name of the column that shows it.
    pub column: &'static str,
    /// The reason, as a sentence.
    pub reason: String,
}

/// All rows, with their flags.
#[derive(Debug)]
pub struct Table<'a> {
    /// The cohort's or cache's name, for the heading.
    pub title: String,
    /// By case, and within it by modality.
    pub rows: Vec<(Row<'a>, Vec<Flag>)>,
    /// The usual range of every compared column.
    pub spreads: BTreeMap<Group, Spread>,
}

/// A group of values that are compared with each other: a column for the images of one modality, with whole heads
/// separate where that makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// The modality of the images.
    pub modality: Modality,
    /// The index in [`COLUMNS`].
    pub column: usize,
    /// Whether it was measured in whole heads.
    pub in_heads: bool,
}

impl Group {
    fn of(row: &Row<'_>, column: usize) -> Option<Self> {
        let image = row.image?;
        let in_head =
            image.original.as_ref().is_some_and(|original| original.measured_in == MeasuredIn::Head);
        Some(Self { modality: image.modality, column, in_heads: COLUMNS[column].is_of_part && in_head })
    }
}

/// A word is usual if at least this share of a modality's images have it.
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
            flags.extend(COLUMNS.iter().enumerate().filter_map(|(index, column)| {
                let group = Group::of(&row, index)?;
                let reason = match column.value {
                    Value::Number { of, digits, compared: Some(_) } => {
                        outlier(group.modality, of(&row)?, digits, spreads.get(&group)?)
                    }
                    Value::Text { of, is_compared: true } => {
                        unusual(group.modality, &of(&row)?, words.get(&group)?)
                    }
                    _ => None,
                };
                Some(Flag { column: column.name, reason: format!("{}: {}", column.title, reason?) })
            }));
            (row, flags)
        };
        let rows = rows.into_iter().map(flagged).collect();
        Self { title: title.into(), rows, spreads }
    }

    /// Rows with a flag.
    pub fn flagged(&self) -> usize {
        self.rows.iter().filter(|(_, flags)| !flags.is_empty()).count()
    }

    /// Whether the cohort gives the site of any case.
    pub(crate) fn has_sites(&self) -> bool {
        self.rows.iter().any(|(row, _)| row.record.case.site.is_some())
    }

    /// The table as CSV, one row per image; `flags` contains the names of columns, `reasons` the sentences.
    fn csv(&self, path: &Path) -> Result<Vec<u8>> {
        let fail = |source| Error::Csv { path: path.to_owned(), source };
        let mut writer = csv::Writer::from_writer(Vec::new());
        let names = COLUMNS.iter().map(|column| column.name);
        writer.write_record(names.chain(["flags", "reasons"])).map_err(fail)?;
        for (row, flags) in &self.rows {
            let mut cells: Vec<String> = COLUMNS.iter().map(|column| cell(&column.value, row)).collect();
            cells.push(flags.iter().map(|flag| flag.column).collect::<Vec<_>>().join("; "));
            cells.push(flags.iter().map(|flag| flag.reason.as_str()).collect::<Vec<_>>().join("; "));
            let values = COLUMNS.iter().map(|column| Some(&column.value)).chain([None, None]);
            let cells = values.zip(cells).map(|(value, cell)| match value {
                Some(Value::Number { .. }) => cell,
                _ => as_text(cell),
            });
            writer.write_record(cells.collect::<Vec<_>>()).map_err(fail)?;
        }
        Ok(writer.into_inner().map_err(|e| FileError::new(path, e.into_error()))?)
    }
}

/// Writes the table of some cases as `index.html` and `images.csv`, completely or not at all.
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

/// Text made safe for spreadsheets: names of sites and cases can be anything, and text that looks like a formula would
/// be executed.
fn as_text(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell }
}

/// A cell as text, empty if there is no value.
pub(crate) fn cell(value: &Value, row: &Row<'_>) -> String {
    match *value {
        Value::Text { of, .. } => of(row).unwrap_or_default(),
        Value::Number { of, digits, .. } => of(row).map_or(String::new(), |number| digits.of(number)),
    }
}

fn spreads(rows: &[Row<'_>]) -> BTreeMap<Group, Spread> {
    let mut values: BTreeMap<Group, Vec<f64>> = BTreeMap::new();
    for row in rows {
        for (index, column) in COLUMNS.iter().enumerate() {
            if let (Some(group), Value::Number { of, compared: Some(_), .. }) =
                (Group::of(row, index), column.value)
            {
                values.entry(group).or_default().extend(of(row));
            }
        }
    }
    let spread = |(group, values): (Group, Vec<f64>)| {
        let Value::Number { compared: Some(scale), .. } = COLUMNS[group.column].value else { return None };
        Some((group, Spread::of(&values, scale)?))
    };
    values.into_iter().filter_map(spread).collect()
}

/// The most common word among the images of a modality, how many have it, and how many there are.
struct UsualWord {
    word: String,
    have: usize,
    of: usize,
}

fn usual_words(rows: &[Row<'_>]) -> BTreeMap<Group, UsualWord> {
    let mut counts: BTreeMap<Group, BTreeMap<String, usize>> = BTreeMap::new();
    for row in rows {
        for (index, column) in COLUMNS.iter().enumerate() {
            if let (Some(group), Value::Text { of, is_compared: true }) =
                (Group::of(row, index), column.value)
                && let Some(word) = of(row)
            {
                *counts.entry(group).or_default().entry(word).or_default() += 1;
            }
        }
    }
    let usual = |(group, words): (Group, BTreeMap<String, usize>)| {
        let of = words.values().sum();
        let (word, have) = words.into_iter().max_by_key(|(_, count)| *count)?;
        let is_usual = of >= FEWEST_TO_COMPARE && have as f64 >= USUAL_SHARE * of as f64;
        is_usual.then_some((group, UsualWord { word, have, of }))
    };
    counts.into_iter().filter_map(usual).collect()
}

fn outlier(modality: Modality, value: f64, digits: Digits, spread: &Spread) -> Option<String> {
    let side = spread.side(value)?;
    let [value, median, low, high] =
        [value, spread.median, spread.low, spread.high].map(|v| without_zeros(&digits.of(v)));
    Some(format!(
        "{value} is unusually {side}; the median of {} {modality} images is {median}, the usual range {low} to {high}",
        spread.count
    ))
}

fn unusual(modality: Modality, word: &str, usual: &UsualWord) -> Option<String> {
    let UsualWord { word: most, have, of } = usual;
    (word != most).then(|| format!("{word}, while {have} of {of} {modality} images are {most}"))
}

/// Faults that are flagged whatever the other images are like.
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
            flag(
                "brain_ml",
                format!("Brain: {:.0} ml, not the size of a brain ({low} to {high})", skull.brain_ml),
            );
        }
        if !skull.touches.is_empty() {
            let sides = skull.touches.join(", ");
            flag(
                "touches",
                format!("Brain: the mask touches the border of the image ({sides}); a part may be cut off"),
            );
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use brainmvp_cohort::CaseId;
    use brainmvp_prep::cache::CaseFacts;

    use super::*;
    use crate::record::{Original, RECORD_VERSION};

    /// A case with one image of 1 mm, like all others.
    fn record(number: usize) -> CaseRecord {
        let original = Original {
            shape: [100; 3],
            spacing_mm: [1.0; 3],
            orientation: "RAS".to_owned(),
            oblique_deg: 0.0,
            is_stripped: true,
            not_finite: 0,
            measured_in: MeasuredIn::StrippedImage,
            foreground_ml: 1500.0,
            percentiles: Some([100.0, 200.0, 300.0 + number as f64]),
            noise: Some(5.0),
            snr: Some(40.0),
        };
        let image = ImageRecord {
            modality: Modality::T1,
            original: Some(original),
            unread: None,
            registered: None,
            prepared: None,
            thumbnail: String::new(),
        };
        CaseRecord {
            version: RECORD_VERSION,
            case: CaseFacts {
                id: CaseId::new(format!("case-{number}")).unwrap(),
                subject: "a".to_owned(),
                data_set: "d".to_owned(),
                site: None,
                class: None,
                numbers: BTreeMap::new(),
                split: None,
            },
            content_hash: None,
            left_out: None,
            skull: None,
            already_in: None,
            has_label: false,
            images: vec![image],
        }
    }

    fn changed(change: impl Fn(&mut Original)) -> Vec<CaseRecord> {
        let mut records: Vec<_> = (0..12).map(record).collect();
        change(records[7].images[0].original.as_mut().unwrap());
        records
    }

    /// The flags of the case that was changed; the others have none.
    fn flags(records: &[CaseRecord]) -> Vec<(&'static str, String)> {
        let table = Table::of("a", records);
        for (index, (_, flags)) in table.rows.iter().enumerate() {
            assert!(index == 7 || flags.is_empty(), "{index}: {flags:?}");
        }
        table.rows[7].1.iter().map(|flag| (flag.column, flag.reason.clone())).collect()
    }

    #[test]
    fn a_change_is_flagged_where_it_is_and_nowhere_else() {
        assert_eq!(flags(&changed(|_| {})), []);
        let low = flags(&changed(|original| original.snr = Some(9.0)));
        let reason = "SNR: 9 is unusually low; the median of 12 t1 images is 40, the usual range 26.7 to 60";
        assert_eq!(low, [("snr", reason.to_owned())]);
        let turned = flags(&changed(|original| original.orientation = "LAS".to_owned()));
        assert_eq!(turned, [("orientation", "Axes: LAS, while 11 of 12 t1 images are RAS".to_owned())]);
        let odd = flags(&changed(|original| original.not_finite = 3));
        assert_eq!(odd, [("not_finite", "3 voxels are NaN or infinite".to_owned())]);
        let absent = flags(&changed(|original| (original.snr, original.percentiles) = (None, None)));
        assert_eq!(absent, [], "what could not be measured is not an outlier");
    }

    #[test]
    fn a_head_is_not_compared_with_brains() {
        let in_head = |original: &mut Original| {
            original.measured_in = MeasuredIn::Head;
            original.snr = Some(4.0);
            original.percentiles = Some([1.0, 20.0, 900.0]);
            original.spacing_mm = [1.0, 1.0, 6.0];
        };
        let found: Vec<_> = flags(&changed(in_head)).into_iter().map(|(column, _)| column).collect();
        assert_eq!(found, ["slice_mm"]);
    }

    #[test]
    fn csv_has_a_cell_for_every_column_whatever_names_hold() {
        let mut records = vec![record(0)];
        records[0].case.site = Some("a, \"b\"\nc".to_owned());
        records[0].left_out = Some("gone".to_owned());
        let csv = Table::of("a", &records).csv(Path::new("images.csv")).unwrap();
        let mut reader = csv::Reader::from_reader(csv.as_slice());
        assert_eq!(reader.headers().unwrap().len(), COLUMNS.len() + 2);
        let row = reader.records().next().unwrap().unwrap();
        let cell =
            |name: &str| row[COLUMNS.iter().position(|column| column.name == name).unwrap()].to_owned();
        assert_eq!((cell("site").as_str(), cell("status").as_str()), ("a, \"b\"\nc", "left out"));
        assert_eq!(row[COLUMNS.len() + 1], *"Left out: gone");
        records[0].case.site = Some("=HYPERLINK(\"x\")".to_owned());
        let csv = String::from_utf8(Table::of("a", &records).csv(Path::new("images.csv")).unwrap()).unwrap();
        assert!(csv.contains("'=HYPERLINK"), "{csv}");
    }
}
