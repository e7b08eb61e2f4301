//! How the files of a case are positioned relative to each other.

use std::path::Path;

use brainmvp_volume::orientation::{self, Reorientation};
use brainmvp_volume::{Grid, Role};

use super::{CheckOptions, Kind, Problem, file::Facts};
use crate::Case;

/// Images that share less than this part of the smaller one's field of view are somewhere else.
const LEAST_OVERLAP: f64 = 0.25;

/// Labels with less than this part inside the images' field of view belong to other images.
const LEAST_INSIDE: f64 = 0.5;

/// Compares the grids of a case: images with the first image, label and mask with all images. Boxes of voxels are
/// compared as boxes in space: the order in which a file stores its axes does not matter.
pub(super) fn within_case(
    case: &Case,
    files: &[(Role, &Path, Facts)],
    options: &CheckOptions,
) -> Vec<Problem> {
    let (images, maps): (Vec<_>, Vec<_>) =
        files.iter().partition(|(role, ..)| matches!(role, Role::Image(_)));
    let mut found = Vec::new();
    let Some(((_, first_path, first), others)) = images.split_first() else { return found };
    for (_, path, facts) in others {
        let shared = overlap(&bounds_of(&first.grid), &bounds_of(&facts.grid));
        if shared < LEAST_OVERLAP {
            let percent = shared * 100.0;
            let message = format!(
                "shares only {percent:.0} % of its field of view with {}; `preprocess --register` aligns them",
                first_path.display()
            );
            found.push(Problem::new(case, Some(path), Kind::NoOverlap, message));
        } else if !facts.grid.same_lattice(&first.grid, options.tolerance_mm) {
            let message = format!(
                "{} differs from {}; both will be resampled",
                described(&facts.grid),
                first_path.display()
            );
            found.push(Problem::new(case, Some(path), Kind::GridsDiffer, message));
        }
    }
    let grids: Vec<&Grid> = images.iter().map(|(_, _, facts)| &facts.grid).collect();
    for (_, path, facts) in maps {
        if let Some(image) = grids.iter().find(|image| image.same_lattice(&facts.grid, options.tolerance_mm))
        {
            let [own, others] = [&facts.grid, *image].map(|grid| orientation::code(&grid.affine));
            if !image.same_place(&facts.grid, options.tolerance_mm) {
                let message =
                    format!("is stored as {own}, the images as {others}; it will be reoriented exactly");
                found.push(Problem::new(case, Some(path), Kind::LabelOrder, message));
            }
        } else {
            let (kind, message) = misplaced(&facts.grid, facts.content_mm, &grids);
            found.push(Problem::new(case, Some(path), kind, message));
        }
    }
    found
}

/// What is said of a label map or mask that is not on the lattice of any image.
fn misplaced(map: &Grid, content_mm: Option<[[f64; 3]; 2]>, images: &[&Grid]) -> (Kind, String) {
    // The same voxels at another position: some program has lost the header.
    let same_shape = images.iter().filter(|image| image.shape == map.shape);
    let nearest = same_shape.map(|image| box_distance_mm(image, map)).reduce(f64::min);
    let half_voxel = map.affine.spacing_mm().into_iter().fold(f64::INFINITY, f64::min) / 2.0;
    if let Some(distance) = nearest.filter(|distance| *distance > half_voxel) {
        let message =
            format!("has the shape of an image, but is {distance:.1} mm away from it: the affine is wrong");
        return (Kind::LabelPlacement, message);
    }
    let content = content_mm.unwrap_or_else(|| bounds_of(map));
    let inside = images.iter().map(|image| share_inside(&content, &bounds_of(image))).fold(0.0, f64::max);
    if inside < LEAST_INSIDE {
        let percent = inside * 100.0;
        let message = format!("only {percent:.0} % lies inside the images' field of view");
        return (Kind::LabelPlacement, message);
    }
    (Kind::LabelGrid, format!("{} is not that of any image; it will be resampled", described(map)))
}

