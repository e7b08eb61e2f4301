//! Reports on the same folder that the server shows.

use brainmvp_view::report::{has_results, write_report};

use crate::place::Place;

#[test]
fn a_report_is_one_page_with_figures_that_are_files_too() {
    let place = Place::new();
    let (page, figures) = (place.path("out/report.html"), place.path("figures"));
    std::fs::create_dir(place.path("out")).unwrap();
    let validated = "{\"step\":2,\"scores\":{\"dice\":0.5}}\n";
    std::fs::write(place.path("run/validation.jsonl"), validated).unwrap();
    let written = write_report(&[place.path("")], &page, Some(&figures)).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.len() as u64, written.bytes);
    let sections: Vec<&str> =
        html.split("<h2>").skip(1).map(|rest| rest.split_once("</h2>").unwrap().0).collect();
    assert_eq!(sections, ["Cases", "Fine-tuning, segment: run", "Predictions: predicted"]);
    assert!(html.contains("<td>its label is empty</td>"), "what was left out is named");
    // It loads nothing: pictures are part of it.
    for part in html.split("src=\"").skip(1) {
        assert!(part.starts_with("data:image/"));
    }
    assert!(!html.contains("http") && !html.contains("<script"));
    let mut names: Vec<String> =
        written.figures.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    let expected = [
        "fine-tuning-segment-run-loss.svg",
        "fine-tuning-segment-run-validation-scores.svg",
        "predictions-predicted-cases.png",
        "predictions-predicted-dice.svg",
    ];
    assert_eq!(names, expected);
    let png = std::fs::read(figures.join("predictions-predicted-cases.png")).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    assert_eq!(html.matches("<img").count(), names.len());
}

#[test]
fn names_are_text_and_not_part_of_the_page() {
    let place = Place::new();
    let config = "[task]\nkind = \"<img src=x onerror=alert(1)>\"\n";
    std::fs::write(place.path("run/config.toml"), config).unwrap();
    let page = place.path("report.html");
    write_report(&[place.path("run")], &page, None).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("&lt;img src=x") && !html.contains("<img src=x"));
}

#[test]
fn what_has_no_results_is_refused_by_name() {
    let place = Place::new();
    let page = place.path("report.html");
    assert!(has_results(&place.path("")) && !has_results(&place.path("cache")));
    for (path, reason) in [("cache", "nothing to report on"), ("none", "no such file or folder")] {
        let error = write_report(&[place.path(path)], &page, None).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(reason), "{error}");
    }
    assert!(!page.exists());
}

#[test]
fn a_damaged_file_is_named_and_the_rest_is_reported() {
    let place = Place::new();
    std::fs::write(place.path("predicted/metrics.json"), "{").unwrap();
    std::fs::write(place.path("run/metrics.jsonl"), "{\"step\":1,\"loss\":3.0}\nnonsense\n").unwrap();
    std::fs::write(place.path("run/seen.json"), "[").unwrap();
    let page = place.path("report.html");
    let written = write_report(&[place.path("")], &page, None).unwrap();
    let html = std::fs::read_to_string(&page).unwrap();
    for file in ["predicted/metrics.json", "run/seen.json"] {
        assert!(html.contains(&format!("{file}: cannot be read: EOF")), "{file}: {written:?}");
    }
    assert!(html.contains("<h2>Fine-tuning, segment: run</h2>"));
}
