//! Vectors of floats, one type per instruction set, and the choice between them at run time.
//!
//! A kernel is written once, generic over [`Lanes`] and `#[inline(always)]`, and compiled once per instruction set
//! through a `#[target_feature]` entry made by [`dispatch!`].

use crate::{Precision, precision};

/// Floats that fit one register.
///
/// # Safety
/// The methods may only be called where the instruction set is present; pointers must be valid for `N` floats.
pub(crate) trait Lanes: Copy {
    /// How many floats.
    const N: usize;
    /// The width of the panels of a matrix product in registers: four if there are 32 registers.
    const PANEL: usize;
    /// All zero.
    #[inline(always)]
    unsafe fn zero() -> Self {
        // SAFETY: the caller has the instruction set.
        unsafe { Self::splat(0.0) }
    }
    /// All `value`.
    unsafe fn splat(value: f32) -> Self;
    /// `N` floats from memory, unaligned.
    unsafe fn load(from: *const f32) -> Self;
    /// `N` floats to memory, unaligned.
    unsafe fn store(self, to: *mut f32);
    /// `count` floats from memory, fewer than `N`, then zeros.
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        let mut values = [0.0; WIDEST_LANES];
        // SAFETY: the caller promises `count` floats; the array holds the widest lanes.
        unsafe {
            values.as_mut_ptr().copy_from_nonoverlapping(from, count);
            Self::load(values.as_ptr())
        }
    }
    /// The first `count` floats, fewer than `N`, to memory.
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        let mut values = [0.0; WIDEST_LANES];
        // SAFETY: the caller promises room for `count` floats; the array holds the widest lanes.
        unsafe {
            self.store(values.as_mut_ptr());
            to.copy_from_nonoverlapping(values.as_ptr(), count);
        }
    }
    /// `self + a b`, fused where the hardware fuses.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self - other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self * other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// The square root.
    unsafe fn sqrt(self) -> Self;
    /// The larger one; `self` if `self` is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// `self` where `decider` is below zero, else `otherwise`.
    unsafe fn where_negative(self, decider: Self, otherwise: Self) -> Self;
    /// The lowest bits of each float, plus 127, as exponent: see [`super::activation::exp`].
    unsafe fn exponent_from_low_bits(self) -> Self;
}

/// Sum of the lanes, halves added to halves.
#[inline(always)]
pub(crate) unsafe fn sum<L: Lanes>(lanes: L) -> f32 {
    let mut values = [0.0; WIDEST_LANES];
    // SAFETY: no lane type is wider than the array; the caller has the instruction set.
    unsafe { lanes.store(values.as_mut_ptr()) };
    let mut half = L::N / 2;
    while half > 0 {
        for i in 0..half {
            values[i] += values[i + half];
        }
        half /= 2;
    }
    values[0]
}

/// The first `count` lanes, or all.
#[inline(always)]
pub(crate) unsafe fn store_some<L: Lanes>(lanes: L, to: *mut f32, count: isize) {
    // SAFETY: the caller promises `count` floats.
    unsafe {
        if count >= L::N as isize {
            lanes.store(to);
        } else if count > 0 {
            lanes.store_first(to, count as usize);
        }
    }
}

/// `count` floats, then zeros.
#[inline(always)]
pub(crate) unsafe fn load_some<L: Lanes>(from: *const f32, count: isize) -> L {
    // SAFETY: the caller promises `count` floats.
    unsafe {
        if count >= L::N as isize {
            L::load(from)
        } else if count > 0 {
            L::load_first(from, count as usize)
        } else {
            L::zero()
        }
    }
}

/// The largest number of floats of any lane type.
pub(crate) const WIDEST_LANES: usize = 16;

impl InstructionSet {
    /// The number of floats in its lanes.
    pub(crate) fn lanes(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 | Self::Avx512Bf16 => 16,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => 8,
            Self::Portable => Portable::N,
        }
    }

    /// The instruction set that computes the same in fp32.
    pub(crate) fn in_fp32(self) -> Self {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => Self::Avx512,
            set => set,
        }
    }

    /// How many numbers along the depth of a matrix product a lane of its operands contains.
    pub(crate) fn depth_of_lane(self) -> usize {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16 => 2,
            _ => 1,
        }
    }
}

impl Lanes for f32 {
    const N: usize = 1;
    const PANEL: usize = 1;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises a valid pointer.
        unsafe { *from }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises a valid pointer.
        unsafe { *to = self }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        self + a * b
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self + other
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self - other
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self * other
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self / other
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
    #[inline(always)]
    unsafe fn where_negative(self, decider: Self, otherwise: Self) -> Self {
        if decider < 0.0 { self } else { otherwise }
    }
    #[inline(always)]
    unsafe fn exponent_from_low_bits(self) -> Self {
        f32::from_bits(self.to_bits().wrapping_add(127) << 23)
    }
}

