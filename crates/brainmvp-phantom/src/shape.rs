//! Shapes as depths: how many millimetres a point is inside (positive) or outside (negative).
//!
//! With depths, a union is the maximum, an intersection the minimum, and partial volume a ramp over one voxel.

/// A point or vector in mm: right, front, up.
pub(super) type Point = [f32; 3];

/// `a + b`.
pub(super) fn add(a: Point, b: Point) -> Point {
    [a[0] + b[0], a[1] + b[1], a[2] + b[2]]
}

/// `a - b`.
pub(super) fn sub(a: Point, b: Point) -> Point {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

/// `a * s`.
pub(super) fn scale(a: Point, s: f32) -> Point {
    [a[0] * s, a[1] * s, a[2] * s]
}

/// The scalar product.
pub(super) fn dot(a: Point, b: Point) -> f32 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// The Euclidean length.
pub(super) fn length(a: Point) -> f32 {
    dot(a, a).sqrt()
}

/// `a` scaled to length 1 (unchanged if it is almost 0).
pub(super) fn normalised(a: Point) -> Point {
    let size = length(a);
    if size > 1e-6 { scale(a, 1.0 / size) } else { a }
}

/// The length of a 2-D vector.
pub(super) fn hypotenuse(a: f32, b: f32) -> f32 {
    (a * a + b * b).sqrt()
}

/// Share of a voxel (or of any soft edge) of `width_mm` that is inside a face at this depth.
pub(super) fn ramp(depth_mm: f32, width_mm: f32) -> f32 {
    (0.5 + depth_mm / width_mm).clamp(0.0, 1.0)
}

/// From 0 at `low` to 1 at `high`, with flat ends.
pub(super) fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Linear between `a` (at 0) and `b` (at 1).
pub(super) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// The larger, blended over `width` where the two are close: a union with a smooth seam.
pub(super) fn smooth_max(a: f32, b: f32, width: f32) -> f32 {
    let overlap = (width - (a - b).abs()).max(0.0) / width;
    a.max(b) + overlap * overlap * width * 0.25
}

/// The smaller, blended over `width` where the two are close: an intersection with a smooth edge.
pub(super) fn smooth_min(a: f32, b: f32, width: f32) -> f32 {
    -smooth_max(-a, -b, width)
}

/// The smaller of two depths, the edge between the two faces rounded with `radius`.
pub(super) fn rounded_min(a: f32, b: f32, radius: f32) -> f32 {
    if a < radius && b < radius { radius - hypotenuse(radius - a, radius - b) } else { a.min(b) }
}

/// Depth in an axis-aligned ellipsoid (to first order near its surface).
pub(super) fn ellipsoid(p: Point, centre: Point, radii: Point) -> f32 {
    let v = sub(p, centre);
    let scaled = [v[0] / radii[0], v[1] / radii[1], v[2] / radii[2]];
    let level = length(scaled);
    let slope = length([scaled[0] / radii[0], scaled[1] / radii[1], scaled[2] / radii[2]]);
    if slope < 1e-6 { radii[0].min(radii[1]).min(radii[2]) } else { level * (1.0 - level) / slope }
}

/// A point with a radius: the knots of a tube.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knot {
    /// The position.
    pub(super) at: Point,
    /// Radius in mm.
    pub(super) radius: f32,
}

/// A knot from plain numbers, for tables.
pub(super) const fn knot(x: f32, y: f32, z: f32, radius: f32) -> Knot {
    Knot { at: [x, y, z], radius }
}

/// Depth in a tube between two knots; the radius changes linearly between them.
pub(super) fn segment(p: Point, a: Knot, b: Knot) -> f32 {
    let (along, v) = (sub(b.at, a.at), sub(p, a.at));
    let t = (dot(v, along) / dot(along, along).max(1e-6)).clamp(0.0, 1.0);
    mix(a.radius, b.radius, t) - length(sub(v, scale(along, t)))
}

/// Depth in a chain of tubes.
pub(super) fn tube(p: Point, knots: &[Knot]) -> f32 {
    knots.windows(2).map(|pair| segment(p, pair[0], pair[1])).fold(f32::MIN, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_in_a_sphere_is_exact() {
        let depth = |x| ellipsoid([x, 0.0, 0.0], [0.0; 3], [10.0; 3]);
        assert!((depth(7.0) - 3.0).abs() < 1e-4);
        assert!((depth(12.0) + 2.0).abs() < 1e-4);
        assert_eq!(depth(0.0), 10.0);
    }

    #[test]
    fn tube_interpolates_its_radius() {
        let knots = [knot(0.0, 0.0, 0.0, 2.0), knot(10.0, 0.0, 0.0, 4.0)];
        assert!((tube([5.0, 0.0, 0.0], &knots) - 3.0).abs() < 1e-6);
        assert!((tube([-1.0, 0.0, 0.0], &knots) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn blends_meet_the_plain_operations_away_from_the_seam() {
        assert_eq!(smooth_max(10.0, 1.0, 4.0), 10.0);
        assert_eq!(smooth_min(10.0, 1.0, 4.0), 1.0);
        assert_eq!(rounded_min(9.0, 5.0, 4.0), 5.0);
        assert!(rounded_min(1.0, 1.0, 4.0) < 1.0);
    }
}
