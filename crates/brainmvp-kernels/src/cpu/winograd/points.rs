//! The transforms along one axis. A convolution is a product of polynomials, made from their values at some points (Toom
//! and Cook): with three taps and `m` outputs these are `m + 1` numbers and infinity.
//!
//! The names are those of what is transformed: `carry_*` to the points, `collect_*` back from them.

/// F(2, 3), for D: at 0, 1, -1 and infinity. Its transforms of activations are sums of slabs: see `tiles.rs`.
pub(super) mod flat {
    use crate::cpu::simd::Lanes;

    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn carry_weight<L: Lanes>([a, b, c]: [L; 3]) -> [L; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let half = L::splat(0.5);
            [a, a.add(b).add(c).mul(half), a.sub(b).add(c).mul(half), c]
        }
    }

    /// The transpose of [`carry_weight`].
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn collect_weight<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 3] {
        // SAFETY: the caller's promise.
        unsafe {
            let half = L::splat(0.5);
            let even = b.add(c).mul(half);
            [a.add(even), b.sub(c).mul(half), even.add(d)]
        }
    }
}

/// F(4, 3), for H and W: at 0, 3/4, -3/4, 3/2, -3/2 and infinity. With the usual points, 1 and 2, rounding errors are three
/// to four times as large (3.4 times for F(2 x 4 x 4), random numbers and 64 channels); all constants are exact.
pub(super) mod square {
    use crate::cpu::simd::Lanes;

    /// The points,
    const NEAR: f32 = 0.75;
    const FAR: f32 = 1.5;
    /// their squares,
    const NEAR_2: f32 = NEAR * NEAR;
    const FAR_2: f32 = FAR * FAR;
    /// and the products of the differences of each from the others.
    const AT_0: f32 = NEAR_2 * FAR_2;
    const AT_NEAR: f32 = 2.0 * NEAR_2 * (NEAR_2 - FAR_2);
    const AT_FAR: f32 = 2.0 * FAR_2 * (FAR_2 - NEAR_2);

    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn carry_weight<L: Lanes>([a, b, c]: [L; 3]) -> [L; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = |value: f32| L::splat(value);
            let near = a.add(c.mul(lanes(NEAR_2))).div(lanes(AT_NEAR));
            let far = a.add(c.mul(lanes(FAR_2))).div(lanes(AT_FAR));
            let (near_b, far_b) = (b.mul(lanes(NEAR / AT_NEAR)), b.mul(lanes(FAR / AT_FAR)));
            [a.div(lanes(AT_0)), near.add(near_b), near.sub(near_b), far.add(far_b), far.sub(far_b), c]
        }
    }

    /// The transpose of [`carry_weight`].
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn collect_weight<L: Lanes>([a, b, c, d, e, f]: [L; 6]) -> [L; 3] {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = |value: f32| L::splat(value);
            let (near, far) = (b.add(c).div(lanes(AT_NEAR)), d.add(e).div(lanes(AT_FAR)));
            let near_odd = b.sub(c).mul(lanes(NEAR / AT_NEAR));
            let far_odd = d.sub(e).mul(lanes(FAR / AT_FAR));
            let outer = near.mul(lanes(NEAR_2)).add(far.mul(lanes(FAR_2))).add(f);
            [a.div(lanes(AT_0)).add(near).add(far), near_odd.add(far_odd), outer]
        }
    }

    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn carry_input<L: Lanes>([a, b, c, d, e, f]: [L; 6]) -> [L; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = |value: f32| L::splat(value);
            let ends = |a: L, c: L, e: L| e.mul_add(c, lanes(-NEAR_2 - FAR_2)).mul_add(a, lanes(AT_0));
            let (even, odd) = (e.mul_add(c, lanes(-FAR_2)), d.mul_add(b, lanes(-FAR_2)));
            let near = [even.mul_add(odd, lanes(NEAR)), even.mul_add(odd, lanes(-NEAR))];
            let (even, odd) = (e.mul_add(c, lanes(-NEAR_2)), d.mul_add(b, lanes(-NEAR_2)));
            let far = [even.mul_add(odd, lanes(FAR)), even.mul_add(odd, lanes(-FAR))];
            [ends(a, c, e), near[0], near[1], far[0], far[1], ends(b, d, f)]
        }
    }

    /// The transpose of [`collect_output`].
    ///
    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn carry_gradient<L: Lanes>([a, b, c, d]: [L; 4]) -> [L; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = |value: f32| L::splat(value);
            let (even, odd) = (a.mul_add(c, lanes(NEAR_2)), b.mul_add(d, lanes(NEAR_2)));
            let near = [even.mul_add(odd, lanes(NEAR)), even.mul_add(odd, lanes(-NEAR))];
            let (even, odd) = (a.mul_add(c, lanes(FAR_2)), b.mul_add(d, lanes(FAR_2)));
            let far = [even.mul_add(odd, lanes(FAR)), even.mul_add(odd, lanes(-FAR))];
            [a, near[0], near[1], far[0], far[1], d]
        }
    }

    /// # Safety
    /// The machine has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn collect_output<L: Lanes>([a, b, c, d, e, f]: [L; 6]) -> [L; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let lanes = |value: f32| L::splat(value);
            let (near, far) = (b.add(c), d.add(e));
            let (near_odd, far_odd) = (b.sub(c).mul(lanes(NEAR)), d.sub(e).mul(lanes(FAR)));
            [
                a.add(near).add(far),
                near_odd.add(far_odd),
                near.mul(lanes(NEAR_2)).mul_add(far, lanes(FAR_2)),
                f.mul_add(near_odd, lanes(NEAR_2)).mul_add(far_odd, lanes(FAR_2)),
            ]
        }
    }
}
