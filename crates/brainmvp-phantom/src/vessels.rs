//! Arteries and veins: tubes along the courses of the named vessels, and branches grown over the cortex.

use super::cortex::{callosum, outline};
use super::random::{Purpose, Random};
use super::shape::{Knot, Point, add, dot, knot, mix, normalised, scale, segment, smoothstep, sub};

/// Side (mm) of the boxes in which pieces of vessels are looked up.
const BOX_MM: f32 = 8.0;
/// Corner of the first box and number of boxes along x, y and z.
const FIRST: Point = [-96.0, -128.0, -112.0];
const BOXES: [usize; 3] = [24, 29, 28];
/// Vessels have no effect beyond this distance (mm).
const MARGIN_MM: f32 = 3.0;

/// One straight piece of a vessel.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from: Knot,
    to: Knot,
    venous: bool,
}

/// The vessels of one subject in standard space.
#[derive(Debug, Clone)]
pub(super) struct Vessels {
    pieces: Vec<Piece>,
    /// Indices in `pieces` of what is near each box.
    boxes: Vec<Vec<u32>>,
}

/// Depths (mm) in the nearest vessels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blood {
    /// In an artery.
    pub(super) artery: f32,
    /// Radius (mm) of that artery.
    pub(super) radius: f32,
    /// In a vein.
    pub(super) vein: f32,
}

impl Vessels {
    /// Draws the vessels of case `index`. On `closed_side` (-1 left, 1 right) the middle cerebral artery ends in
    /// its first branches.
    pub(super) fn draw(seed: u64, index: usize, closed_side: Option<f32>) -> Self {
        let mut random = Random::new(seed, index, Purpose::Vessels);
        let mut growth = Growth { random: &mut random, pieces: Vec::new() };
        for side in [-1.0, 1.0] {
            growth.hemisphere(side, closed_side == Some(side));
        }
        growth.course(&BASILAR, 1.0, false);
        growth.course(&ANTERIOR_BRIDGE, 1.0, false);
        growth.course(&SAGITTAL_SINUS, 1.0, true);
        growth.course(&STRAIGHT_SINUS, 1.0, true);
        let pieces = growth.pieces;
        let mut boxes = vec![Vec::new(); BOXES.iter().product()];
        for (place, piece) in pieces.iter().enumerate() {
            enter(&mut boxes, place as u32, piece);
        }
        Self { pieces, boxes }
    }

    /// The blood at `p`; `None` if no vessel is near.
    pub(super) fn at(&self, p: Point) -> Option<Blood> {
        let near = &self.boxes[box_of(p)?];
        if near.is_empty() {
            return None;
        }
        let mut blood = Blood { artery: -MARGIN_MM, radius: 0.0, vein: -MARGIN_MM };
        for place in near {
            let piece = &self.pieces[*place as usize];
            let depth = segment(p, piece.from, piece.to);
            if piece.venous {
                blood.vein = blood.vein.max(depth);
            } else if depth > blood.artery {
                blood.artery = depth;
                blood.radius = 0.5 * (piece.from.radius + piece.to.radius);
            }
        }
        Some(blood)
    }
}

fn box_of(p: Point) -> Option<usize> {
    let mut place = 0;
    for axis in (0..3).rev() {
        let along = ((p[axis] - FIRST[axis]) / BOX_MM).floor();
        if !(along >= 0.0 && along < BOXES[axis] as f32) {
            return None;
        }
        place = place * BOXES[axis] + along as usize;
    }
    Some(place)
}

fn enter(boxes: &mut [Vec<u32>], place: u32, piece: &Piece) {
    let reach = piece.from.radius.max(piece.to.radius) + MARGIN_MM;
    let range = |axis: usize| {
        let (a, b) = (piece.from.at[axis], piece.to.at[axis]);
        let low = ((a.min(b) - reach - FIRST[axis]) / BOX_MM).floor().max(0.0) as usize;
        let high = ((a.max(b) + reach - FIRST[axis]) / BOX_MM).floor().max(0.0) as usize;
        low.min(BOXES[axis] - 1)..=high.min(BOXES[axis] - 1)
    };
    for z in range(2) {
        for y in range(1) {
            for x in range(0) {
                boxes[(z * BOXES[1] + y) * BOXES[0] + x].push(place);
            }
        }
    }
}

