//! A k-d tree over points: finds the nearest of them to another point at any distance.
//!
//! Our own, because thousands of voxels of a surface share a coordinate, which published trees refuse or slow down on,
//! and because the points of a surface fill little of a cell: this tree stores their tight boxes.

/// Ranges of at most this many points are examined one by one.
const LEAF: usize = 8;

/// Points in the order of the tree: the middle one of a range divides the others.
pub(super) struct Tree {
    points: Vec<[f64; 3]>,
    /// The boxes of the ranges, each at the index of its middle point.
    boxes: Vec<Bounds>,
}

/// The smallest box around points: lowest and highest coordinates.
#[derive(Clone, Copy, Default)]
struct Bounds {
    low: [f64; 3],
    high: [f64; 3],
}

/// The nearest point so far.
struct Best {
    squared: f64,
    point: Option<[f64; 3]>,
}

impl Tree {
    /// A tree of `points` in mm.
    pub(super) fn new(mut points: Vec<[f64; 3]>) -> Self {
        let mut boxes = vec![Bounds::default(); points.len()];
        divide(&mut points, &mut boxes);
        Self { points, boxes }
    }

    /// The squared distance to the point nearest to `point` (mm), in mm^2, and that point: infinite and `None` in an
    /// empty tree. `near` is a point of the tree to start with.
    pub(super) fn nearest(&self, point: [f64; 3], near: Option<[f64; 3]>) -> (f64, Option<[f64; 3]>) {
        let squared = near.map_or(f64::INFINITY, |near| squared_distance(point, near));
        let mut best = Best { squared, point: near };
        self.search(point, (0, self.points.len()), &mut best);
        (best.squared, best.point)
    }

    /// Searches the points `start..end`, the nearer half first.
    fn search(&self, point: [f64; 3], (start, end): (usize, usize), best: &mut Best) {
        if end - start <= LEAF {
            self.points[start..end].iter().for_each(|other| best.offer(point, *other));
            return;
        }
        let middle = usize::midpoint(start, end);
        best.offer(point, self.points[middle]);
        let box_distance = |start, end| self.boxes[usize::midpoint(start, end)].squared_distance(point);
        let lower = (box_distance(start, middle), (start, middle));
        let upper = (box_distance(middle + 1, end), (middle + 1, end));
        let order = if lower.0 <= upper.0 { [lower, upper] } else { [upper, lower] };
        for (squared, half) in order {
            if squared < best.squared {
                self.search(point, half, best);
            }
        }
    }
}

impl Bounds {
    fn around(points: &[[f64; 3]]) -> Self {
        let along = |axis: usize| points.iter().map(move |point| point[axis]);
        Self {
            low: std::array::from_fn(|axis| along(axis).fold(f64::MAX, f64::min)),
            high: std::array::from_fn(|axis| along(axis).fold(f64::MIN, f64::max)),
        }
    }

    fn widest_axis(&self) -> usize {
        let extent = |axis: usize| self.high[axis] - self.low[axis];
        (1..3).fold(0, |widest, axis| if extent(axis) > extent(widest) { axis } else { widest })
    }

    /// The squared distance to the box; 0 inside.
    fn squared_distance(&self, point: [f64; 3]) -> f64 {
        let apart = |axis: usize| (self.low[axis] - point[axis]).max(point[axis] - self.high[axis]).max(0.0);
        (0..3).map(|axis| apart(axis).powi(2)).sum()
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

/// Orders a range of points for the tree. Only the range of an empty tree is empty: a range that is divided has more
/// than [`LEAF`] points.
fn divide(points: &mut [[f64; 3]], boxes: &mut [Bounds]) {
    let middle = points.len() / 2;
    let Some(place) = boxes.get_mut(middle) else {
        return;
    };
    let around = Bounds::around(points);
    *place = around;
    if points.len() > LEAF {
        let axis = around.widest_axis();
        points.select_nth_unstable_by(middle, |a, b| a[axis].total_cmp(&b[axis]));
        divide(&mut points[..middle], &mut boxes[..middle]);
        divide(&mut points[middle + 1..], &mut boxes[middle + 1..]);
    }
}

pub(super) fn squared_distance(a: [f64; 3], b: [f64; 3]) -> f64 {
    (0..3).map(|axis| (a[axis] - b[axis]).powi(2)).sum()
}