/// The box in mm around the voxels from `low` to `high`.
pub(super) fn bounds_mm(grid: &Grid, low: [usize; 3], high: [usize; 3]) -> [[f64; 3]; 2] {
    let mut bounds = [[f64::INFINITY; 3], [f64::NEG_INFINITY; 3]];
    for corner in 0..8 {
        let pick = |axis: usize| if corner >> axis & 1 == 1 { high[axis] } else { low[axis] };
        let world = grid.affine.to_world(std::array::from_fn(|axis| pick(axis) as f64));
        for axis in 0..3 {
            bounds[0][axis] = bounds[0][axis].min(world[axis]);
            bounds[1][axis] = bounds[1][axis].max(world[axis]);
        }
    }
    bounds
}

fn bounds_of(grid: &Grid) -> [[f64; 3]; 2] {
    bounds_mm(grid, [0; 3], grid.shape.map(|axis| axis.saturating_sub(1)))
}

/// The share of `a` that lies inside `b`; a side of no length counts as a point.
fn share_inside(a: &[[f64; 3]; 2], b: &[[f64; 3]; 2]) -> f64 {
    let side = |axis: usize| {
        let (low, high) = (a[0][axis].max(b[0][axis]), a[1][axis].min(b[1][axis]));
        let length = a[1][axis] - a[0][axis];
        match (low <= high, length > 0.0) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => (high - low) / length,
        }
    };
    (0..3).map(side).product()
}

/// The share of the smaller box that is in both.
fn overlap(a: &[[f64; 3]; 2], b: &[[f64; 3]; 2]) -> f64 {
    share_inside(a, b).max(share_inside(b, a))
}

/// How far the box of voxels of `a` is from that of `b`, of the same shape: the distance of the furthest pair of corners,
/// whatever the order in which `b` is stored.
fn box_distance_mm(a: &Grid, b: &Grid) -> f64 {
    let orders = Reorientation::all().map(|order| order.grid(b)).filter(|turned| turned.shape == a.shape);
    orders.map(|turned| furthest_corner_mm(a, &turned)).fold(f64::INFINITY, f64::min)
}

pub(super) fn furthest_corner_mm(a: &Grid, b: &Grid) -> f64 {
    let distance = |corner: usize| {
        let voxel = std::array::from_fn(|axis| {
            if corner >> axis & 1 == 1 { a.shape[axis].saturating_sub(1) as f64 } else { 0.0 }
        });
        let (p, q) = (a.affine.to_world(voxel), b.affine.to_world(voxel));
        (0..3).map(|i| (p[i] - q[i]).powi(2)).sum::<f64>().sqrt()
    };
    (0..8).map(distance).fold(0.0, f64::max)
}

fn described(grid: &Grid) -> String {
    let ([x, y, z], [dx, dy, dz]) = (grid.shape, grid.affine.spacing_mm());
    format!("the grid of {x} x {y} x {z} voxels of {dx:.2} x {dy:.2} x {dz:.2} mm")
}

#[cfg(test)]
mod tests {
    use brainmvp_volume::Affine;

    use super::*;

    #[test]
    fn overlap_is_of_the_smaller() {
        let a = [[0.0; 3], [10.0; 3]];
        assert_eq!(overlap(&a, &a), 1.0);
        assert_eq!(overlap(&a, &[[0.0, 0.0, 4.0], [10.0, 10.0, 5.0]]), 1.0, "a slab");
        assert_eq!(overlap(&a, &[[5.0, 0.0, 0.0], [15.0, 10.0, 10.0]]), 0.5);
        assert_eq!(overlap(&a, &[[11.0, 0.0, 0.0], [15.0, 10.0, 10.0]]), 0.0);
    }

    #[test]
    fn bounds_follow_flips() {
        let rows = [[-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 239.0], [0.0, 0.0, 1.0, 0.0]];
        let grid = Grid::new([240, 240, 155], Affine::from_rows(rows));
        assert_eq!(bounds_of(&grid), [[-239.0, 0.0, 0.0], [0.0, 239.0, 154.0]]);
        let lost = Grid::new([240, 240, 155], Affine::from_spacing([1.0; 3], [0.0; 3]));
        assert_eq!(furthest_corner_mm(&grid, &lost), 239.0 * 5.0f64.sqrt());
        assert_eq!(box_distance_mm(&grid, &lost), 239.0);
        let same_box = Affine::from_spacing([1.0; 3], [-239.0, 0.0, 0.0]);
        assert_eq!(box_distance_mm(&grid, &Grid::new([240, 240, 155], same_box)), 0.0);
    }
}
