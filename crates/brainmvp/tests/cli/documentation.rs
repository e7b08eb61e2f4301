//! The commands of README.md and docs/*.md, run in their order as they are typed there.
//!
//! Lines of a code block are read by the shell, so that quotes, `&&`, comments and continued lines mean what they mean to a
//! reader. Each document has a folder of its own. What it takes for granted is made when it is first named ([`prepare`]);
//! sizes and numbers of steps are made small ([`smaller`]); everything else is as typed. What cannot run here is listed with the
//! reason ([`ELSEWHERE`]), and is then only held to what the program understands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::handmade::Slices;
use crate::program::{Ended, Place};

/// Document, beginning of the lines, and why they do not run here.
const ELSEWHERE: [(&str, &str, &str); 10] = [
    ("README.md", "cargo test", "it runs this test"),
    ("README.md", "brainmvp view", "it serves until it is ended"),
    ("first-hour.md", "brainmvp view", "it serves until it is ended"),
    ("viewer.md", "brainmvp view", "it serves until it is ended"),
    (
        "fine-tuning.md",
        "brainmvp preprocess cohort.json --out cache --config configs/finetune-isles22.toml",
        "the phantoms of this page are gliomas; tests/cli/recipes.rs reads the recipe",
    ),
    (
        "fine-tuning.md",
        "brainmvp finetune segment --data cache --init run --out stroke --config configs/finetune-isles22.toml",
        "the phantoms of this page are gliomas; tests/cli/recipes.rs reads the recipe",
    ),
    (
        "from-the-scanner.md",
        "brainmvp convert EXPORT --out faceless --deface",
        "the series of this page show no head; tests/cli/privacy.rs erases faces",
    ),
    ("from-the-scanner.md", "brainmvp convert cohort.json --out faceless --deface", "the same"),
    ("measurements.md", "", "the images are those of patients, and the runs take hours"),
    ("study.md", "", "the images are those of patients, and the runs take hours"),
];

/// Every document, with its name.
fn documents() -> Vec<(String, String)> {
    let root = repository();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = docs.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    paths.push(root.join("README.md"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The lines of code blocks, indented or fenced, continued lines joined. Settings (`key = value`, or a block of TOML), files
/// (a block of JSON) and what is printed (a block of text) are no commands.
fn lines(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let (mut fenced, mut other, mut after_blank, mut block) = (false, false, true, false);
    let mut open = String::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fenced = !fenced;
            other = ["toml", "json", "text"].contains(&language);
            continue;
        }
        if other {
            continue;
        }
        block = fenced || (line.starts_with("    ") && (block || after_blank));
        after_blank = line.trim().is_empty();
        if !block || after_blank {
            continue;
        }
        open += line.trim();
        if let Some(begun) = open.strip_suffix('\\') {
            open = begun.to_owned();
        } else {
            found.push(std::mem::take(&mut open));
        }
    }
    found.retain(|line| line.split_whitespace().nth(1) != Some("="));
    found
}

/// The commands of a line, as words: the shell calls functions of the programs' names, which print what they were given.
fn commands(line: &str, environment: &[(&str, &str)]) -> Vec<Vec<String>> {
    let programs = ["brainmvp", "cargo", "sbatch", "mpirun", "srun", "python3"];
    let told =
        programs.map(|name| format!("{name}() {{ printf '%s\\037' {name} \"$@\"; echo; }}\n")).concat();
    let mut shell = Command::new("sh");
    let output = shell.args(["-ec", &(told + line)]).envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success(), "`{line}`: {}", String::from_utf8_lossy(&output.stderr));
    let words = |line: &str| line.split_terminator('\u{1f}').map(str::to_owned).collect();
    String::from_utf8(output.stdout).unwrap().lines().map(words).collect()
}

/// Puts a value for an option, in place of one that is there.
fn put(words: &mut Vec<String>, option: &str, value: &str) {
    match words.iter().position(|word| word == option) {
        Some(at) => value.clone_into(&mut words[at + 1]),
        None => words.extend([option.to_owned(), value.to_owned()]),
    }
}