/// Vessels while they grow.
struct Growth<'a> {
    random: &'a mut Random,
    pieces: Vec<Piece>,
}

/// The tip of a branch that runs over the cortex.
#[derive(Debug, Clone, Copy)]
struct Tip {
    knot: Knot,
    heading: Point,
    steps: usize,
}

impl Growth<'_> {
    fn hemisphere(&mut self, side: f32, middle_closed: bool) {
        self.course(&CAROTID, side, false);
        self.course(&ANTERIOR_TRUNK, side, false);
        self.course(&COMMUNICATING, side, false);
        self.course(&VERTEBRAL, side, false);
        self.course(&POSTERIOR, side, false);
        self.course(&SUPERIOR_CEREBELLAR, side, false);
        self.course(&TRANSVERSE_SINUS, side, true);
        self.course(&INTERNAL_CEREBRAL_VEIN, side, true);
        for (start, heading) in ANTERIOR_BRANCHES {
            self.branch(start, heading, side, 20);
        }
        self.branch(POSTERIOR_END, [-0.1, -1.0, 0.2], side, 14);
        if middle_closed {
            self.course(&MIDDLE_TRUNK[..2], side, false);
            return;
        }
        self.course(&MIDDLE_TRUNK, side, false);
        for (course, heading) in [
            (&MIDDLE_UPPER[..], [0.7, 0.1, 0.7]),
            (&MIDDLE_MIDDLE[..], [0.8, -0.3, 0.5]),
            (&MIDDLE_LOWER[..], [0.9, -0.5, -0.2]),
        ] {
            let last = self.course(course, side, false);
            for turn in [-0.6, 0.0, 0.6] {
                let heading = [heading[0], heading[1] + turn, heading[2]];
                self.branch(knot(last.at[0] * side, last.at[1], last.at[2], last.radius), heading, side, 26);
            }
        }
    }

    /// Adds a vessel along a course, mirrored to `side` and slightly displaced, as smooth curves between its knots;
    /// returns its end.
    fn course(&mut self, knots: &[Knot], side: f32, venous: bool) -> Knot {
        let knots: Vec<Knot> = knots
            .iter()
            .map(|k| {
                let shift = [
                    self.random.around_zero(0.8),
                    self.random.around_zero(0.8),
                    self.random.around_zero(0.8),
                ];
                Knot { at: add([k.at[0] * side, k.at[1], k.at[2]], shift), radius: k.radius }
            })
            .collect();
        let mut last = knots[0];
        for place in 0..knots.len() - 1 {
            let ends = [
                knots[place.saturating_sub(1)],
                knots[place],
                knots[place + 1],
                knots[(place + 2).min(knots.len() - 1)],
            ];
            for step in 1..=4 {
                let next = between(ends, step as f32 * 0.25);
                self.pieces.push(Piece { from: last, to: next, venous });
                last = next;
            }
        }
        last
    }

    /// Grows a branch over the cortex from `start`, both given for the right side.
    fn branch(&mut self, start: Knot, heading: Point, side: f32, steps: usize) {
        let mirror = |p: Point| [p[0] * side, p[1], p[2]];
        let knot = Knot { at: mirror(start.at), radius: start.radius };
        let mut tips = vec![Tip { knot, heading: normalised(mirror(heading)), steps }];
        while let Some(tip) = tips.pop() {
            self.grow(tip, &mut tips);
        }
    }

    fn grow(&mut self, tip: Tip, tips: &mut Vec<Tip>) {
        const STEP_MM: f32 = 4.0;
        let Tip { mut knot, mut heading, steps } = tip;
        for left in (0..steps).rev() {
            heading = normalised(add(heading, scale(self.random.direction(), 0.38)));
            let ahead = add(knot.at, scale(heading, STEP_MM));
            let at = onto_surface(ahead, knot.at);
            if at[2] < -48.0 {
                return;
            }
            let next = Knot { at, radius: (knot.radius * 0.972).max(0.32) };
            self.pieces.push(Piece { from: knot, to: next, venous: false });
            heading = normalised(add(scale(heading, 0.5), normalised(sub(at, knot.at))));
            knot = next;
            if left > 4 && self.random.chance(0.16) {
                let aside = normalised(add(heading, scale(self.random.direction(), 0.9)));
                let child = Knot { at, radius: (knot.radius * 0.78).max(0.32) };
                tips.push(Tip { knot: child, heading: aside, steps: left * 3 / 4 });
            }
        }
    }
}

