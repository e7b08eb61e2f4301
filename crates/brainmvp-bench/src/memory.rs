//! The memory of this process.

/// Resident bytes, as the system counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Now.
    pub now_bytes: u64,
    /// The most so far.
    pub peak_bytes: u64,
}

impl Memory {
    /// That of this process; `None` on systems other than Linux.
    pub fn of_this_process() -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let bytes = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key))?;
            let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
            Some(kilobytes * 1024)
        };
        let now_bytes = bytes("VmRSS:")?;
        // The system updates the peak later than the present value.
        Some(Self { now_bytes, peak_bytes: bytes("VmHWM:")?.max(now_bytes) })
    }

    /// The most that this process has had so far.
    pub fn peak_of_this_process() -> Option<u64> {
        Some(Self::of_this_process()?.peak_bytes)
    }
}

/// The free memory of the machine or of the container that the program runs in, in bytes, if it is known.
pub fn free_memory() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    let machine = Some(system.available_memory()).filter(|free| *free > 0);
    let container = system.cgroup_limits().map(|limits| limits.free_memory).filter(|free| *free > 0);
    machine.into_iter().chain(container).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_stays() {
        let before = Memory::of_this_process().unwrap().peak_bytes;
        drop(std::hint::black_box(vec![1_u8; 64 << 20]));
        let after = Memory::of_this_process().unwrap();
        assert!(after.peak_bytes >= before.max(64 << 20) && after.now_bytes <= after.peak_bytes);
    }
}
