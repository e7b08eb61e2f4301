//! Vectors of floats, one type per instruction set, and the choice between them at run time.
//!
//! A kernel is written once, generic over [`Lanes`] and `#[inline(always)]`, and compiled once per instruction set
//! through a `#[target_feature]` entry made by [`dispatch!`].

/// Some floats that fit one register.
///
/// # Safety
/// The methods may only be called where the instruction set is present; pointers must be valid for `N` floats.
pub(crate) trait Lanes: Copy {
    /// How many floats.
    const N: usize;
    /// All zero.
    unsafe fn zero() -> Self;
    /// `N` floats from memory, unaligned.
    unsafe fn load(from: *const f32) -> Self;
    /// `N` floats to memory, unaligned.
    unsafe fn store(self, to: *mut f32);
    /// `self + a b`, fused where the hardware fuses.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;
}

impl Lanes for f32 {
    const N: usize = 1;
    #[inline(always)]
    unsafe fn zero() -> Self {
        0.0
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
}

/// Four floats that the compiler turns into whatever the target has (SSE2, NEON, WebAssembly).
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 4]);

impl Lanes for Portable {
    const N: usize = 4;
    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; 4])
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
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, __m512, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    use super::Lanes;

    impl Lanes for __m512 {
        const N: usize = 16;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller promises AVX-512.
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises AVX-512 and sixteen valid floats.
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises AVX-512 and sixteen valid floats.
            unsafe { _mm512_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller promises AVX-512.
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }
    }

    impl Lanes for __m256 {
        const N: usize = 8;
        #[inline(always)]
        unsafe fn zero() -> Self {
            // SAFETY: the caller promises AVX2.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: the caller promises AVX2 and eight valid floats.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: the caller promises AVX2 and eight valid floats.
            unsafe { _mm256_storeu_ps(to, self) }
        }
        #[inline(always)]
        unsafe fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the caller promises FMA, which comes with every AVX2 choice made below.
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }
    }
}

/// An instruction set that this build has kernels for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InstructionSet {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl InstructionSet {
    /// The widest one that this machine has. The standard library caches the detection.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every instruction set of this machine, for tests.
    #[cfg(test)]
    pub(crate) fn available() -> Vec<Self> {
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
}

/// Defines `$name`, which runs the generic kernel `$generic::<L, ..>` compiled for a given instruction set.
macro_rules! dispatch {
    ($(#[$doc:meta])* fn $name:ident$(<const $k:ident: usize>)?($($arg:ident: $ty:ty),* $(,)?) = $generic:ident) => {
        $(#[$doc])*
        pub(crate) fn $name$(<const $k: usize>)?(set: $crate::cpu::simd::InstructionSet, $($arg: $ty),*) {
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
                // SAFETY: the instruction set was detected on this machine.
                $crate::cpu::simd::InstructionSet::Avx512 => unsafe { avx512$(::<$k>)?($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the instruction set was detected on this machine.
                $crate::cpu::simd::InstructionSet::Avx2 => unsafe { avx2$(::<$k>)?($($arg),*) },
                // SAFETY: the portable lanes need nothing.
                $crate::cpu::simd::InstructionSet::Portable => unsafe {
                    $generic::<$crate::cpu::simd::Portable $(, $k)?>($($arg),*)
                },
            }
        }
    };
}
pub(crate) use dispatch;
