//! Damaged runs, predictions, scores and studies: a report is made of what can be read, or none, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_view::report::write_report;
use brainmvp_view::run_summary::RunSummary;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// The page, with each figure as text, beside what it is made of.
const PAGE: Memory = Memory { fixed: 4 << 20, for_each_byte: 400 };

/// Makes a report of a folder with one damaged file. Nothing that can be read makes it fail, but there may be nothing to report on.
fn reported(reader: &str, folder: &str, name: &str, others: &[(&str, &[u8])], seed: &[u8]) {
    let place = Place::new("page.html");
    let folder = place.folder().join(folder);
    for (other, content) in others.iter().chain([&(name, seed)]) {
        let path = folder.join(other);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    let (page, damaged) = (place.folder().join("page.html"), folder.join(name));
    fuzz(reader, &[Seed::new(seed)], PAGE, |bytes| {
        std::fs::write(&damaged, bytes).unwrap();
        drop(RunSummary::read(&folder));
        write_report(std::slice::from_ref(&folder), &page, None).map(drop).map_err(|error| error.to_string())
    });
}

const CONFIG: &[u8] = b"[model]\npreset = \"tiny\"\n[train]\nmax_steps = 9\n[method]\nname = \"brainmvp\"\n";
const STEPS: &[u8] = b"{\"step\":1,\"epoch\":0,\"loss\":1.25,\"lr\":0.001,\"seconds\":0.5,\"counts\":{\"t1\":1}}\n\
                       {\"step\":2,\"epoch\":0,\"loss\":null,\"lr\":0.001,\"seconds\":0.5}\n{\"step\":3,\"loss\":0.5,\"seconds\":0.5}\n";
const VALIDATIONS: &[u8] = b"{\"step\":1,\"epoch\":0,\"best\":true,\"scores\":{\"dice\":0.5,\"hd\":null},\"seconds\":2.5}\n\
                             {\"step\":3,\"epoch\":1,\"best\":false,\"scores\":{\"dice\":0.25,\"hd\":1.0},\"seconds\":2.5}\n";
const STATUS: &[u8] = br#"{"state": "done", "last_step": 3, "reason": null}"#;
const SESSIONS: &[u8] = b"{\"version\":\"0.1.0\",\"started\":\"2026-11-30\",\"seconds\":2.5,\"last_step\":3,\"cpu\":\"x\",\"threads\":2,\
                          \"memory_bytes\":4096}\n";

/// A record with a picture, as TensorBoard has it.
fn events() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let image = field(4, b"\x89PNG\r\n\x1a\n........");
    let value = [field(1, b"image"), field(4, &image)].concat();
    let event = [vec![0x10, 3], field(5, &field(1, &value))].concat();
    let record = [&(event.len() as u64).to_le_bytes()[..], &[0; 4], &event, &[0; 4]].concat();
    record.repeat(2)
}

#[test]
fn runs() {
    let events = events();
    let files: [(&str, &[u8]); 6] = [
        ("config.toml", CONFIG),
        ("metrics.jsonl", STEPS),
        ("validation.jsonl", VALIDATIONS),
        ("status.json", STATUS),
        ("sessions.jsonl", SESSIONS),
        ("events.out.tfevents.1.x", &events),
    ];
    for (name, seed) in files {
        reported(
            &format!("report on a run ({})", name.split('.').next().unwrap()),
            "run",
            name,
            &files,
            seed,
        );
    }
}

const PREDICTIONS: &[u8] =
    br#"{"version": 1, "settings": {"model": "run", "step": 3, "regions": [{"name": "WT", "labels": [1, 2]}],
 "windows": {"size": [32, 32, 32]}}, "notes": ["a note"],
 "cases": {"a": {"label_map": "a.nii.gz", "inputs": {"t1": "x/a_t1.nii"}, "seconds": 1.5, "missing": ["t2"]}},
 "quarantined": {"b": "unreadable"}}"#;
const SCORES: &[u8] = br#"{"version": 1, "config": {}, "summary": {"regions": []}, "missing": [], "quarantined": {"c": "unreadable"},
 "scores": [{"case": "a", "region": "WT", "empty": "neither", "values": {"dice": 0.5, "hd95_mm": null}},
  {"case": "b", "region": "WT", "empty": "both", "values": {"dice": 0.75}}]}"#;

#[test]
fn predictions_and_scores() {
    let files = [("predictions.json", PREDICTIONS), ("metrics.json", SCORES)];
    reported(
        "report on predictions (predictions.json)",
        "predicted",
        "predictions.json",
        &files,
        PREDICTIONS,
    );
    reported("report on predictions (metrics.json)", "predicted", "metrics.json", &files, SCORES);
}

#[test]
fn studies() {
    let study = br#"{"title": "A study", "kind": "comparison", "cells": [{"cell": "cells/a", "state": "done", "reason": null,
 "seconds": 1.5}, {"cell": "cells/b", "state": "failed", "reason": "no memory", "seconds": null}]}"#;
    let results =
        b"arm,labels,modalities,case,region,metric,value\na,1,,p1,WT,dice,0.5\nb,1,t1,p2,WT,dice,\n";
    let table = b"arm,mean Dice,WT Dice\na,0.5 (0.4 to 0.6),0.5\n\"b, c\",0.75,0.5\n";
    let files: [(&str, &[u8]); 5] = [
        ("study.toml", b"title = 'A study'\n"),
        ("study.json", study),
        ("results.csv", results),
        ("tables/segmentation.csv", table),
        ("curves/dice.svg", b"<svg xmlns='http://www.w3.org/2000/svg'></svg>"),
    ];
    reported("report on a study (study.json)", "study", "study.json", &files, study);
    reported("report on a study (results.csv)", "study", "results.csv", &files, results);
    reported("report on a study (tables)", "study", "tables/segmentation.csv", &files, table);
}

/// Each line may bring a name of its own: a column of as many places as there are lines would take the square of the file.
#[test]
fn a_record_cannot_have_columns_without_end() {
    let lines = (0..9000).map(|line| format!("{{\"a{line}\":1}}\n")).collect::<Vec<_>>().concat();
    let files = [("config.toml", CONFIG), ("metrics.jsonl", lines.as_bytes())];
    let place = Place::new("page.html");
    let folder = place.folder().join("run");
    std::fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        std::fs::write(folder.join(name), content).unwrap();
    }
    let memory = brainmvp_fuzz::memory_of(|| {
        drop(write_report(std::slice::from_ref(&folder), &place.folder().join("page.html"), None));
    });
    assert!(memory < 64 << 20, "{memory} bytes");
}