/// The same command on little.
fn smaller(words: &[String]) -> Vec<String> {
    let mut words = words.to_vec();
    let put_all = |words: &mut Vec<String>, options: &[(&str, &str)]| {
        for (option, value) in options {
            put(words, option, value);
        }
    };
    let set = |words: &mut Vec<String>, settings: &[&str]| {
        words.extend(settings.iter().flat_map(|setting| ["--set".to_owned(), (*setting).to_owned()]));
    };
    match words[0].as_str() {
        "phantom" => put_all(&mut words, &[("--size", "32"), ("--cases", "6")]),
        "demo" => put_all(&mut words, &[("--size", "48"), ("--cases", "3"), ("--steps", "4")]),
        "bench" => {
            let models = words.iter().any(|word| word == "--model");
            let small = ("--size", if models { "32" } else { "16" });
            put_all(&mut words, &[small, ("--repetitions", "1")]);
            if models {
                put(&mut words, "--model", "unet3d-tiny,swin-unetr-tiny");
            }
        }
        "atlas" => put_all(&mut words, &[("--spacing", "6"), ("--rounds", "1")]),
        "preprocess" if !words.iter().any(|word| word == "--atlas") => put(&mut words, "--spacing", "6"),
        "pretrain" | "finetune" => {
            if words[0] == "pretrain" || words.windows(2).any(|pair| pair == ["--init", "none"]) {
                set(&mut words, &["model.preset=tiny"]);
            }
            if words[0] == "finetune" {
                set(&mut words, &["train.accumulate=1", "patch.resize=16"]);
            }
            set(&mut words, &["patch.size=16", "train.batch_size=2", "train.max_steps=2"]);
        }
        "predict" => put(&mut words, "--overlap", "0"),
        "evaluate" if words.iter().any(|word| word == "--model") => put(&mut words, "--overlap", "0"),
        _ => {}
    }
    words
}

/// What many documents take for granted, each made of the one before.
const STOCK: [&str; 4] = ["cohort.json", "cache", "run", "segmenter"];

/// In a place that has the first of them from the stock.
const FROM_STOCK: &str = "from-stock";

/// Brings one of the stock to a place, unless the place has a cohort of its own; returns whether it did.
fn bring(place: &Place, stock: &Place, name: &str) -> bool {
    let own = place.path(STOCK[0]).exists() && !place.path(FROM_STOCK).exists();
    let Some(last) = STOCK.iter().position(|one| *one == name) else { return false };
    if own || std::ptr::eq(place, stock) {
        return false;
    }
    for one in &STOCK[..=last] {
        make(stock, stock, one);
        if !place.path(one).exists() {
            copy(&stock.path(one), &place.path(one));
        }
    }
    if !place.path(FROM_STOCK).exists() {
        place.write(FROM_STOCK, "");
        let images = fs::read_dir(stock.path("")).unwrap().map(|entry| entry.unwrap());
        for folder in images.filter(|entry| entry.file_name().to_string_lossy().starts_with("phantom-")) {
            copy(&folder.path(), &place.path(folder.file_name()));
        }
    }
    true
}

