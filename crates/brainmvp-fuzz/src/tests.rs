//! The rules find what breaks them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;

#[global_allocator]
static MEMORY: Counting = Counting;

const LITTLE: Memory = Memory { fixed: 1 << 12, for_each_byte: 2 };

fn faults_of(name: &str, read: impl Fn(&[u8]) -> Result<(), String>) -> String {
    let seeds =
        [Seed::new(&b"count: 12\nname: x\n"[..]), Seed::new([7, 0, 0, 0, 1, 2, 3, 4]).with_numbers([(0, 4)])];
    let caught = catch_unwind(AssertUnwindSafe(|| fuzz(name, &seeds, LITTLE, read)));
    let message =
        caught.map_err(|payload| payload.downcast_ref::<String>().cloned().unwrap_or_default()).unwrap_err();
    for path in message.split(&['(', ' ', ')'][..]).filter(|word| word.contains("brainmvp-fuzz-")) {
        std::fs::remove_file(path).unwrap();
    }
    message
}

#[test]
fn a_panic_is_found() {
    let message = faults_of("panics", |bytes| {
        assert!(!bytes.is_empty(), "an empty file");
        Ok(())
    });
    assert!(message.contains("an empty file at ") && message.contains("tests.rs"), "{message}");
}

#[test]
fn memory_that_a_header_claims_is_found() {
    let message = faults_of("trusts", |bytes| {
        let length = bytes.first_chunk().map_or(0, |first| u32::from_le_bytes(*first));
        let reserved: Vec<u8> = Vec::with_capacity(if bytes.starts_with(b"c") { 0 } else { length as usize });
        drop(std::hint::black_box(reserved));
        Ok(())
    });
    assert!(message.contains("more memory than"), "{message}");
}

#[test]
fn time_without_end_is_found() {
    let message = faults_of("sleeps", |bytes| {
        if bytes.windows(2).any(|pair| pair == b"[[") && bytes.len() > 30_000 {
            std::thread::sleep(LONGEST + Duration::from_millis(10));
        }
        Ok(())
    });
    assert!(message.contains("more than a second"), "{message}");
}

#[test]
fn a_valid_file_must_be_accepted() {
    let message = faults_of("refuses", |_| Err("no".to_owned()));
    assert!(message.contains("refuses: a valid file is refused: no"), "{message}");
}

#[test]
fn executions_are_the_same_in_every_run() {
    let seeds = [Seed::new(&b"a: 1\nb: [2, 3]\n"[..]), Seed::new(vec![0; 40])];
    let files = || {
        (0..500)
            .map(|execution| mutated(&seeds, execution % 2, &mut Random::new("same", execution as u64)))
            .collect::<Vec<_>>()
    };
    let made = files();
    assert_eq!(made, files());
    let different: std::collections::BTreeSet<_> = made.iter().collect();
    assert!(different.len() > 300, "{} of 500 files are different", different.len());
}
