//! The precision of matrix products.

use std::fmt::{self, Display, Formatter};
use std::sync::atomic::{AtomicBool, Ordering};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The type of the numbers that matrix products multiply. Sums, and everything between the products, are always fp32;
/// so are the products of dense 3^3 convolutions where Winograd's way in fp32 is faster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    #[default]
    Fp32,
    /// bfloat16, eight bits of mantissa: faster on AMD processors that multiply it (Zen 4 and later), and slower on the Intel one that was tried; `bench step` measures both.
    Bf16,
}

/// The processor has no bfloat16 products (AVX-512 BF16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoBf16;

static BF16: AtomicBool = AtomicBool::new(false);

impl Display for Precision {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fp32 => "fp32",
            Self::Bf16 => "bf16",
        })
    }
}

impl Precision {
    /// Whether this machine's kernels support it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Fp32 => true,
            #[cfg(target_arch = "x86_64")]
            Self::Bf16 => is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw"),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Bf16 => false,
        }
    }
}

/// Sets the precision of all matrix products of this process on the CPU from now on.
///
/// It is a property of the process, like the instruction set: a program sets it once, before it computes.
///
/// # Errors
/// If the processor does not have it; nothing is changed then.
pub fn set_precision(precision: Precision) -> Result<(), NoBf16> {
    if !precision.is_available() {
        return Err(NoBf16);
    }
    BF16.store(precision == Precision::Bf16, Ordering::Relaxed);
    Ok(())
}

/// The precision of matrix products.
pub fn precision() -> Precision {
    if BF16.load(Ordering::Relaxed) { Precision::Bf16 } else { Precision::Fp32 }
}