/// Four floats that the compiler turns into whatever the target has (SSE2, NEON, WebAssembly).
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Lanes for Portable {
    const N: usize = 4;
    const PANEL: usize = if cfg!(target_arch = "aarch64") { 4 } else { 2 };
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 4])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises four valid floats; arrays of f32 have the alignment of f32.
        Self(unsafe { *from.cast() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises four valid floats; arrays of f32 have the alignment of f32.
        unsafe { *to.cast() = self.0 }
    }
    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| {
            // Fused where NEON has it; elsewhere `f32::mul_add` would be a library call.
            if cfg!(target_arch = "aarch64") {
                a.0[i].mul_add(b.0[i], self.0[i])
            } else {
                self.0[i] + a.0[i] * b.0[i]
            }
        }))
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if b > a { b } else { a })
    }
    #[inline(always)]
    unsafe fn where_negative(self, decider: Self, otherwise: Self) -> Self {
        Self(std::array::from_fn(|i| if decider.0[i] < 0.0 { self.0[i] } else { otherwise.0[i] }))
    }
    #[inline(always)]
    unsafe fn exponent_from_low_bits(self) -> Self {
        self.zip(self, |a, _| f32::from_bits(a.to_bits().wrapping_add(127) << 23))
    }
}

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| operation(self.0[i], other.0[i])))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Lanes;

    /// Implements [`Lanes`] for a register type by the intrinsics of its instruction set.
    macro_rules! lanes {
        ($register:ty, $n:literal, $panel:literal, $splat:ident, $load:ident, $store:ident, $fmadd:ident,
         $add:ident, $sub:ident, $mul:ident, $div:ident, $sqrt:ident, $max:ident, $select:ident,
         $to_bits:ident, $from_bits:ident, $splat_bits:ident, $add_bits:ident, $shift_bits:ident,
         $load_masked:ident, $store_masked:ident, $first:ident) => {
            // SAFETY (every block): the caller of a method promises the instruction set, and valid pointers.
            impl Lanes for $register {
                const N: usize = $n;
                const PANEL: usize = $panel;
                #[inline(always)]
                unsafe fn splat(value: f32) -> Self {
                    // SAFETY: as above.
                    unsafe { $splat(value) }
                }
                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: as above.
                    unsafe { $load(from) }
                }
                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: as above.
                    unsafe { $store(to, self) }
                }
                #[inline(always)]
                unsafe fn load_first(from: *const f32, count: usize) -> Self {
                    // SAFETY: as above; what the mask leaves out is not read.
                    unsafe { $load_masked($first(count), from) }
                }
                #[inline(always)]
                unsafe fn store_first(self, to: *mut f32, count: usize) {
                    // SAFETY: as above; what the mask leaves out is not written.
                    unsafe { $store_masked(to, $first(count), self) }
                }
                #[inline(always)]
                unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $fmadd(a, b, self) }
                }
                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $add(self, other) }
                }
                #[inline(always)]
                unsafe fn sub(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $sub(self, other) }
                }
                #[inline(always)]
                unsafe fn mul(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $mul(self, other) }
                }
                #[inline(always)]
                unsafe fn div(self, other: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $div(self, other) }
                }
                #[inline(always)]
                unsafe fn sqrt(self) -> Self {
                    // SAFETY: as above.
                    unsafe { $sqrt(self) }
                }
                #[inline(always)]
                unsafe fn max(self, other: Self) -> Self {
                    // The instruction gives its second operand where one is not a number.
                    // SAFETY: as above.
                    unsafe { $max(other, self) }
                }
                #[inline(always)]
                unsafe fn where_negative(self, decider: Self, otherwise: Self) -> Self {
                    // SAFETY: as above.
                    unsafe { $select(decider, self, otherwise) }
                }
                #[inline(always)]
                unsafe fn exponent_from_low_bits(self) -> Self {
                    // SAFETY: as above.
                    unsafe { $from_bits($shift_bits::<23>($add_bits($to_bits(self), $splat_bits(127)))) }
                }
            }
        };
    }

    #[inline(always)]
    unsafe fn select_512(decider: __m512, negative: __m512, otherwise: __m512) -> __m512 {
        // SAFETY: the caller promises AVX-512.
        unsafe {
            let mask = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(decider, _mm512_setzero_ps());
            _mm512_mask_blend_ps(mask, otherwise, negative)
        }
    }

    #[inline(always)]
    unsafe fn select_256(decider: __m256, negative: __m256, otherwise: __m256) -> __m256 {
        // SAFETY: the caller promises AVX2.
        unsafe {
            let mask = _mm256_cmp_ps::<_CMP_LT_OQ>(decider, _mm256_setzero_ps());
            _mm256_blendv_ps(otherwise, negative, mask)
        }
    }

    /// The mask of the first `count` lanes.
    #[inline(always)]
    fn first_512(count: usize) -> __mmask16 {
        ((1_u32 << count) - 1) as __mmask16
    }

    /// The mask of the first `count` lanes.
    #[inline(always)]
    unsafe fn first_256(count: usize) -> __m256i {
        // SAFETY: the caller promises AVX2.
        unsafe {
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
        }
    }

    #[inline(always)]
    unsafe fn load_masked_256(mask: __m256i, from: *const f32) -> __m256 {
        // SAFETY: the caller promises AVX2 and the floats.
        unsafe { _mm256_maskload_ps(from, mask) }
    }

    lanes! {
        __m512, 16, 4, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps,
        _mm512_add_ps, _mm512_sub_ps, _mm512_mul_ps, _mm512_div_ps, _mm512_sqrt_ps, _mm512_max_ps, select_512,
        _mm512_castps_si512, _mm512_castsi512_ps, _mm512_set1_epi32, _mm512_add_epi32, _mm512_slli_epi32,
        _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps, first_512
    }

    lanes! {
        __m256, 8, 2, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps,
        _mm256_add_ps, _mm256_sub_ps, _mm256_mul_ps, _mm256_div_ps, _mm256_sqrt_ps, _mm256_max_ps, select_256,
        _mm256_castps_si256, _mm256_castsi256_ps, _mm256_set1_epi32, _mm256_add_epi32, _mm256_slli_epi32,
        load_masked_256, _mm256_maskstore_ps, first_256
    }
}

