//! Running the program in a folder of its own.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use tempfile::TempDir;

/// A folder in which commands run.
pub(crate) struct Place {
    folder: PathBuf,
    /// Gone at the end of the test.
    _temporary: Option<TempDir>,
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// One that is gone at the end of the test.
    pub(crate) fn new() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        Self { folder: temporary.path().to_owned(), _temporary: Some(temporary) }
    }

    /// One for a static, which nothing drops: in the build folder, where the next run of the tests empties it.
    pub(crate) fn of_all_tests(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, _temporary: None }
    }

    /// A place with a small phantom cohort in `phantom/`.
    pub(crate) fn with_phantom(cases: usize) -> Self {
        let place = Self::new();
        let cases = cases.to_string();
        let options = ["--size", "32", "--missing-rate", "0.1", "--sites", "2", "--quiet"];
        place.run(&[&["phantom", "--out", "phantom", "--cases", &cases], &options[..]].concat()).succeeds();
        place
    }

    /// A place with a cache of six small phantoms with gliomas.
    pub(crate) fn with_gliomas() -> Self {
        let place = Self::new();
        let phantom = ["phantom", "--out", "phantom", "--cases", "6", "--size", "32", "--lesions", "glioma"];
        place.run(&[&phantom[..], &["--modalities", "flair,t1c", "--quiet"]].concat()).succeeds();
        let cache = ["preprocess", "phantom/cohort.json", "--out", "cache", "--spacing", "6", "--quiet"];
        place.run(&cache).succeeds();
        place
    }

    /// A path below the place.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn json(&self, name: &str) -> serde_json::Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    /// Runs `brainmvp` with these arguments in the place.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    /// Runs it with more in its environment.
    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        self.run_at("", arguments, environment)
    }

    /// Runs it in a folder of the place.
    pub(crate) fn run_in(&self, folder: &str, arguments: &[&str]) -> Ended {
        self.run_at(folder, arguments, &[])
    }

    fn run_at(&self, folder: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
        let mut command = Command::cargo_bin("brainmvp").unwrap();
        command.current_dir(self.path(folder)).args(arguments).envs(environment.iter().copied());
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let code = output.status.code().unwrap();
        Ended { code, stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Ended {
    #[track_caller]
    pub(crate) fn succeeds(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// Ends with `code` and says so in one or two lines, the first of which has all the words.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        let lines: Vec<_> = self.stderr.lines().skip_while(|line| !line.starts_with("error: ")).collect();
        assert!((1..=2).contains(&lines.len()), "{self:#?}");
        assert!(lines.get(1).is_none_or(|line| line.starts_with("hint: ")), "{self:#?}");
        for word in words {
            assert!(lines[0].contains(word), "'{word}' is missing: {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn prints(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stdout.contains(word), "'{word}' is missing: {self:#?}");
        }
        self
    }

    #[track_caller]
    pub(crate) fn notes(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "'{word}' is missing: {self:#?}");
        }
        self
    }
}
