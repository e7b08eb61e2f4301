//! Aligning two fingerprints.
//!
//! First, all 48 rotations and reflections of a cube are tried on a coarse grid. The best ones are refined to an affine
//! map, first on a blurred copy, by the inverse-compositional method of Baker and Matthews (IJCV 56(3), 2004) with the
//! damping of Levenberg and Marquardt.

use nalgebra::{Matrix3, SMatrix, SVector, Vector3};

use super::lattice::Lattice;
use super::{Fingerprint, OUTSIDE, SIDE};

/// A fingerprint prepared for alignment with others.
pub(super) struct Subject {
    smooth: Sloped,
    fine: Sloped,
    /// The coarse cells inside, in every orientation.
    turned: Vec<Turned>,
}

/// Cells, and the derivative of each with respect to the entries of a map: nine of the matrix, three of the shift.
struct Sloped {
    cells: Cells,
    /// For each cell inside.
    slopes: Vec<SVector<f32, 12>>,
    /// The sum of the outer products of the derivatives.
    normal: SMatrix<f32, 12, 12>,
}

/// Cells in one orientation: the position and value of each.
struct Turned {
    linear: Matrix3<f32>,
    cells: Vec<(usize, f32)>,
}

/// Cells of one grid.
#[derive(Debug, Clone)]
pub(super) struct Cells {
    side: usize,
    /// 0 outside.
    values: Vec<f32>,
    /// 1 inside, 0 outside.
    weights: Vec<f32>,
    /// Cells inside, by their index in `values`.
    inside: Vec<usize>,
}

/// Maps positions in one grid to positions in another; the origin is the middle of each.
#[derive(Debug, Clone, Copy)]
struct Map {
    linear: Matrix3<f32>,
    shift: Vector3<f32>,
}

/// Number of orientations that are refined.
const REFINED: usize = 2;

/// Number of refinement steps on the blurred and on the sharp copy.
const STEPS: usize = 16;

/// Initial damping of the steps. The refinement ends when a step gains less than this.
const FIRST_DAMPING: f32 = 0.1;
const SMALL_GAIN: f32 = 2e-4;

/// The standard deviation, in cells, of the Gaussian blur for the first refinement.
const BLURRED: f32 = 1.2;

/// The share of the larger brain that both must cover.
const OVERLAP: f32 = 0.6;

/// Limits of the refined map: scales from this to its inverse, and a shift in fine cells.
const SMALLEST_SCALE: f32 = 0.8;
const LARGEST_SHIFT: f32 = 4.0;

impl Subject {
    pub(super) fn of(fingerprint: &Fingerprint) -> Self {
        let fine = Cells::of(fingerprint);
        let coarse = fine.halved();
        let turned = orientations().map(|linear| coarse.turned(linear)).collect();
        Self { smooth: Sloped::of(fine.smoothed()), fine: Sloped::of(fine), turned }
    }

    /// See [`Fingerprint::similarity`]; `coarse` is `other` halved. 0 if the correlation is less than `worth_a_look` in
    /// all coarse orientations.
    pub(super) fn similarity(&self, other: impl FnOnce() -> Cells, coarse: &Cells, worth_a_look: f32) -> f64 {
        let mut starts: Vec<(f32, Matrix3<f32>)> =
            self.turned.iter().map(|turned| (turned.correlation(coarse), turned.linear)).collect();
        starts.sort_by(|a, b| b.0.total_cmp(&a.0));
        starts.truncate(REFINED);
        if starts.iter().all(|(correlation, _)| *correlation < worth_a_look) {
            return 0.0;
        }
        let other = other();
        let smooth = other.smoothed();
        let refine = |(_, linear): &(f32, Matrix3<f32>)| {
            let start = Map { linear: *linear, shift: Vector3::zeros() };
            let found = self.fine.refined(&other, self.smooth.refined(&smooth, start));
            self.fine.cells.correlation(&other, &found)
        };
        f64::from(starts.iter().map(refine).fold(0.0, f32::max))
    }
}

impl Sloped {
    fn of(cells: Cells) -> Self {
        let slopes: Vec<_> = cells.inside.iter().map(|cell| cells.slope(*cell)).collect();
        let mut normal = SMatrix::<f32, 12, 12>::zeros();
        for slope in &slopes {
            normal.ger(1.0, slope, slope, 1.0);
        }
        Self { cells, slopes, normal }
    }

    /// The map after iterative refinement.
    fn refined(&self, other: &Cells, start: Map) -> Map {
        let (mut best, mut highest) = (start, self.cells.correlation(other, &start));
        let mut damping = FIRST_DAMPING;
        for _ in 0..STEPS {
            let Some(next) = self.step(other, &best, damping) else { break };
            let far = next.is_far_from(&start, self.cells.side);
            let now = if far { 0.0 } else { self.cells.correlation(other, &next) };
            if now > highest {
                let gained = now - highest;
                (best, highest) = (next, now);
                damping /= 4.0;
                // A short step gains little.
                if gained < SMALL_GAIN && damping < FIRST_DAMPING {
                    break;
                }
            } else {
                damping *= 8.0;
            }
        }
        best
    }