/// Copies a file or folder.
fn copy(from: &Path, to: &Path) {
    if !from.is_dir() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Makes what a document takes for granted, or brings it from the stock, unless it is there; other names are left alone.
fn prepare(place: &Place, stock: &Place, name: &str) {
    if !place.path(name).exists() && !bring(place, stock, name) {
        make(place, stock, name);
    }
}

/// Makes it, unless it is there.
fn make(place: &Place, stock: &Place, name: &str) {
    if place.path(name).exists() {
        return;
    }
    let prepare = |place: &Place, name: &str| prepare(place, stock, name);
    let run = |line: &[&str]| {
        let words: Vec<String> = line.iter().map(ToString::to_string).collect();
        run(place, &words, &[]).succeeds();
    };
    match name {
        "configs/demo.toml" => {
            fs::create_dir_all(place.path("configs")).unwrap();
            fs::copy(repository().join(name), place.path(name)).unwrap();
        }
        // All methods and networks, with hardly any work, and two of them once that was tried.
        "configs/study-smoke.toml" => {
            fs::create_dir_all(place.path("configs")).unwrap();
            let tried = stock.path("tried-all-systems");
            let systems = if tried.exists() { TWO_SYSTEMS } else { "" };
            fs::write(tried, "").unwrap();
            fs::write(place.path(name), systems.to_owned() + &small_study()).unwrap();
        }
        "study.toml" => place.write(name, &(TWO_SYSTEMS.to_owned() + &small_study())),
        "released.pt" => {
            fs::copy(brainmvp_golden::file("released_layout_small.pt"), place.path(name)).unwrap();
        }
        // What a scanner has put on a disk.
        "EXPORT" => {
            fs::create_dir(place.path(name)).unwrap();
            (0..6).for_each(|z| drop(Slices::default().write(&place.path(name), z, Vec::new())));
        }
        // Folders of images without any order.
        "scans" | "more-scans" => run(&["phantom", "--out", name, "--modalities", "flair,t1", "--quiet"]),
        "cohort.json" => {
            run(&[
                "phantom",
                "--out",
                ".",
                "--modalities",
                "flair,t1,t1c,t2",
                "--missing-rate",
                "0",
                "--quiet",
            ]);
        }
        "cache" => {
            prepare(place, "cohort.json");
            run(&["preprocess", "cohort.json", "--out", name, "--quiet"]);
        }
        "run" => {
            prepare(place, "cache");
            run(&["pretrain", "--data", "cache", "--out", name, "--quiet"]);
        }
        "segmenter" => {
            prepare(place, "run");
            run(&["finetune", "segment", "--data", "cache", "--init", "run", "--out", name, "--quiet"]);
        }
        _ if name.ends_with(".nii.gz") => {
            prepare(place, "cohort.json");
            let file = Path::new(name).file_name().unwrap().to_str().unwrap();
            let modality = file.strip_suffix(".nii.gz").unwrap();
            let images = &place.json("cohort.json")["cases"];
            let mut found =
                images.as_array().unwrap().iter().filter_map(|case| case["images"][modality].as_str());
            if let Some(image) = found.next() {
                let to = place.path(name);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(place.path(image), to).unwrap();
            }
        }
        _ => {}
    }
}

/// What a study compares if it need not be all.
const TWO_SYSTEMS: &str = "systems = ['scratch-uniformer-small', 'brainmvp-uniformer-small']\n";

/// The smoke study on fewer phantoms, with one step of fine-tuning and the least of pre-training.
fn small_study() -> String {
    let mut text = fs::read_to_string(repository().join("configs/study-smoke.toml")).unwrap();
    let changes = [
        ("cases = 14", "cases = 8"),
        ("pretrain_voxels = 2_097_152", "pretrain_voxels = 1"),
        ("finetune_steps = 12", "finetune_steps = 1"),
    ];
    for (from, to) in changes {
        assert!(text.contains(from), "the smoke study has no '{from}'");
        text = text.replace(from, to);
    }
    text
}

fn run(place: &Place, words: &[String], environment: &[(&str, &str)]) -> Ended {
    let words = smaller(words);
    place.run_with(&words.iter().map(String::as_str).collect::<Vec<_>>(), environment)
}

/// Runs the commands of a line; `Err` says which went wrong, and how.
fn try_line(place: &Place, stock: &Place, line: &str, environment: &[(&str, &str)]) -> Result<(), String> {
    for words in commands(line, environment) {
        let words = match words[0].as_str() {
            "brainmvp" => &words[1..],
            "cargo" if words.starts_with(&["cargo", "run", "--release", "--"].map(str::to_owned)) => {
                &words[4..]
            }
            "sbatch" => {
                let wrapped = words.iter().position(|word| word == "--wrap").unwrap();
                try_jobs(place, stock, &words[wrapped + 1], &words)?;
                continue;
            }
            // Built by `.ci/run`, where there is an MPI library.
            "cargo" if words[1..] == ["build", "--release", "--features", "mpi"] => continue,
            // Here by one process; `tests/mpi.rs` starts several.
            "mpirun" | "srun" => match words.iter().position(|word| word == "brainmvp") {
                Some(at) => &words[at + 1..],
                None => return Err(format!("{} starts something else", words[0])),
            },
            other => return Err(format!("{other} is not known to this test")),
        };
        let outputs =
            words.iter().zip(words.iter().skip(1)).filter(|(word, _)| *word == "--out").map(|(_, out)| out);
        let outputs: Vec<&String> = outputs.collect();
        words.iter().filter(|word| !outputs.contains(word)).for_each(|word| prepare(place, stock, word));
        let ended = run(place, words, environment);
        if ended.code != 0 {
            return Err(format!("ended with {}: {}", ended.code, ended.stderr));
        }
    }
    Ok(())
}

/// Runs a job, or of an array the first two as if these were all.
fn try_jobs(place: &Place, stock: &Place, job: &str, words: &[String]) -> Result<(), String> {
    let array = words.iter().find_map(|word| word.strip_prefix("--array="));
    let Some(first) = array.and_then(|array| array.split('-').next()) else {
        return try_line(place, stock, job, &[]);
    };
    let second = (first.parse::<usize>().unwrap() + 1).to_string();
    for id in [first, &second] {
        let slurm =
            [("SLURM_ARRAY_TASK_ID", id), ("SLURM_ARRAY_TASK_MIN", first), ("SLURM_ARRAY_TASK_COUNT", "2")];
        try_line(place, stock, job, &slurm)?;
    }
    Ok(())
}

/// Whether the program understands the commands of a line, whatever else it lacks.
fn try_usage(place: &Place, line: &str) -> Result<(), String> {
    let (before, _) = line.split_at(line.find("brainmvp ").unwrap_or(line.len()));
    let from = before.len();
    if !["", "target/release/"].contains(&before) && !before.starts_with("/usr/bin/time ") {
        return Ok(());
    }
    for words in commands(&line[from..], &[]) {
        let ended = run(place, &words[1..], &[]);
        if ended.stderr.contains("hint: ") && ended.stderr.contains("--help`") {
            return Err(ended.stderr);
        }
    }
    Ok(())
}

#[test]
fn every_sequence_of_the_documentation_runs() {
    let (mut wrong, mut unused) = (Vec::new(), ELSEWHERE.to_vec());
    let stock = Place::new();
    for (name, text) in documents() {
        let (place, begun) = (Place::new(), Instant::now());
        for line in lines(&text) {
            let listed =
                ELSEWHERE.iter().find(|(document, begin, _)| *document == name && line.starts_with(begin));
            unused.retain(|entry| Some(entry) != listed);
            // With nothing there: what serves or trains for long ends at once.
            let tried = if listed.is_some() {
                try_usage(&Place::new(), &line)
            } else {
                try_line(&place, &stock, &line, &[])
            };
            if let Err(reason) = tried {
                wrong.push(format!("{name}: `{line}`\n  {reason}"));
            }
        }
        eprintln!("{name}: {:.1} s", begun.elapsed().as_secs_f64());
    }
    assert!(
        wrong.is_empty(),
        "{}\nmend these, prepare what they name, or list them with the reason",
        wrong.join("\n")
    );
    assert!(unused.is_empty(), "listed, but no line begins so: {unused:?}");
}

#[test]
fn lines_are_those_of_code_blocks() {
    let text = "Text\n    no code: the line before is not blank\n\n    a --b \\\n        c # d\n    key = 1\n\nText\n```\ne\n```\n```toml\n[f]\n```\n```json\n{}\n```\n```text\ng\n```\n";
    assert_eq!(lines(text), ["a --b c # d", "e"]);
    assert_eq!(
        commands("brainmvp a 'b c' \\#d && brainmvp $e # f", &[("e", "f")]),
        [vec!["brainmvp", "a", "b c", "#d"], vec!["brainmvp", "f"]]
    );
}
