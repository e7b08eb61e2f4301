//! The treatment of freed memory.

/// Tells the C library's allocator to keep freed memory instead of giving it back to the system.
///
/// The activations of a step are blocks of many megabytes. By default glibc maps each from the system and unmaps it when it
/// is freed, so every operation pays for the page faults of its output again, which in the large layers takes more time
/// than the arithmetic. It also keeps a store of freed memory for each thread, so that what one thread frees is not there for
/// another: with two threads a step takes nearly twice the memory. One store serves all. A program that trains should call this once,
/// at its start. Without glibc it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use libc::{M_ARENA_MAX, M_MMAP_MAX, M_TOP_PAD, M_TRIM_THRESHOLD, c_int, mallopt};
        let options =
            [(M_ARENA_MAX, 1), (M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, c_int::MAX), (M_TOP_PAD, 64 << 20)];
        for (option, value) in options {
            // SAFETY: `mallopt` takes two integers, changes the allocator's own settings under its lock, and refuses
            // values that it does not know.
            unsafe { mallopt(option, value) };
        }
    }
}