    /// One step, which is shorter with more damping; `None` if the cells do not determine it.
    fn step(&self, other: &Cells, map: &Map, damping: f32) -> Option<Map> {
        let Cells { inside, values, .. } = &self.cells;
        let found: Vec<Option<f32>> =
            inside.iter().map(|cell| other.at(map.linear * self.cells.centred(*cell) + map.shift)).collect();
        let mut sums = Sums::default();
        for (cell, b) in inside.iter().zip(&found) {
            if let Some(b) = b {
                sums.add(values[*cell], *b);
            }
        }
        let (offset, gain) = sums.line()?;
        let mut right = SVector::<f32, 12>::zeros();
        for ((cell, b), slope) in inside.iter().zip(&found).zip(&self.slopes) {
            if let Some(b) = b {
                right.axpy(gain * b + offset - values[*cell], slope, 1.0);
            }
        }
        let mut normal = self.normal;
        for entry in 0..12 {
            normal[(entry, entry)] *= 1.0 + damping;
        }
        let step = normal.cholesky()?.solve(&right);
        let linear = Matrix3::identity() + Matrix3::from_fn(|row, column| step[3 * row + column]);
        let back = linear.try_inverse()?;
        let shift = -back * Vector3::new(step[9], step[10], step[11]);
        Some(Map { linear: map.linear * back, shift: map.linear * shift + map.shift })
    }
}

impl Turned {
    /// The correlation with another grid, over the cells inside both.
    fn correlation(&self, other: &Cells) -> f32 {
        let mut sums = Sums::default();
        for (at, value) in &self.cells {
            if other.weights[*at] > 0.0 {
                sums.add(*value, other.values[*at]);
            }
        }
        let larger = self.cells.len().max(other.inside.len()) as f32;
        if sums.n < OVERLAP * larger { 0.0 } else { sums.correlation() }
    }
}

/// All rotations and reflections of a cube.
fn orientations() -> impl Iterator<Item = Matrix3<f32>> {
    const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    ORDERS.into_iter().flat_map(|order| {
        (0..8_usize).map(move |signs| {
            let mut linear = Matrix3::zeros();
            for (row, column) in order.into_iter().enumerate() {
                linear[(row, column)] = if signs >> row & 1 == 1 { -1.0 } else { 1.0 };
            }
            linear
        })
    })
}

impl Cells {
    pub(super) fn of(fingerprint: &Fingerprint) -> Self {
        let weights: Vec<f32> =
            fingerprint.cells.iter().map(|cell| f32::from(u8::from(*cell != OUTSIDE))).collect();
        let value = |cell: &i8| if *cell == OUTSIDE { 0.0 } else { f32::from(*cell) };
        Self::new(SIDE, fingerprint.cells.iter().map(value).collect(), weights)
    }

    fn new(side: usize, values: Vec<f32>, weights: Vec<f32>) -> Self {
        let inside = (0..values.len()).filter(|cell| weights[*cell] > 0.0).collect();
        Self { side, values, weights, inside }
    }

    /// Blocks of two cells along each axis combined into one, which is inside if half of them are.
    pub(super) fn halved(&self) -> Self {
        let side = self.side / 2;
        let (mut values, mut weights) = (vec![0.0; side.pow(3)], vec![0.0; side.pow(3)]);
        for cell in &self.inside {
            let [x, y, z] = self.place(*cell).map(|place| place / 2);
            let to = (z * side + y) * side + x;
            values[to] += self.values[*cell];
            weights[to] += 1.0;
        }
        for (value, weight) in values.iter_mut().zip(&mut weights) {
            (*value, *weight) = if *weight >= 4.0 { (*value / *weight, 1.0) } else { (0.0, 0.0) };
        }
        Self::new(side, values, weights)
    }

    /// The same cells without their details, so that the refinement converges from further away.
    fn smoothed(&self) -> Self {
        let lattice = |bins: &[f32]| Lattice { side: self.side, bins: bins.to_vec() }.smoothed(BLURRED);
        let (values, weights) = (lattice(&self.values), lattice(&self.weights));
        let mut smooth = self.clone();
        for cell in &self.inside {
            smooth.values[*cell] = values.bins[*cell] / weights.bins[*cell];
        }
        smooth
    }

    /// The cells inside, moved by an orientation.
    fn turned(&self, linear: Matrix3<f32>) -> Turned {
        let middle = (self.side - 1) as f32 / 2.0;
        let to = |cell: usize| {
            let place = (linear * self.centred(cell)).add_scalar(middle);
            (place.z as usize * self.side + place.y as usize) * self.side + place.x as usize
        };
        Turned { linear, cells: self.inside.iter().map(|cell| (to(*cell), self.values[*cell])).collect() }
    }

