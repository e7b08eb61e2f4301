//! The thread pool, which rayon keeps for the whole process.

/// Runs `work` on a thread of the pool, and waits for it.
///
/// Each operation that shares its work among threads, asked for by a thread outside the pool, wakes one inside and sleeps until that
/// has finished. A step of a small network has a thousand such operations, and they take a sixth of its time. Within `work` there
/// is nobody to wake.
///
/// `work` must not wait for other threads that need the pool: with one thread they would wait for each other.
pub fn in_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}
