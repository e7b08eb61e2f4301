//! A folder with some of everything, and a server that shows it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use brainmvp_cohort::Cohort;
use brainmvp_phantom::{Disease, DiseaseMix, PhantomConfig, write_cohort};
use brainmvp_prep::cache::PreparedCase;
use brainmvp_prep::{CropKind, PrepConfig, RunOptions, preprocess};
use brainmvp_view::{Options, Server};
use brainmvp_volume::{Modality, nifti};
use serde_json::Value;

/// How many cases the folder has; the last is quarantined.
pub(crate) const CASES: usize = 3;

/// The servers of tests run until the process ends.
static STOP: AtomicBool = AtomicBool::new(false);

pub(crate) struct Place {
    folder: Option<tempfile::TempDir>,
    pub(crate) port: u16,
    pub(crate) token: String,
}

impl Place {
    /// A cohort of phantoms, their cache, predictions with scores, and a run.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cohort = phantoms(&folder.path().join("phantoms"));
        prepare(&cohort, &folder.path().join("cache"));
        predict(&cohort, &folder.path().join("predicted"));
        let run = folder.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::write(run.join("config.toml"), "[task]\nkind = \"segment\"\n[train]\nsteps = 3\n").unwrap();
        let lines = "{\"step\":1,\"loss\":3.0}\n{\"step\":2,\"loss\":2.0}\n";
        std::fs::write(run.join("metrics.jsonl"), lines).unwrap();
        let paths = [folder.path().to_owned()];
        Self { folder: Some(folder), ..Self::of(&paths) }
    }

    /// A server of these paths.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let server = Server::open(Options { paths: paths.to_vec(), port: 0 }).unwrap();
        assert_eq!(server.problems(), Vec::<String>::new());
        let address = server.address().strip_prefix("http://127.0.0.1:").unwrap();
        let (port, token) = address.trim_end_matches('/').split_once('/').unwrap();
        let (port, token) = (port.parse().unwrap(), token.to_owned());
        std::thread::spawn(move || server.run(&STOP));
        Self { folder: None, port, token }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.as_ref().unwrap().path().join(name)
    }

    pub(crate) fn append(&self, name: &str, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn get(&self, name: &str) -> Answer {
        self.get_with(name, &[])
    }

    pub(crate) fn get_with(&self, name: &str, headers: &[(&str, &str)]) -> Answer {
        self.raw("GET", &format!("/{}/{name}", self.token), headers)
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        let answer = self.get(name);
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// A case by its place in the list, with its name as `id`.
    pub(crate) fn case(&self, row: usize) -> Value {
        let number = &self.json("api/cases")["cases"][row]["number"];
        let mut answer = self.json(&format!("api/cases/{number}"));
        let id = answer["id"].take();
        let mut case = answer["case"].take();
        case["id"] = id;
        case
    }

    /// The file of an original image.
    pub(crate) fn original(&self, case: usize) -> PathBuf {
        let cohort = Cohort::load(&self.path("phantoms/cohort.json")).unwrap();
        cohort.cases[case].images.values().next().unwrap().clone()
    }

    pub(crate) fn prepared(&self, id: &str) -> PreparedCase {
        PreparedCase::open(self.path(&format!("cache/{id}.safetensors"))).unwrap()
    }

    pub(crate) fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.with_host(method, path, &format!("127.0.0.1:{}", self.port), headers)
    }

    /// Sends a request as it is, and reads until the end of the connection.
    pub(crate) fn with_host(&self, method: &str, path: &str, host: &str, headers: &[(&str, &str)]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.extend([*name, ": ", *value, "\r\n"]);
        }
        stream.write_all((request + "\r\n").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let mut body = bytes.split_off(end + 4);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers: Vec<_> =
            headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        if headers.iter().any(|(name, _)| name == "transfer-encoding") {
            body = joined(&body);
        }
        Answer { status, headers, body }
    }
}

/// The body of an answer that was sent in chunks.
fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
        let length = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        body.extend(&rest[end + 2..][..length]);
        rest = &rest[end + 4 + length..];
    }
    body
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// A header, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// The name of a case of [`Place::case`].
pub(crate) fn id(case: &Value) -> &str {
    case["id"].as_str().unwrap()
}

/// The address of the first volume of a stage that has a role.
pub(crate) fn volume(case: &Value, stage: &str, role: &str) -> String {
    let groups = case["groups"].as_array().unwrap().iter().filter(|group| group["stage"] == stage);
    let mut volumes = groups.flat_map(|group| group["volumes"].as_array().unwrap());
    volumes.find(|volume| volume["role"] == role).unwrap()["address"].as_str().unwrap().to_owned()
}

fn phantoms(folder: &Path) -> Cohort {
    let config = PhantomConfig {
        cases: CASES,
        size: 32,
        missing_rate: 0.0,
        modalities: vec![Modality::T1, Modality::Flair],
        lesions: DiseaseMix::only(Disease::Glioma),
        ..PhantomConfig::default()
    };
    write_cohort(&config, folder, &|_| {}).unwrap()
}

fn prepare(cohort: &Cohort, folder: &Path) {
    let config = PrepConfig { spacing_mm: [6.0; 3], crop: CropKind::None, ..PrepConfig::default() };
    let options = RunOptions { memory_bytes: 1 << 30, force: false, stop: &AtomicBool::new(false) };
    let summary = preprocess(cohort, folder, &config, &options, &|_| {}).unwrap();
    assert_eq!(summary.quarantined, []);
}

/// Predictions that find the lower half of what is labelled. Two of the files that the record names are not in the folder.
fn predict(cohort: &Cohort, folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    let secret = folder.parent().unwrap().join("secret.nii.gz");
    let (mut cases, mut scores) = (serde_json::Map::new(), Vec::new());
    for case in &cohort.cases {
        let mut labels = nifti::read_labels(case.label.as_ref().unwrap()).unwrap();
        let half = labels.voxels().iter().filter(|label| **label > 0).count() / 2;
        let labelled = labels.voxels_mut().iter_mut().filter(|label| **label > 0);
        labelled.skip(half).for_each(|label| *label = 0);
        let name = format!("{}.nii.gz", case.id);
        nifti::write_labels(&folder.join(&name), &labels, "").unwrap();
        nifti::write_labels(&secret, &labels, "").unwrap();
        let probabilities = serde_json::json!({ "secret": "secret.nii.gz", "above": "../secret.nii.gz" });
        cases.insert(
            case.id.to_string(),
            serde_json::json!({ "label_map": name, "probabilities": probabilities, "seconds": 1.0 }),
        );
        scores.push(serde_json::json!({ "case": case.id, "region": "WT", "values": { "dice": 0.25 } }));
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(&secret, folder.join("secret.nii.gz")).unwrap();
    let last = cohort.cases.last().unwrap().id.to_string();
    let record = serde_json::json!({ "settings": { "model": "run", "step": 3 }, "cases": cases });
    std::fs::write(folder.join("predictions.json"), record.to_string()).unwrap();
    let evaluated = serde_json::json!({ "scores": scores, "quarantined": { last: "its label is empty" } });
    std::fs::write(folder.join("metrics.json"), evaluated.to_string()).unwrap();
}
