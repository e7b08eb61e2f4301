//! Buffers that are written by many threads.

use rayon::prelude::*;

/// `N` new buffers of `len` floats, written as by [`extend`].
///
/// # Safety
/// As for [`extend`].
pub(crate) unsafe fn build<const N: usize>(
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, [*mut f32; N], usize) + Sync,
) -> [Vec<f32>; N] {
    let mut buffers = std::array::from_fn(|_| Vec::with_capacity(len));
    // SAFETY: the caller's promise.
    unsafe { extend(buffers.each_mut(), len, chunk, fill) };
    buffers
}

/// A new buffer of `len` floats that `fill` writes in any order, without being zeroed first.
///
/// # Safety
/// `fill` writes every float, no two threads the same one.
pub(crate) unsafe fn build_scattered(len: usize, fill: impl FnOnce(Shared)) -> Vec<f32> {
    let mut buffer = Vec::new();
    // SAFETY: the caller's promise.
    unsafe { build_scattered_into(&mut buffer, len, fill) };
    buffer
}

/// As [`build_scattered`], in the memory of a buffer.
///
/// # Safety
/// As for [`build_scattered`].
pub(crate) unsafe fn build_scattered_into(buffer: &mut Vec<f32>, len: usize, fill: impl FnOnce(Shared)) {
    buffer.clear();
    buffer.reserve(len);
    fill(Shared(buffer.as_mut_ptr()));
    // SAFETY: the caller promises that all of the length was written.
    unsafe { buffer.set_len(len) };
}

/// Extends each buffer by `len` floats whose chunks of `chunk` floats (the last may be shorter) are written in
/// parallel, without being zeroed first.
///
/// # Safety
/// `fill(index, pointers, count)` writes all of the `count` floats behind each pointer.
pub(crate) unsafe fn extend<const N: usize>(
    mut buffers: [&mut Vec<f32>; N],
    len: usize,
    chunk: usize,
    fill: impl Fn(usize, [*mut f32; N], usize) + Sync,
) {
    let places = buffers.each_mut().map(|buffer| {
        buffer.reserve(len);
        Shared::spare(buffer)
    });
    let chunk = chunk.max(1);
    (0..len.div_ceil(chunk)).into_par_iter().for_each(|index| {
        let start = index * chunk;
        // SAFETY: the chunk lies in the capacity, and no other task has it.
        let pointers = places.map(|place| unsafe { place.at(start) });
        fill(index, pointers, chunk.min(len - start));
    });
    for buffer in &mut buffers {
        // SAFETY: the chunks cover the new length, and the caller promises that each was written.
        unsafe { buffer.set_len(buffer.len() + len) };
    }
}

/// Floats that begin where a line of the cache does, so that no register is loaded from two lines.
pub(crate) struct Aligned {
    values: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// The bytes of a line.
    const LINE: usize = 64;

    /// So many zeros.
    pub(crate) fn new(len: usize) -> Self {
        let values = vec![0.0_f32; len + Self::LINE / size_of::<f32>()];
        let start = values.as_ptr().align_offset(Self::LINE).min(values.len() - len);
        Self { values, start, len }
    }

    pub(crate) fn floats(&self) -> &[f32] {
        &self.values[self.start..][..self.len]
    }

    pub(crate) fn floats_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.len]
    }
}

/// Adds separately computed sums to a total.
pub(crate) fn add(total: &mut [f32], sums: &[f32]) {
    total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
}

/// Memory that tasks write to at the same time, each to its own floats.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: a pointer may go to another thread; whoever writes through it promises not to write where others do.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(floats: &mut [f32]) -> Self {
        Self(floats.as_mut_ptr())
    }

    /// The memory behind a buffer's floats.
    pub(crate) fn spare(buffer: &mut Vec<f32>) -> Self {
        Self(buffer.spare_capacity_mut().as_mut_ptr().cast())
    }

    /// The float at `index`.
    ///
    /// # Safety
    /// `index` lies in the slice, and no other task touches what is written through the pointer.
    pub(crate) unsafe fn at(self, index: usize) -> *mut f32 {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}
