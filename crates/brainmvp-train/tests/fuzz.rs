//! Damaged networks, settings and records of runs: an error or other content, within a second and little memory.

#![allow(clippy::unwrap_used, reason = "a failing test may panic")]

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use brainmvp_fuzz::{Memory, Place, Seed, fuzz};
use brainmvp_nets::Init;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_nets::weights::{Head, visit};
use brainmvp_prep::PrepSettings;
use brainmvp_train::about::About;
use brainmvp_train::batches::Identities;
use brainmvp_train::checkpoint::{self, Checkpoint, State};
use brainmvp_train::config::{FinetuneConfig, PretrainConfig, Stage};
use brainmvp_train::log::metrics::{ValidationMetrics, read_lines, read_metrics};
use brainmvp_train::saved::{Format, SavedNetwork};
use brainmvp_train::seen::Seen;
use rand::SeedableRng as _;
use zip::write::SimpleFileOptions;

#[global_allocator]
static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;

/// A value of JSON or TOML takes many times the two bytes that it may have in the file.
const TEXT: Memory = Memory { fixed: 1 << 20, for_each_byte: 400 };

/// Tensors of a PyTorch file may share their bytes four times over; each is held as it is and as the network's.
const WEIGHTS: Memory = Memory { fixed: 1 << 20, for_each_byte: 16 };

fn said<T>(outcome: brainmvp_train::Result<T>) -> Result<(), String> {
    outcome.map(drop).map_err(|error| error.to_string())
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|error| error.to_string())
}

/// The encoder of the smallest network that there is, as a file of each format, and as a checkpoint.
fn networks(folder: &Path) -> [PathBuf; 3] {
    let device = burn::tensor::Device::flex();
    let mut smallest: Option<(u64, NetworkConfig)> = None;
    let paths = ["a.pt", "a.safetensors", "checkpoint.safetensors"].map(|name| folder.join(name));
    let write = |network: &NetworkConfig| {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let encoder = network.encoder(&mut Init { device: &device, rng: &mut rng });
        let mut weights = BTreeMap::new();
        visit(&encoder, |entry, values| drop(weights.insert(format!("encoder.{}", entry.path), values)));
        let saved = SavedNetwork {
            about: About::unknown(network.clone(), Head::None),
            step: Some(7),
            weights,
            templates: None,
            unused: [].into(),
            missing: Vec::new(),
            assumed: None,
            origin: String::new(),
            folder: PathBuf::new(),
        };
        saved.write(&paths[0], Format::Pytorch).unwrap();
        saved.write(&paths[1], Format::Safetensors).unwrap();
        let state = State::new(9, About::unknown(network.clone(), Head::None));
        checkpoint::save(&paths[2], &encoder, None, &state).unwrap();
        std::fs::metadata(&paths[1]).unwrap().len()
    };
    for (name, _, network) in NetworkConfig::presets() {
        if name.contains("tiny") {
            let bytes = write(&network);
            if smallest.as_ref().is_none_or(|(fewest, _)| bytes < *fewest) {
                smallest = Some((bytes, network));
            }
        }
    }
    write(&smallest.unwrap().1);
    paths
}

/// The header of a safetensors file, and what is needed to make one of it.
fn header_of(file: &[u8]) -> Seed {
    let length = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let tensors = file[8 + length..].to_vec();
    Seed::new(&file[8..8 + length])
        .packed_by(move |header| [&(header.len() as u64).to_le_bytes()[..], &header, &tensors].concat())
}

/// One entry of a PyTorch file, and what is needed to make one of it.
fn entry_of(file: &[u8], damaged: &'static str) -> Seed {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(file)).unwrap();
    let mut entries = Vec::new();
    for place in 0..archive.len() {
        let mut entry = archive.by_index(place).unwrap();
        let name = entry.name().unwrap().into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        entries.push((name, bytes));
    }
    let seed = entries.iter().find(|(name, _)| name.ends_with(damaged)).unwrap().1.clone();
    Seed::new(seed).packed_by(move |bytes| {
        let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
        for (name, content) in &entries {
            archive.start_file(name.as_str(), options).unwrap();
            archive.write_all(if name.ends_with(damaged) { &bytes } else { content }).unwrap();
        }
        archive.finish().unwrap().into_inner()
    })
}

/// The file itself, its pickle, or what this program says of it.
#[test]
fn pytorch_files() {
    let place = Place::new("a.pt");
    let file = std::fs::read(&networks(place.folder())[0]).unwrap();
    let seeds = [Seed::new(&file[..]), entry_of(&file, "data.pkl"), entry_of(&file, "brainmvp.json")];
    fuzz("PyTorch (.pt)", &seeds, WEIGHTS, |bytes| said(SavedNetwork::open(place.holding(bytes))));
}