/// An instruction set that this build has kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    /// As `Avx512`, but matrix products multiply bfloat16 numbers.
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    /// The widest instruction set of this machine, in the precision that was set. The standard library caches the
    /// detection.
    pub(crate) fn detect() -> Self {
        #[cfg(test)]
        if let Some(set) = CHOSEN.get() {
            return set;
        }
        #[cfg(target_arch = "x86_64")]
        {
            if precision() == Precision::Bf16 {
                return Self::Avx512Bf16;
            }
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Runs a test with this instruction set in place of the detected one. Kernels ask once, on the calling thread.
    #[cfg(test)]
    pub(crate) fn run<T>(self, test: impl FnOnce() -> T) -> T {
        CHOSEN.set(Some(self));
        let result = test();
        CHOSEN.set(None);
        result
    }

    /// Every instruction set of this machine that computes in fp32, for tests.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut sets = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(Self::Avx2);
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(Self::Avx512);
            }
        }
        sets
    }

    /// Every instruction set that multiplies matrices, for tests.
    #[cfg(test)]
    pub(crate) fn available_for_products() -> Vec<Self> {
        #[cfg_attr(not(target_arch = "x86_64"), expect(unused_mut))]
        let mut sets = Self::available();
        #[cfg(target_arch = "x86_64")]
        if Precision::Bf16.is_available() {
            sets.push(Self::Avx512Bf16);
        }
        sets
    }
}

#[cfg(test)]
thread_local! {
    /// The instruction set that a test runs with.
    static CHOSEN: std::cell::Cell<Option<InstructionSet>> = const { std::cell::Cell::new(None) };
}

/// Defines `$name`, which runs the generic kernel `$generic::<L, ..>` compiled for a given instruction set.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $($rest:tt)*) => {
        $crate::cpu::simd::dispatch! { @define [pub(crate)] $(#[$doc])* fn $($rest)* }
    };
    ($(#[$doc:meta])* unsafe fn $($rest:tt)*) => {
        $crate::cpu::simd::dispatch! { @define [pub(crate) unsafe] $(#[$doc])* fn $($rest)* }
    };
    (
        @define [$($qualifiers:tt)*] $(#[$doc:meta])*
        fn $name:ident$(<const $k:ident: usize>)?($($arg:ident: $ty:ty),* $(,)?) = $generic:ident
    ) => {
        $(#[$doc])*
        $($qualifiers)* fn $name$(<const $k: usize>)?(
            set: $crate::cpu::simd::InstructionSet, $($arg: $ty),*
        ) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512$(<const $k: usize>)?($($arg: $ty),*) {
                // SAFETY: this function is only entered where AVX-512 is present.
                unsafe { $generic::<std::arch::x86_64::__m512 $(, $k)?>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2$(<const $k: usize>)?($($arg: $ty),*) {
                // SAFETY: this function is only entered where AVX2 and FMA are present.
                unsafe { $generic::<std::arch::x86_64::__m256 $(, $k)?>($($arg),*) }
            }
            match set {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected on this machine; pointers are the caller's promise.
                $crate::cpu::simd::InstructionSet::Avx512 | $crate::cpu::simd::InstructionSet::Avx512Bf16 => unsafe { avx512$(::<$k>)?($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected on this machine; pointers are the caller's promise.
                $crate::cpu::simd::InstructionSet::Avx2 => unsafe { avx2$(::<$k>)?($($arg),*) },
                // SAFETY: the portable lanes need nothing; pointers are the caller's promise.
                $crate::cpu::simd::InstructionSet::Portable => unsafe {
                    $generic::<$crate::cpu::simd::Portable $(, $k)?>($($arg),*)
                },
            }
        }
    };
}
pub(crate) use dispatch;
