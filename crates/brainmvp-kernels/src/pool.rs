//! The thread pool, which rayon keeps for the whole process.

use burn::tensor::Device;

/// Runs `work` for `device`: on a thread of the pool if the CPU computes, and waits for it; on this thread otherwise.
///
/// Each operation that shares its work among threads, asked for by a thread outside the pool, wakes one inside and sleeps until that
/// has finished. A step of a small network has a thousand such operations, and they take a sixth of its time. Within `work` there
/// is nobody to wake. A GPU has a queue for each thread that speaks to it, with memory of its own, so that threads should not take turns.
///
/// `work` must not wait for other threads that need the pool: with one thread they would wait for each other.
pub fn in_pool<T: Send>(device: &Device, work: impl FnOnce() -> T + Send) -> T {
    if device.clone().without_autodiff() == Device::flex() { rayon::scope(|_| work()) } else { work() }
}
