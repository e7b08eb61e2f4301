//! The book in `docs/`: that it has every page, that links lead somewhere, and that the page of settings is up to date.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::program::Place;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages by name.
fn pages() -> BTreeMap<String, String> {
    let files = fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = files.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let named = |path: PathBuf| {
        (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap())
    };
    pages.map(named).collect()
}

/// The text without code, where brackets are no links.
fn prose(page: &str) -> String {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in page.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
        } else if !fenced && !line.starts_with("    ") {
            lines.push(line);
        }
    }
    Regex::new("`[^`]*`").unwrap().replace_all(&lines.join("\n"), "").into_owned()
}

/// The targets of links and pictures that lead to files.
fn links(page: &str) -> Vec<String> {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let targets = prose(page);
    let targets = link.captures_iter(&targets).map(|found| found[1].to_owned());
    targets.filter(|target| !target.contains("://")).collect()
}

/// The anchors of a page's headings: letters, digits, `-` and `_` of the title in lower case, with `-` for spaces, and a number where
/// a title comes again.
fn anchors(page: &str) -> Vec<String> {
    let mut fenced = false;
    let (mut found, mut titles): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let kept = title.trim().to_lowercase();
        let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let anchor: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = titles.iter().filter(|title| **title == anchor).count();
        found.push(if before == 0 { anchor.clone() } else { format!("{anchor}-{before}") });
        titles.push(anchor);
    }
    found
}

#[test]
fn the_book_has_every_page_once() {
    let pages = pages();
    let mut listed = links(&pages["SUMMARY.md"]);
    listed.sort();
    let there: Vec<&str> = pages.keys().map(String::as_str).filter(|name| *name != "SUMMARY.md").collect();
    assert_eq!(listed, there, "docs/SUMMARY.md lists other pages than docs/ has");
    let config: toml::Table = fs::read_to_string(repository().join("book.toml")).unwrap().parse().unwrap();
    assert_eq!(config["book"]["src"].as_str(), Some("docs"));
}

#[test]
fn links_lead_to_pages_and_headings() {
    let pages = pages();
    let mut documents: Vec<(&str, &str, &str)> =
        pages.iter().map(|(name, text)| (name.as_str(), "docs", text.as_str())).collect();
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"];
    let texts = root.map(|name| fs::read_to_string(repository().join(name)).unwrap());
    documents.extend(root.iter().zip(&texts).map(|(name, text)| (*name, "", text.as_str())));
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for (name, folder, text) in documents {
        for link in links(text) {
            seen += 1;
            let (file, anchor) = link.split_once('#').map_or((link.as_str(), None), |(f, a)| (f, Some(a)));
            let path = repository().join(folder).join(if file.is_empty() { name } else { file });
            // The book has nothing but what is in its folder.
            let outside = folder == "docs" && file.contains("..");
            let there = fs::read_to_string(&path);
            let leads = match anchor {
                None => path.is_file(),
                Some(anchor) => there.is_ok_and(|page| anchors(&page).iter().any(|one| one == anchor)),
            };
            if outside || !leads {
                wrong.push(format!("{name}: {link}"));
            }
        }
    }
    assert!(seen > 150, "only {seen} links were found");
    assert!(wrong.is_empty(), "these lead nowhere:\n{}", wrong.join("\n"));
}

#[test]
fn anchors_are_those_of_headings() {
    let page = "# A, b\n```\n# no\n```\n## `[c.d_e]`: `f-g`\n#h\n### A b\n";
    assert_eq!(anchors(page), ["a-b", "cd_e-f-g", "a-b-1"]);
    assert_eq!(links("[a](b.md#c) `[d](e)` [f](https://g) ![h](i.png)"), ["b.md#c", "i.png"]);
}

/// The page is what the program prints of itself.
#[cfg(feature = "patented-methods")]
#[test]
fn the_page_of_settings_is_up_to_date() {
    let printed = Place::new().run(&["settings"]).succeeds().stdout;
    let page = fs::read_to_string(repository().join("docs/configuration.md")).unwrap();
    let differing = page.lines().zip(printed.lines()).find(|(written, told)| written != told);
    assert!(
        page == printed,
        "docs/configuration.md is not what the program prints, from {differing:?} on: renew it by `cargo run --release -- settings > \
         docs/configuration.md`"
    );
}

#[test]
fn a_part_of_the_settings_is_a_part_of_the_page() {
    let place = Place::new();
    let whole = place.run(&["settings"]).succeeds().stdout;
    for part in ["preprocess", "pretrain", "finetune", "networks", "study"] {
        let printed = place.run(&["settings", part]).succeeds().stdout;
        assert!(printed.starts_with("## ") && whole.contains(printed.trim_end()), "{part}");
    }
    place.run(&["settings", "pretraining"]).fails(2, &["pretraining"]);
}
