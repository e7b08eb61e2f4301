//! For tests only: reads damaged files, many of them, and holds each reading to the same rules.
//!
//! [`fuzz`] damages valid files in seeded ways and gives them to a reader. Whatever the file is, the reader must not panic, must
//! end within a second, and must not take more memory than its rule allows for a file of that length. `BRAINMVP_FUZZ` says how
//! many executions a reader gets; execution `n` of a reader is the same in every run.
//!
//! A test binary counts its memory by having
//!
//! ```
//! #[global_allocator]
//! static MEMORY: brainmvp_fuzz::Counting = brainmvp_fuzz::Counting;
//! ```

mod memory;
mod mutate;
mod random;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

pub use memory::Counting;
use mutate::mutated;
use random::Random;

/// Longer than any reading of a small file takes, by far.
const LONGEST: Duration = Duration::from_secs(1);

/// Executions of a reader if `BRAINMVP_FUZZ` does not say how many.
const EXECUTIONS: u64 = 2000;

/// So many different faults of a reader are told.
const MOST_FAULTS: usize = 8;

/// One reader at a time: memory is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// A valid file, as something that can be damaged.
pub struct Seed {
    /// What is damaged.
    bytes: Vec<u8>,
    /// Where its numbers are: first byte and width.
    numbers: Vec<(usize, usize)>,
    /// Makes the file of the damaged bytes, if they are only its inside.
    pack: Box<dyn Fn(Vec<u8>) -> Vec<u8>>,
}

impl Seed {
    /// A file whose own bytes are damaged.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), numbers: Vec::new(), pack: Box::new(|bytes| bytes) }
    }

    /// Where the numbers of a header are: first byte and width of each. They are damaged more often than others.
    pub fn with_numbers(mut self, numbers: impl IntoIterator<Item = (usize, usize)>) -> Self {
        self.numbers.extend(numbers);
        self
    }

    /// The bytes are the inside of a file, which this makes of them: what is damaged is then packed in a valid way.
    pub fn packed_by(mut self, pack: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Self {
        self.pack = Box::new(pack);
        self
    }
}

/// A file in memory, if the system has a place for that, that is written again and again.
pub struct Place {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl Place {
    /// A file of this name in a folder of its own.
    ///
    /// # Panics
    /// If there is no folder for temporary files.
    #[expect(clippy::expect_used, reason = "that is how a test fails")]
    pub fn new(name: &str) -> Self {
        let in_memory = tempfile::Builder::new().prefix("brainmvp-fuzz").tempdir_in("/dev/shm");
        let folder = in_memory.or_else(|_| tempfile::tempdir()).expect("a folder for temporary files");
        let path = folder.path().join(name);
        Self { folder, path }
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file, which now has this content.
    ///
    /// # Panics
    /// If it cannot be written.
    #[expect(clippy::expect_used, reason = "that is how a test fails")]
    pub fn holding(&self, bytes: &[u8]) -> &Path {
        std::fs::write(&self.path, bytes).expect("a file that can be written");
        &self.path
    }
}

/// How much memory a reading may take: so many bytes, and so many for each byte of the file.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// For any file.
    pub fixed: usize,
    /// For each byte of it.
    pub for_each_byte: usize,
}

impl Memory {
    fn of(self, length: usize) -> usize {
        self.fixed + self.for_each_byte * length
    }
}

/// Damages `seeds` and has them read. The reader says what is wrong with a file that it refuses; the seeds themselves it must
/// accept.
///
/// # Panics
/// If a reading breaks a rule: the faults are listed, each with a file that shows it.
pub fn fuzz(name: &str, seeds: &[Seed], memory: Memory, read: impl Fn(&[u8]) -> Result<(), String>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    memory::assert_counted();
    // What is made once, such as threads and tables of words, is made here.
    for seed in seeds {
        if let Err(message) = read(&(seed.pack)(seed.bytes.clone())) {
            panic!("{name}: a valid file is refused: {message}");
        }
    }
    let executions = executions();
    let mut course = Course::default();
    let watch = watch::Watch::over(name);
    for execution in 0..executions {
        let mut random = Random::new(name, execution);
        let chosen = random.below(seeds.len());
        let file = (seeds[chosen].pack)(mutated(seeds, chosen, &mut random));
        if let Some(fault) = course.execution(&file, memory, || watch.caught(execution, || read(&file))) {
            course.faults.entry(fault).or_insert((execution, file));
            if course.faults.len() == MOST_FAULTS || course.slowest > LONGEST {
                break;
            }
        }
    }
    drop(watch);
    course.tell(name);
}

/// The most memory that something holds at a time, in bytes; nothing else may run meanwhile that [`fuzz`] knows of.
pub fn memory_of(run: impl FnOnce()) -> usize {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    memory::assert_counted();
    let before = memory::mark();
    run();
    memory::peak().saturating_sub(before)
}

/// How many executions each reader gets.
fn executions() -> u64 {
    std::env::var("BRAINMVP_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(EXECUTIONS)
}

/// What came out so far.
#[derive(Default)]
struct Course {
    executions: u64,
    accepted: u64,
    slowest: Duration,
    largest: usize,
    /// Each fault with the first execution and file that had it.
    faults: BTreeMap<String, (u64, Vec<u8>)>,
}

impl Course {
    /// Reads a file; what is wrong with how it was read.
    fn execution(
        &mut self,
        file: &[u8],
        memory: Memory,
        read: impl Fn() -> Result<Result<(), String>, String>,
    ) -> Option<String> {
        let once = || {
            let (begin, before) = (Instant::now(), memory::mark());
            let outcome = read();
            (outcome, begin.elapsed(), memory::peak().saturating_sub(before))
        };
        let (outcome, mut took, mut taken) = once();
        let allowed = memory.of(file.len());
        if took > LONGEST || taken > allowed {
            // The machine may have been busy, and tables for regular expressions grow now and then: not for the same file again.
            let (_, again, less) = once();
            (took, taken) = (took.min(again), taken.min(less));
        }
        self.executions += 1;
        self.slowest = self.slowest.max(took);
        self.largest = self.largest.max(taken);
        match outcome {
            Err(panic) => return Some(format!("panic: {panic}")),
            Ok(Ok(())) => self.accepted += 1,
            Ok(Err(message)) if message.trim().is_empty() => {
                return Some("an error without words".to_owned());
            }
            Ok(Err(_)) => {}
        }
        if took > LONGEST {
            return Some("takes more than a second".to_owned());
        }
        (taken > allowed).then(|| format!("more memory than {memory:?}"))
    }

    /// Prints a line, and fails if there were faults.
    #[expect(clippy::print_stderr, reason = "scripts/fuzz.sh makes a table of it")]
    fn tell(self, name: &str) {
        let Self { executions, accepted, slowest, largest, faults } = self;
        eprintln!(
            "fuzz | {name} | {executions} | {accepted} | {} ms | {} KiB | {}",
            slowest.as_millis(),
            largest >> 10,
            if faults.is_empty() { "passed".to_owned() } else { format!("{} faults", faults.len()) }
        );
        let mut told = Vec::new();
        for (fault, (execution, file)) in faults {
            let plain: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
            let path = std::env::temp_dir().join(format!("brainmvp-fuzz-{plain}-{execution}"));
            let kept =
                std::fs::write(&path, &file).map_or_else(|e| e.to_string(), |()| path.display().to_string());
            told.push(format!("execution {execution}: {fault} ({} bytes: {kept})", file.len()));
        }
        assert!(told.is_empty(), "{name}:\n{}", told.join("\n"));
    }
}

#[cfg(test)]
mod tests;
