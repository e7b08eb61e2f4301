//! Where tensors live.

use brainmvp_kernels::{NoBf16, Precision};
use burn::tensor::Device;

use crate::{Error, Result};

/// The names that [`device`] takes, and the feature that each needs (none: always there).
pub const DEVICES: [(&str, Option<&str>); 6] = [
    ("cpu", None),
    ("vulkan", Some("vulkan")),
    ("wgpu", Some("wgpu")),
    ("metal", Some("metal")),
    ("cuda", Some("cuda")),
    ("rocm", Some("rocm")),
];

/// Sets what matrix products multiply, for the whole process.
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
/// If there is no such name, or this build does not have it.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "vulkan")]
        "vulkan" => Ok(Device::vulkan(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "metal")]
        "metal" => Ok(Device::metal(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        #[cfg(feature = "rocm")]
        "rocm" => Ok(Device::rocm(0)),
        _ => Err(Error::Device { name: name.to_owned(), reason: why_not(name) }),
    }
}

fn why_not(name: &str) -> String {
    match DEVICES.iter().find(|(known, _)| *known == name) {
        Some((_, Some(feature))) => {
            format!("this build does not have it; build with `cargo build --release --features {feature}`")
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
        #[cfg(not(feature = "rocm"))]
        assert!(device("rocm").unwrap_err().to_string().contains("--features rocm"));
    }
}
