//! A report as one page of HTML that needs nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use html_escape::encode_double_quoted_attribute as escaped;

use super::document::{Document, Figure, Part, Picture, Section, Table};

const STYLE: &str = include_str!("report.css");

/// A picture of fewer bytes is a patch: it is enlarged, and stands beside others.
const SMALL_BYTES: usize = 12_000;

/// The page.
pub(super) fn page(document: &Document) -> String {
    let title = escaped(&document.title);
    let contents: String = document.sections.iter().enumerate().map(|(number, s)| entry(number, s)).collect();
    let sections: String =
        document.sections.iter().enumerate().map(|(number, s)| self::section(number, s)).collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<nav><ol>\n{contents}</ol></nav>\n{sections}\
         <footer>Made by brainmvp {version}. Research software: not for diagnosis.</footer>\n</body>\n</html>\n"
    )
}

/// A line of the contents.
fn entry(number: usize, section: &Section) -> String {
    format!("<li><a href=\"#s{number}\">{}</a></li>\n", escaped(&section.title))
}

fn section(number: usize, section: &Section) -> String {
    let parts: String = section.parts.iter().map(part).collect();
    format!("<section id=\"s{number}\">\n<h2>{}</h2>\n{parts}</section>\n", escaped(&section.title))
}

fn part(part: &Part) -> String {
    match part {
        Part::Heading(text) => format!("<h3>{}</h3>\n", escaped(text)),
        Part::Text(text) => format!("<p>{}</p>\n", escaped(text)),
        Part::Warning(text) => format!("<p class=\"warning\">{}</p>\n", escaped(text)),
        Part::Facts(facts) => {
            let row = |(name, value): &(String, String)| {
                format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
            };
            format!("<table class=\"facts\">\n{}</table>\n", facts.iter().map(row).collect::<String>())
        }
        Part::Table(table) => self::table(table),
        Part::Figure(figure) => self::figure(figure),
        Part::Listing { title, text } => {
            format!(
                "<details><summary>{}</summary>\n<pre>{}</pre></details>\n",
                escaped(title),
                escaped(text)
            )
        }
    }
}

fn table(table: &Table) -> String {
    let row = |row: &Vec<String>, tag: &str| {
        let cells = row.iter().enumerate().map(|(column, cell)| {
            let class = if column < table.words { "" } else { " class=\"number\"" };
            format!("<{tag}{class}>{}</{tag}>", escaped(cell))
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let Some((head, body)) = table.rows.split_first() else { return String::new() };
    let body: String = body.iter().map(|cells| row(cells, "td")).collect();
    let caption = if table.caption.is_empty() {
        String::new()
    } else {
        format!("<caption>{}</caption>\n", escaped(&table.caption))
    };
    format!(
        "<div class=\"wide\"><table>\n{caption}<thead>\n{}</thead>\n<tbody>\n{body}</tbody></table></div>\n",
        row(head, "th")
    )
}

fn figure(figure: &Figure) -> String {
    let (media, class, bytes) = match &figure.picture {
        Picture::Svg(text) => ("image/svg+xml", "", text.as_bytes()),
        Picture::Png(bytes) if bytes.len() < SMALL_BYTES => {
            ("image/png", " class=\"small\"", bytes.as_slice())
        }
        Picture::Png(bytes) => ("image/png", "", bytes.as_slice()),
    };
    let (caption, data) = (escaped(&figure.caption), STANDARD.encode(bytes));
    format!(
        "<figure{class}><img alt=\"{caption}\" src=\"data:{media};base64,{data}\"><figcaption>{caption}</figcaption></figure>\n"
    )
}
