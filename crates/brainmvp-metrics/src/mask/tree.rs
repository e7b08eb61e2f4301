//! A k-d tree over voxels: the nearest of them to a point, however far.
//!
//! Our own, because voxels of a surface share their coordinates by the thousand, which the published trees refuse or
//! slow down on.

/// As many points are looked at one by one.
const LEAF: usize = 8;

/// Points in the order of the tree: the middle one of a range divides the others along its axis.
pub(super) struct Tree {
    points: Vec<[f64; 3]>,
    /// Of the points that divide.
    axes: Vec<u8>,
}

/// The nearest point so far.
struct Best {
    squared: f64,
    point: Option<[f64; 3]>,
}

impl Tree {
    /// A tree of `voxels` of `spacing_mm`.
    pub(super) fn new(voxels: Vec<[u32; 3]>, spacing_mm: [f64; 3]) -> Self {
        let place = |v: [u32; 3]| std::array::from_fn(|axis| f64::from(v[axis]) * spacing_mm[axis]);
        let mut points: Vec<[f64; 3]> = voxels.into_iter().map(place).collect();
        let mut axes = vec![0; points.len()];
        divide(&mut points, &mut axes);
        Self { points, axes }
    }

    /// From `point` (mm) to the nearest point, mm^2; infinite in an empty tree. `near` is a point of the tree to begin
    /// with, and becomes the nearest.
    pub(super) fn squared_distance(&self, point: [f64; 3], near: &mut Option<[f64; 3]>) -> f64 {
        let squared = near.map_or(f64::INFINITY, |near| squared_distance(point, near));
        let mut best = Best { squared, point: *near };
        self.search(point, (0, self.points.len()), [0.0; 3], &mut best);
        *near = best.point;
        best.squared
    }

    /// Looks through the points `start..end`, which lie at least `apart` (mm, along each axis) from `point`.
    fn search(&self, point: [f64; 3], (start, end): (usize, usize), apart: [f64; 3], best: &mut Best) {
        if end - start <= LEAF {
            self.points[start..end].iter().for_each(|other| best.offer(point, *other));
            return;
        }
        let middle = usize::midpoint(start, end);
        best.offer(point, self.points[middle]);
        let axis = usize::from(self.axes[middle]);
        let beyond = point[axis] - self.points[middle][axis];
        let (lower, upper) = ((start, middle), (middle + 1, end));
        let (here, there) = if beyond < 0.0 { (lower, upper) } else { (upper, lower) };
        self.search(point, here, apart, best);
        let mut further = apart;
        further[axis] = further[axis].max(beyond.abs());
        if further.iter().map(|mm| mm * mm).sum::<f64>() < best.squared {
            self.search(point, there, further, best);
        }
    }
}

impl Best {
    fn offer(&mut self, from: [f64; 3], point: [f64; 3]) {
        let squared = squared_distance(from, point);
        if squared < self.squared {
            *self = Self { squared, point: Some(point) };
        }
    }
}

/// Orders a range of points for the tree.
fn divide(points: &mut [[f64; 3]], axes: &mut [u8]) {
    if points.len() <= LEAF {
        return;
    }
    let extent = |axis: usize| {
        let along = points.iter().map(|point| point[axis]);
        along.clone().fold(f64::MIN, f64::max) - along.fold(f64::MAX, f64::min)
    };
    let extents = [extent(0), extent(1), extent(2)];
    let axis = (0..3).fold(0, |widest, axis| if extents[axis] > extents[widest] { axis } else { widest });
    let middle = points.len() / 2;
    points.select_nth_unstable_by(middle, |a, b| a[axis].total_cmp(&b[axis]));
    axes[middle] = axis as u8;
    divide(&mut points[..middle], &mut axes[..middle]);
    divide(&mut points[middle + 1..], &mut axes[middle + 1..]);
}

fn squared_distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum()
}