    fn place(&self, cell: usize) -> [usize; 3] {
        [cell % self.side, cell / self.side % self.side, cell / (self.side * self.side)]
    }

    /// A cell's position with the origin in the middle of the grid.
    fn centred(&self, cell: usize) -> Vector3<f32> {
        let middle = (self.side - 1) as f32 / 2.0;
        Vector3::from(self.place(cell).map(|place| place as f32 - middle))
    }

    /// The value at a position, interpolated from those of the eight surrounding cells that are inside; `None` if most of
    /// the weight is outside.
    fn at(&self, place: Vector3<f32>) -> Option<f32> {
        let middle = (self.side - 1) as f32 / 2.0;
        let place = place.add_scalar(middle);
        let floor = place.map(f32::floor);
        let last = self.side as f32 - 2.0;
        if floor.iter().any(|start| !(0.0..=last).contains(start)) {
            return None;
        }
        let part = place - floor;
        let at = (floor.z as usize * self.side + floor.y as usize) * self.side + floor.x as usize;
        let (mut sum, mut total) = (0.0, 0.0);
        for (step_z, weight_z) in [(0, 1.0 - part.z), (self.side * self.side, part.z)] {
            for (step_y, weight_y) in [(0, 1.0 - part.y), (self.side, part.y)] {
                let row = at + step_z + step_y;
                let weight = weight_z * weight_y;
                let (a, b) = (weight * (1.0 - part.x), weight * part.x);
                sum += a * self.values[row] + b * self.values[row + 1];
                total += a * self.weights[row] + b * self.weights[row + 1];
            }
        }
        (total > 0.5).then(|| sum / total)
    }

    /// The correlation with another grid under a map, over the cells inside both.
    fn correlation(&self, other: &Self, map: &Map) -> f32 {
        let pairs = self.inside.iter().filter_map(|cell| {
            Some((self.values[*cell], other.at(map.linear * self.centred(*cell) + map.shift)?))
        });
        let mut sums = Sums::default();
        pairs.for_each(|(a, b)| sums.add(a, b));
        let larger = self.inside.len().max(other.inside.len()) as f32;
        if sums.n < OVERLAP * larger { 0.0 } else { sums.correlation() }
    }

    /// The derivatives of a cell's value with respect to the nine entries of a matrix and the three of a shift.
    fn slope(&self, cell: usize) -> SVector<f32, 12> {
        let strides = [1, self.side, self.side * self.side];
        let places = self.place(cell);
        let gradient = Vector3::from_fn(|axis, _| {
            let neighbour = |inner: bool, stride: usize, add: bool| {
                let at = inner.then(|| if add { cell + stride } else { cell - stride });
                at.filter(|at| self.weights[*at] > 0.0).map(|at| self.values[at])
            };
            let before = neighbour(places[axis] > 0, strides[axis], false);
            let after = neighbour(places[axis] + 1 < self.side, strides[axis], true);
            match (before, after) {
                (Some(before), Some(after)) => (after - before) / 2.0,
                (Some(before), None) => self.values[cell] - before,
                (None, Some(after)) => after - self.values[cell],
                (None, None) => 0.0,
            }
        });
        let place = self.centred(cell);
        SVector::from_fn(
            |entry, _| {
                if entry < 9 { gradient[entry / 3] * place[entry % 3] } else { gradient[entry - 9] }
            },
        )
    }
}

impl Map {
    /// Whether a map is further from its start than is possible for two images of one head.
    fn is_far_from(&self, start: &Self, side: usize) -> bool {
        let scales = (self.linear * start.linear.transpose()).singular_values();
        let scale = scales.iter().any(|scale| !(SMALLEST_SCALE..=1.0 / SMALLEST_SCALE).contains(scale));
        scale || self.shift.norm() > LARGEST_SHIFT * side as f32 / SIDE as f32
    }
}

/// Sums over pairs of values.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f32,
    a: f32,
    b: f32,
    aa: f32,
    ab: f32,
    bb: f32,
}

impl Sums {
    fn add(&mut self, a: f32, b: f32) {
        self.n += 1.0;
        self.a += a;
        self.b += b;
        self.aa += a * a;
        self.ab += a * b;
        self.bb += b * b;
    }

    fn correlation(&self) -> f32 {
        let (aa, bb) = (self.n * self.aa - self.a * self.a, self.n * self.bb - self.b * self.b);
        if aa > 0.0 && bb > 0.0 { (self.n * self.ab - self.a * self.b) / (aa * bb).sqrt() } else { 0.0 }
    }

    /// Offset and gain that fit `b` to `a` best.
    fn line(&self) -> Option<(f32, f32)> {
        let bb = self.n * self.bb - self.b * self.b;
        let gain = (self.n * self.ab - self.a * self.b) / bb;
        (bb > 0.0 && gain > 0.0).then(|| ((self.a - gain * self.b) / self.n, gain))
    }
}
