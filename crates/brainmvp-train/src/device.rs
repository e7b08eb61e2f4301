//! The devices for tensors.

use brainmvp_kernels::{NoBf16, Precision};
use burn::tensor::Device;

use crate::{Error, Result};

/// The names that [`device`] accepts, and the feature that each needs (none: always available).
pub const DEVICES: [(&str, Option<&str>); 3] =
    [("cpu", None), ("vulkan", Some("vulkan")), ("wgpu", Some("wgpu"))];

/// Sets the precision of matrix products, for the whole process.
///
/// # Errors
/// If the device or the processor does not have it.
pub fn set_precision(precision: Precision, device: &str) -> Result<()> {
    if precision != Precision::Fp32 && device != "cpu" {
        let reason = format!("train.precision is a setting of the CPU's kernels; on {device} use fp32");
        return Err(Error::Config(reason));
    }
    brainmvp_kernels::set_precision(precision).map_err(|NoBf16| {
        let reason = "train.precision: this processor has no bf16 products (AVX-512 BF16); use fp32";
        Error::Config(reason.to_owned())
    })
}

/// The device called `name`, without autodiff.
///
/// # Errors
/// If there is no such name, this build does not have it, or this machine has none.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => gpu::vulkan(),
        #[cfg(feature = "wgpu")]
        "wgpu" => gpu::wgpu(),
        _ => Err(Error::Device { name: name.to_owned(), reason: why_not(name) }),
    }
}

/// GPUs, each looked for once: Burn begins a runtime once in a process.
#[cfg(feature = "wgpu")]
mod gpu {
    use std::sync::OnceLock;

    use burn::tensor::Device;
    use burn::tensor::wgpu::WgpuBackend;

    use crate::{Error, Result};

    type Found = OnceLock<std::result::Result<Device, String>>;

    /// By the interface that the system has: Vulkan, Metal or DirectX.
    pub(super) fn wgpu() -> Result<Device> {
        static FOUND: Found = OnceLock::new();
        find(&FOUND, "wgpu", WgpuBackend::Auto)
    }

    #[cfg(feature = "vulkan")]
    pub(super) fn vulkan() -> Result<Device> {
        static FOUND: Found = OnceLock::new();
        find(&FOUND, "vulkan", WgpuBackend::Vulkan)
    }

    fn find(found: &Found, name: &str, api: WgpuBackend) -> Result<Device> {
        let look = || Device::wgpu_options().graphics_api(api).init().map_err(|error| error.to_string());
        let no_device = |reason| Error::Device { name: name.to_owned(), reason };
        found.get_or_init(look).clone().map_err(no_device)
    }
}

fn why_not(name: &str) -> String {
    match DEVICES.iter().find(|(known, _)| *known == name) {
        Some((_, Some(feature))) => {
            format!("this build does not support it; build with `cargo build --release --features {feature}`")
        }
        _ => format!("unknown; choose from {}", DEVICES.map(|(known, _)| known).join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_is_always_there_and_others_say_why_not() {
        assert!(device("cpu").is_ok());
        assert!(device("abacus").unwrap_err().to_string().contains("choose from cpu"));
        #[cfg(not(feature = "vulkan"))]
        assert!(device("vulkan").unwrap_err().to_string().contains("--features vulkan"));
    }
}