#[test]
fn safetensors_files() {
    let place = Place::new("b.safetensors");
    let [_, weights, of_run] = networks(place.folder()).map(|path| std::fs::read(path).unwrap());
    let seeds = [header_of(&weights), Seed::new(&weights[..]).with_numbers([(0, 8)])];
    fuzz("weights (.safetensors)", &seeds, WEIGHTS, |bytes| said(SavedNetwork::open(place.holding(bytes))));
    let seeds = [header_of(&of_run), Seed::new(&of_run[..]).with_numbers([(0, 8)])];
    fuzz("checkpoints (.safetensors)", &seeds, WEIGHTS, |bytes| {
        let path = place.holding(bytes);
        let mut opened = Checkpoint::open(path).map_err(|error| error.to_string())?;
        for name in opened.names() {
            drop(opened.tensor(&name));
        }
        said(SavedNetwork::open(path))
    });
}

#[test]
fn settings_of_runs() {
    let recipe = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name);
        Seed::new(std::fs::read(path).unwrap())
    };
    let seeds = [recipe("pretrain-paper.toml"), recipe("demo.toml"), recipe("both-stages.toml")];
    fuzz("settings of pretrain (TOML)", &seeds, TEXT, |bytes| {
        let own = Stage::Pretrain.of(text(bytes)?).map_err(|error| error.to_string())?;
        said(PretrainConfig::resolve(&own, &[]))
    });
    let seeds = [recipe("finetune-brats2018.toml"), recipe("finetune-adni.toml"), recipe("both-stages.toml")];
    fuzz("settings of finetune (TOML)", &seeds, TEXT, |bytes| {
        let own = Stage::Finetune.of(text(bytes)?).map_err(|error| error.to_string())?;
        drop((FinetuneConfig::source(&own, &[]), FinetuneConfig::kind(&own)));
        said(FinetuneConfig::resolve(&own, &[], None))
    });
    let own = "preset = \"paper\"\nregister = \"none\"\nspacing_mm = 1.5\npercentiles = [0.5, 99.5]\nskull_strip = \"none\"\n\
               bias_field = false\nintensity = \"zscore\"\ncrop = \"bounding_box\"\ndtype = \"f16\"\n";
    fuzz("settings of preprocess (TOML)", &[Seed::new(own), recipe("both-stages.toml")], TEXT, |bytes| {
        let own = Stage::Preprocess.of(text(bytes)?).map_err(|error| error.to_string())?;
        let settings: PrepSettings = toml::from_str(&own).map_err(|error| error.to_string())?;
        settings.config().map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn records_of_runs() {
    let lines = "{\"step\":1,\"epoch\":0,\"loss\":1.25,\"loss_cross\":0.5,\"lr\":0.001,\"seconds\":0.5,\"samples_per_s\":4.0,\
                 \"wait_share\":0.1,\"counts\":{\"t1\":1}}\n{\"step\":2,\"epoch\":0,\"loss\":null,\"loss_cross\":0.25,\"lr\":0.001,\
                 \"seconds\":0.5,\"samples_per_s\":4.0,\"wait_share\":0.1}\n";
    let place = Place::new("metrics.jsonl");
    fuzz("record of steps (metrics.jsonl)", &[Seed::new(lines)], TEXT, |bytes| {
        read_metrics(place.holding(bytes)).map(drop).map_err(|error| error.to_string())
    });
    let lines = "{\"step\":4,\"epoch\":1,\"best\":true,\"scores\":{\"dice\":0.5,\"loss\":null},\"seconds\":2.5}\n\
                 {\"step\":8,\"epoch\":2,\"best\":false,\"scores\":{\"dice\":0.25,\"loss\":1.0},\"seconds\":2.5}\n";
    let place = Place::new("validation.jsonl");
    fuzz("record of validations (.jsonl)", &[Seed::new(lines)], TEXT, |bytes| {
        read_lines::<ValidationMetrics>(place.holding(bytes)).map(drop).map_err(|error| error.to_string())
    });
    let place = Place::new("seen.json");
    let mut seen = Seen::nothing();
    seen.unknown = Some("weights.pt".to_owned());
    seen.save(place.folder()).unwrap();
    let seed = Seed::new(std::fs::read(place.folder().join("seen.json")).unwrap());
    fuzz("cases that were seen (seen.json)", &[seed], TEXT, |bytes| {
        place.holding(bytes);
        let read = Seen::load(place.folder()).map_err(|error| error.to_string())?;
        drop(read.as_ref().map(Seen::index));
        Ok(())
    });
}

#[test]
fn tables_of_persons() {
    let table = "data_set,subject,person\nadni,002_S_0295,p1\nadni,\"003, S\",p2\noasis, x ,p1\n";
    let place = Place::new("persons.csv");
    fuzz("tables of persons (CSV)", &[Seed::new(table)], TEXT, |bytes| {
        said(Identities::read(place.holding(bytes)))
    });
}