/// A Catmull-Rom curve between the two middle knots.
fn between(k: [Knot; 4], t: f32) -> Knot {
    let axis = |i: usize| {
        let [a, b, c, d] = k.map(|knot| knot.at[i]);
        let slope = (c - a) * 0.5;
        let end = (d - b) * 0.5;
        let (square, cube) = (t * t, t * t * t);
        b * (2.0 * cube - 3.0 * square + 1.0)
            + slope * (cube - 2.0 * square + t)
            + c * (3.0 * square - 2.0 * cube)
            + end * (cube - square)
    };
    Knot { at: [axis(0), axis(1), axis(2)], radius: mix(k[1].radius, k[2].radius, t) }
}

/// Draws a point towards the pial surface, by no more than a step allows.
fn onto_surface(p: Point, from: Point) -> Point {
    let mut at = p;
    for _ in 0..2 {
        let depth = |q: Point| {
            let medial = (q[0] * from[0].signum() - 0.8) + smoothstep(8.0, -4.0, callosum(q[1], q[2])) * 30.0;
            outline(q).min(medial) - 0.6
        };
        let here = depth(at);
        let slope: Point = std::array::from_fn(|axis| {
            let mut moved = at;
            moved[axis] += 0.5;
            (depth(moved) - here) * 2.0
        });
        let size = dot(slope, slope).max(0.1);
        at = sub(at, scale(slope, (0.7 * here / size).clamp(-3.0, 3.0)));
    }
    at
}

const CAROTID: [Knot; 9] = [
    knot(25.0, -20.0, -100.0, 2.6),
    knot(25.0, -22.0, -66.0, 2.5),
    knot(26.0, -18.0, -52.0, 2.4),
    knot(18.0, -10.0, -43.0, 2.3),
    knot(12.0, -6.0, -37.0, 2.2),
    knot(12.0, 4.0, -32.0, 2.1),
    knot(12.0, 9.0, -27.0, 2.0),
    knot(11.0, 4.0, -21.0, 1.9),
    knot(14.0, 1.0, -15.0, 1.8),
];
const MIDDLE_TRUNK: [Knot; 4] = [
    knot(14.0, 1.0, -15.0, 1.6),
    knot(23.0, 4.0, -17.0, 1.5),
    knot(32.0, 5.0, -14.0, 1.4),
    knot(39.0, 3.0, -12.0, 1.3),
];
const MIDDLE_UPPER: [Knot; 4] = [
    knot(39.0, 3.0, -12.0, 1.2),
    knot(41.0, 12.0, -4.0, 1.1),
    knot(43.0, 14.0, 4.0, 1.0),
    knot(52.0, 16.0, 6.0, 0.9),
];
const MIDDLE_MIDDLE: [Knot; 5] = [
    knot(39.0, 3.0, -12.0, 1.2),
    knot(41.0, -4.0, -3.0, 1.1),
    knot(42.0, -12.0, 7.0, 1.0),
    knot(47.0, -18.0, 9.0, 0.95),
    knot(58.0, -18.0, 12.0, 0.9),
];
const MIDDLE_LOWER: [Knot; 5] = [
    knot(39.0, 3.0, -12.0, 1.2),
    knot(42.0, -10.0, -6.0, 1.1),
    knot(44.0, -24.0, 4.0, 1.0),
    knot(50.0, -34.0, 12.0, 0.95),
    knot(60.0, -42.0, 14.0, 0.9),
];
const ANTERIOR_TRUNK: [Knot; 8] = [
    knot(14.0, 1.0, -15.0, 1.3),
    knot(7.0, 7.0, -16.0, 1.3),
    knot(2.4, 11.0, -14.0, 1.25),
    knot(2.2, 24.0, -7.0, 1.2),
    knot(2.0, 37.0, 4.0, 1.1),
    knot(2.0, 34.0, 20.0, 1.0),
    knot(2.0, 14.0, 31.0, 0.9),
    knot(2.0, -16.0, 31.0, 0.7),
];
/// Starts and headings of the branches over the medial wall, for the right side.
const ANTERIOR_BRANCHES: [(Knot, Point); 4] = [
    (knot(2.2, 24.0, -7.0, 0.7), [0.0, 1.0, -0.1]),
    (knot(2.0, 37.0, 4.0, 0.85), [0.0, 0.8, 0.8]),
    (knot(2.0, 30.0, 24.0, 0.8), [0.0, -0.1, 1.0]),
    (knot(2.0, -10.0, 31.0, 0.7), [0.0, -0.7, 0.8]),
];
const ANTERIOR_BRIDGE: [Knot; 2] = [knot(-2.4, 11.0, -14.0, 0.9), knot(2.4, 11.0, -14.0, 0.9)];
const COMMUNICATING: [Knot; 3] =
    [knot(13.0, 0.0, -16.0, 0.8), knot(11.5, -8.0, -16.0, 0.75), knot(9.0, -14.0, -16.0, 0.8)];
