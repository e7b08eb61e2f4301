//! The table as a self-contained page of HTML.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use brainmvp_volume::Modality;
use html_escape::encode_double_quoted_attribute as escaped;

use crate::columns::{COLUMNS, Value};
use crate::outliers::median;
use crate::record::CASES;
use crate::table::{Flag, Row, Table, cell};

const PAGE: &str = include_str!("page.html");

/// The column after which the reasons come, where they are easily seen.
const REASONS_AFTER: &str = "status";

/// With more rows than this, the page has links instead of thumbnails, which take about 4 kB each.
const MOST_THUMBNAILS: usize = 4000;

#[expect(clippy::expect_used, reason = "the page is a constant of the program")]
pub(crate) fn html(table: &Table<'_>) -> String {
    let ids = |rows: &mut dyn Iterator<Item = &(Row<'_>, Vec<Flag>)>| {
        rows.map(|(row, _)| row.record.case.id.as_str()).collect::<BTreeSet<_>>().len()
    };
    let images = table.rows.iter().filter(|(row, _)| row.image.is_some()).count();
    let overview = format!(
        "Cases: {}. Images: {images}. Cases left out: {}. Images with something unusual: {}.",
        ids(&mut table.rows.iter()),
        ids(&mut table.rows.iter().filter(|(row, _)| row.record.left_out.is_some())),
        table.flagged()
    );
    let parts = [
        ("{{title}}", escaped(&table.title).into_owned()),
        ("{{overview}}", overview),
        ("{{modalities}}", modalities(table)),
        ("{{summary}}", summary(table)),
        ("{{open}}", if table.has_sites() { "" } else { "open" }.to_owned()),
        ("{{headings}}", headings()),
        ("{{rows}}", rows(table)),
        ("{{version}}", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    // Split rather than replaced, so that the text of a cell is never taken for a placeholder.
    let mut page = String::with_capacity(PAGE.len() + 4096 * table.rows.len());
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("every {{ of the page has its }}");
        page.push_str(before);
        let part = parts.iter().find(|(place, _)| place[2..place.len() - 2] == *name);
        page.push_str(&part.expect("every place of the page has its text").1);
        rest = after;
    }
    page + rest
}

fn modalities(table: &Table<'_>) -> String {
    let found = table.rows.iter().filter_map(|(row, _)| row.image.map(|image| image.modality));
    let found: BTreeSet<Modality> = found.collect();
    found.into_iter().fold(String::new(), |all, modality| all + &format!("<option>{modality}</option>"))
}

fn headings() -> String {
    let mut all = String::from("<th>Picture</th>");
    let reasons = "<th tabindex=\"0\">What is unusual</th>";
    for column in COLUMNS {
        let class = class(column.is_detail, column.value, false);
        let _ = write!(
            all,
            "<th class=\"{class}\" title=\"{}\" tabindex=\"0\">{}</th>",
            escaped(column.about),
            escaped(column.title)
        );
        if column.name == REASONS_AFTER {
            all += reasons;
        }
    }
    all
}

fn rows(table: &Table<'_>) -> String {
    let with_thumbnails = table.rows.len() <= MOST_THUMBNAILS;
    let mut all = String::new();
    for (row, flags) in &table.rows {
        let modality = row.image.map_or(String::new(), |image| image.modality.to_string());
        let flagged = if flags.is_empty() { "" } else { " class=\"flagged\"" };
        let _ = write!(
            all,
            "<tr data-modality=\"{modality}\"{flagged}><td>{}</td>",
            picture(row, with_thumbnails)
        );
        for column in COLUMNS {
            let own: Vec<&str> = flags
                .iter()
                .filter(|flag| flag.column == column.name)
                .map(|flag| flag.reason.as_str())
                .collect();
            let class = class(column.is_detail, column.value, !own.is_empty());
            let title = if own.is_empty() {
                String::new()
            } else {
                format!(" title=\"{}\"", escaped(&own.join("; ")))
            };
            let _ = write!(all, "<td class=\"{class}\"{title}>{}</td>", escaped(&cell(&column.value, row)));
            if column.name == REASONS_AFTER {
                let _ = write!(all, "<td class=\"reasons\">{}</td>", reasons(flags));
            }
        }
        all += "</tr>\n";
    }
    all
}

fn class(is_detail: bool, value: Value, is_flagged: bool) -> String {
    let words =
        [(is_detail, "detail"), (matches!(value, Value::Number { .. }), "number"), (is_flagged, "unusual")];
    words.iter().filter(|(is, _)| *is).map(|(_, word)| *word).collect::<Vec<_>>().join(" ")
}

fn picture(row: &Row<'_>, with_thumbnail: bool) -> String {
    let Some(image) = row.image else { return String::new() };
    let link = format!("{CASES}/{}.png", encoded(row.record.case.id.as_str()));
    let name = format!("{} {}", row.record.case.id, image.modality);
    let name = escaped(&name);
    if with_thumbnail && !image.thumbnail.is_empty() {
        let data = &image.thumbnail;
        format!("<a href=\"{link}\"><img src=\"data:image/png;base64,{data}\" alt=\"{name}\"></a>")
    } else {
        format!("<a href=\"{link}\">picture</a>")
    }
}

fn reasons(flags: &[Flag]) -> String {
    flags.iter().fold(String::new(), |all, flag| all + "<div>" + &escaped(&flag.reason) + "</div>")
}

/// The number of images, flagged images, and medians, by modality and, if there are several sites, by site.
fn summary(table: &Table<'_>) -> String {
    const MEASURES: [&str; 6] = ["in_plane_mm", "slice_mm", "grey_median", "contrast", "snr", "brain_ml"];
    let mut groups: BTreeMap<(Modality, Option<&str>), Vec<_>> = BTreeMap::new();
    for row in &table.rows {
        let Some(image) = row.0.image else { continue };
        groups.entry((image.modality, None)).or_default().push(row);
        if let Some(site) = &row.0.record.case.site {
            groups.entry((image.modality, Some(site))).or_default().push(row);
        }
    }
    let columns = || COLUMNS.iter().filter(|column| MEASURES.contains(&column.name));
    let mut all = String::from("<tr><th>Modality</th><th>Site</th><th>Images</th><th>Flagged</th>");
    columns().for_each(|column| {
        let _ = write!(all, "<th title=\"{}\">{}</th>", escaped(column.about), escaped(column.title));
    });
    all += "</tr>\n";
    for ((modality, site), rows) in groups {
        let flagged = rows.iter().filter(|(_, flags)| !flags.is_empty()).count();
        let (class, site) = if site.is_none() { ("all", "all") } else { ("", site.unwrap_or_default()) };
        let _ = write!(
            all,
            "<tr class=\"{class}\"><td>{modality}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{flagged}</td>",
            escaped(site),
            rows.len()
        );
        for column in columns() {
            let Value::Number { of, digits, .. } = column.value else { continue };
            let mut values: Vec<f64> = rows.iter().filter_map(|(row, _)| of(row)).collect();
            let middle = median(&mut values);
            let text = if middle.is_nan() { String::new() } else { digits.of(middle) };
            let _ = write!(all, "<td class=\"number\">{text}</td>");
        }
        all += "</tr>\n";
    }
    all
}

/// A file name escaped for a link.
fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_no_harm() {
        assert_eq!(escaped("<b>'\"&"), "&lt;b&gt;'&quot;&amp;");
        assert_eq!(encoded("Fall 7 \"é#?.a"), "Fall%207%20%22%C3%A9%23%3F.a");
    }

    #[test]
    fn every_place_of_the_page_is_filled() {
        let page = html(&Table::of("{{rows}} <x>", &[]));
        assert!(page.contains("{{rows}} &lt;x&gt;"), "what a title says is text");
        assert_eq!(page.matches("{{").count(), page.matches("{{rows}}").count());
        assert!(!page.contains("http://") && !page.contains("https://"), "no network");
    }
}
