//! Ctrl-C in the middle of the work.
//!
//! A named pipe in place of an image holds the program up at a known point until the test opens and closes it.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::process::{Child, Command as Process, Stdio};

use crate::program::Place;

/// `preprocess` of three cases on one thread, held up in the second one; the pipe's open end keeps it there.
fn held_up(place: &Place) -> (Child, File) {
    let image = place.path("phantom/phantom-0002/phantom-0002_mask.nii.gz");
    std::fs::remove_file(&image).unwrap();
    assert!(Process::new("mkfifo").arg(&image).status().unwrap().success());
    let mut process = Process::new(assert_cmd::cargo::cargo_bin!("brainmvp"));
    process.current_dir(place.path(".")).stdout(Stdio::piped()).stderr(Stdio::piped());
    process.args(["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--threads", "1"]);
    let child = process.spawn().unwrap();
    // Opening waits for the program to open the other end.
    let pipe = File::options().write(true).open(&image).unwrap();
    (child, pipe)
}

fn interrupt(child: &Child) {
    let status = Process::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn line_with(stderr: &mut impl BufRead, word: &str) {
    let mut line = String::new();
    while !line.contains(word) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "no line with '{word}'");
    }
}

#[test]
fn the_first_signal_saves_and_the_next_run_goes_on() {
    let place = Place::with_phantom(3);
    let (mut child, pipe) = held_up(&place);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    interrupt(&child);
    line_with(&mut stderr, "stopping as soon as the current work is saved");
    drop(pipe);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    assert!(
        rest.contains("error: interrupted with 1 case to go\nhint: run the same command again"),
        "{rest}"
    );
    let manifest = place.json("cache/manifest.json");
    assert_eq!(manifest["cases"][0]["case"]["id"], "phantom-0001");

    let mask = |case: &str| place.path(format!("phantom/{case}/{case}_mask.nii.gz"));
    std::fs::remove_file(mask("phantom-0002")).unwrap();
    std::fs::copy(mask("phantom-0001"), mask("phantom-0002")).unwrap();
    place
        .run(&["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6"])
        .succeeds()
        .prints(&["2 cases prepared", "1 already there"]);
}

#[test]
fn the_second_signal_ends_at_once() {
    let place = Place::with_phantom(2);
    let (mut child, _pipe) = held_up(&place);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    interrupt(&child);
    line_with(&mut stderr, "stopping");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