const BASILAR: [Knot; 4] = [
    knot(0.0, -17.0, -50.0, 1.7),
    knot(0.8, -9.0, -40.0, 1.7),
    knot(-0.5, -8.5, -28.0, 1.6),
    knot(0.0, -12.0, -17.0, 1.5),
];
const VERTEBRAL: [Knot; 5] = [
    knot(15.0, -34.0, -112.0, 1.7),
    knot(17.0, -40.0, -84.0, 1.7),
    knot(12.0, -38.0, -72.0, 1.6),
    knot(7.0, -26.0, -60.0, 1.5),
    knot(0.0, -17.0, -50.0, 1.5),
];
const POSTERIOR: [Knot; 7] = [
    knot(0.0, -12.0, -17.0, 1.3),
    knot(8.0, -13.0, -16.0, 1.3),
    knot(16.0, -20.0, -14.0, 1.2),
    knot(20.0, -32.0, -9.0, 1.1),
    knot(15.0, -46.0, -3.0, 1.0),
    knot(10.0, -62.0, 2.0, 0.9),
    knot(6.0, -76.0, 5.0, 0.8),
];
const POSTERIOR_END: Knot = knot(6.0, -76.0, 5.0, 0.7);
const SUPERIOR_CEREBELLAR: [Knot; 5] = [
    knot(0.0, -12.0, -20.0, 0.9),
    knot(12.0, -16.0, -21.0, 0.85),
    knot(20.0, -32.0, -20.0, 0.75),
    knot(18.0, -48.0, -15.0, 0.6),
    knot(12.0, -62.0, -10.0, 0.5),
];
const SAGITTAL_SINUS: [Knot; 9] = [
    knot(0.0, 70.0, 22.0, 1.5),
    knot(0.0, 62.0, 46.0, 2.2),
    knot(0.0, 40.0, 66.0, 2.8),
    knot(0.0, 8.0, 77.0, 3.2),
    knot(0.0, -28.0, 80.5, 3.6),
    knot(0.0, -64.0, 72.0, 4.0),
    knot(0.0, -92.0, 47.0, 4.2),
    knot(0.0, -106.0, 16.0, 4.4),
    knot(0.0, -100.0, -12.0, 4.5),
];
const STRAIGHT_SINUS: [Knot; 3] =
    [knot(0.0, -50.0, 5.0, 1.8), knot(0.0, -74.0, -5.0, 2.0), knot(0.0, -99.0, -13.0, 2.4)];
const TRANSVERSE_SINUS: [Knot; 5] = [
    knot(0.0, -100.0, -13.0, 3.6),
    knot(26.0, -96.0, -17.0, 3.6),
    knot(52.0, -74.0, -23.0, 3.5),
    knot(58.0, -48.0, -30.0, 3.4),
    knot(44.0, -38.0, -46.0, 3.4),
];
const INTERNAL_CEREBRAL_VEIN: [Knot; 4] = [
    knot(1.8, -2.0, 11.5, 0.6),
    knot(1.8, -20.0, 13.5, 0.9),
    knot(1.5, -38.0, 10.0, 1.2),
    knot(0.0, -50.0, 5.0, 1.6),
];
