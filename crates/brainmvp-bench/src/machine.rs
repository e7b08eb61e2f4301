//! The machine being measured.

use std::fmt;
use std::num::NonZero;

use serde_json::{Map, Value, json};
use sysinfo::{CpuRefreshKind, RefreshKind, System};

/// The facts that every measurement depends on.
pub struct Machine {
    cpu: String,
    cores: usize,
    threads: usize,
    /// fp32 operations per second of all threads.
    pub peak: f64,
}

impl Machine {
    /// Measures it, which takes a moment.
    pub fn measured() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            cpu: cpu(),
            cores,
            threads: rayon::current_num_threads(),
            peak: brainmvp_kernels::peak_flops(),
        }
    }

    /// The facts that accompany every measurement in JSON.
    pub fn facts(&self, precision: &str) -> Map<String, Value> {
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cpu": self.cpu,
            "cores": self.cores,
            "threads": self.threads,
            "peak_gflops": rounded(self.peak / 1e9),
            "precision": precision,
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, threads, peak } = self;
        let version = env!("CARGO_PKG_VERSION");
        let peak = peak / 1e9;
        write!(
            f,
            "brainmvp {version}, {cpu}, cores {cores}, threads {threads}, measured fp32 peak {peak:.0} GFLOP/s"
        )
    }
}

/// The name of the processor, or else its architecture.
pub fn cpu() -> String {
    let system = System::new_with_specifics(RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing()));
    let brand = system.cpus().first().map(|cpu| cpu.brand().trim().to_owned());
    brand.filter(|brand| !brand.is_empty()).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

/// Whether the processor has instructions that multiply bfloat16 numbers: for others than us, too.
pub fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found = is_x86_feature_detected!("avx512bf16");
    #[cfg(target_arch = "aarch64")]
    let found = std::arch::is_aarch64_feature_detected!("bf16");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let found = false;
    found
}

/// Rounds to four digits, more than a measurement has.
pub fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let digits = 10_f64.powi(3 - value.abs().log10().floor() as i32);
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits() {
        assert_eq!([0.0, 2.90049, -12345.6].map(rounded), [0.0, 2.9, -12350.0]);
    }
}
