//! Standard spaces, recognised by their grids.

use brainmvp_volume::orientation::Reorientation;
use brainmvp_volume::{Affine, Grid};
use serde::{Deserialize, Serialize};

/// A space that many studies share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StandardSpace {
    /// The SRI24 atlas as BraTS uses it, 240 x 240 x 155 voxels of 1 mm.
    #[serde(rename = "SRI24")]
    Sri24,
    /// MNI152, in any of its usual grids.
    #[serde(rename = "MNI152")]
    Mni152,
}

/// The usual grids: voxels, their size in mm, and the centre of the first one, with axes to the right, front and top.
const GRIDS: [(StandardSpace, [usize; 3], f64, [f64; 3]); 7] = [
    (StandardSpace::Sri24, [240, 240, 155], 1.0, [-239.0, 0.0, 0.0]),
    // FSL.
    (StandardSpace::Mni152, [182, 218, 182], 1.0, [-91.0, -126.0, -72.0]),
    (StandardSpace::Mni152, [91, 109, 91], 2.0, [-90.0, -126.0, -72.0]),
    // ICBM 2009, nonlinear.
    (StandardSpace::Mni152, [193, 229, 193], 1.0, [-96.0, -132.0, -78.0]),
    (StandardSpace::Mni152, [197, 233, 189], 1.0, [-98.0, -134.0, -72.0]),
    // SPM.
    (StandardSpace::Mni152, [181, 217, 181], 1.0, [-90.0, -126.0, -72.0]),
    (StandardSpace::Mni152, [121, 145, 121], 1.5, [-90.0, -126.0, -72.0]),
];

/// More than rounding in headers, less than would matter.
const SAME_PLACE_MM: f64 = 0.1;

impl StandardSpace {
    /// The space that this is a usual grid of, in any orientation of the axes.
    pub fn of(grid: &Grid) -> Option<Self> {
        let ras = Reorientation::to_ras(&grid.affine).grid(grid);
        let known = |(_, shape, spacing_mm, origin_mm): &(_, _, f64, _)| {
            let affine = Affine::from_spacing([*spacing_mm; 3], *origin_mm);
            Grid::new(*shape, affine).same_place(&ras, SAME_PLACE_MM)
        };
        GRIDS.iter().find(|row| known(row)).map(|row| row.0)
    }

    /// The usual name of the space.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sri24 => "SRI24",
            Self::Mni152 => "MNI152",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_headers_are_recognised() {
        let rows = |x: [f64; 2], y: [f64; 2], z: [f64; 2]| {
            Affine::from_rows([[x[0], 0.0, 0.0, x[1]], [0.0, y[0], 0.0, y[1]], [0.0, 0.0, z[0], z[1]]])
        };
        for (shape, affine, expected) in [
            // BraTS (LPS), the SRI24 file (LAS), FSL at 1 and 2 mm (LAS), ICBM 2009 (RAS).
            ([240, 240, 155], rows([-1.0, 0.0], [-1.0, 239.0], [1.0, 0.0]), Some("SRI24")),
            ([240, 240, 155], rows([-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]), Some("SRI24")),
            ([182, 218, 182], rows([-1.0, 90.0], [1.0, -126.0], [1.0, -72.0]), Some("MNI152")),
            ([91, 109, 91], rows([-2.0, 90.0], [2.0, -126.0], [2.0, -72.0]), Some("MNI152")),
            ([193, 229, 193], rows([1.0, -96.0], [1.0, -132.0], [1.0, -78.0]), Some("MNI152")),
            // The right shape at another place.
            ([240, 240, 155], rows([-1.0, 120.0], [-1.0, 120.0], [1.0, -77.0]), None),
            ([256, 256, 26], rows([-1.0, 0.0], [1.0, 0.0], [1.0, 0.0]), None),
        ] {
            assert_eq!(StandardSpace::of(&Grid::new(shape, affine)).map(StandardSpace::name), expected);
        }
    }
}
