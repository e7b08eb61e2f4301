//! A memory budget shared by all cases.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Lets cases start as long as their estimated bytes fit a budget. A case that is larger than the whole budget runs
/// alone, so that every case can run.
#[derive(Debug)]
pub struct MemoryGate {
    budget_bytes: u64,
    used_bytes: Mutex<u64>,
    freed: Condvar,
}

/// Bytes in use until it is dropped.
#[derive(Debug)]
pub struct Permit<'a> {
    gate: &'a MemoryGate,
    bytes: u64,
}

impl MemoryGate {
    /// A gate with nothing in use.
    pub fn new(budget_bytes: u64) -> Self {
        Self { budget_bytes, used_bytes: Mutex::new(0), freed: Condvar::new() }
    }

    /// Waits until `bytes` fit the budget, or nothing is in use.
    pub fn acquire(&self, bytes: u64) -> Permit<'_> {
        let full = |used: &mut u64| *used > 0 && used.saturating_add(bytes) > self.budget_bytes;
        let used = self.freed.wait_while(self.lock(), full);
        let mut used = used.unwrap_or_else(PoisonError::into_inner);
        *used = used.saturating_add(bytes);
        Permit { gate: self, bytes }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        // A number cannot be left half changed, so a panic elsewhere does no harm.
        self.used_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut used = self.gate.lock();
        *used = used.saturating_sub(self.bytes);
        self.gate.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_budget_is_never_exceeded_but_by_a_case_alone(
            budget in 1_u64..100,
            sizes in prop::collection::vec(0_u64..150, 1..40),
        ) {
            let gate = MemoryGate::new(budget);
            let (bytes, running, next) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
            let bad = AtomicU64::new(0);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        while let Some(&size) = sizes.get(next.fetch_add(1, Ordering::SeqCst) as usize) {
                            let permit = gate.acquire(size);
                            let others = running.fetch_add(u64::from(size > 0), Ordering::SeqCst);
                            let total = bytes.fetch_add(size, Ordering::SeqCst) + size;
                            if total > budget && others > 0 && size > 0 {
                                bad.fetch_add(1, Ordering::SeqCst);
                            }
                            std::thread::yield_now();
                            bytes.fetch_sub(size, Ordering::SeqCst);
                            running.fetch_sub(u64::from(size > 0), Ordering::SeqCst);
                            drop(permit);
                        }
                    });
                }
            });
            prop_assert_eq!(bad.into_inner(), 0);
            prop_assert_eq!(*gate.lock(), 0);
        }
    }
}
