//! The smoothest border that fits the evidence of each voxel.

use rayon::prelude::*;

/// Finds the share `u` from 0 to 1 of each voxel that minimises `smoothness * |grad u| + cost * u`, summed over voxels:
/// the convex form of two-region segmentation (Chan, Esedoglu, Nikolova, 2006), by the primal-dual method of Chambolle
/// and Pock (2011). `cost` is below 0 where a voxel belongs inside; `start` is the starting point of the search.
pub(super) fn segment(
    cost: &[f32],
    shape: [usize; 3],
    smoothness: f32,
    start: Vec<f32>,
    rounds: usize,
) -> Vec<f32> {
    /// Below 1 / sqrt(12), the norm of the gradient in three dimensions.
    const STEP: f32 = 0.28;
    let [nx, ny, _] = shape;
    let area = nx * ny;
    let mut share = start;
    let mut ahead = share.clone();
    let mut flow = vec![[0.0_f32; 3]; cost.len()];
    for _ in 0..rounds {
        let rows = flow.par_chunks_mut(area).enumerate();
        rows.for_each(|(z, slab)| {
            for (place, flow) in slab.iter_mut().enumerate() {
                let voxel = z * area + place;
                let here = ahead[voxel];
                let difference =
                    |inside: bool, stride: usize| if inside { ahead[voxel + stride] - here } else { 0.0 };
                let slope = [
                    difference(place % nx + 1 < nx, 1),
                    difference(place + nx < area, nx),
                    difference(voxel + area < cost.len(), area),
                ];
                let moved: [f32; 3] = std::array::from_fn(|i| flow[i] + STEP * slope[i]);
                let length = moved.iter().map(|v| v * v).sum::<f32>().sqrt();
                let shrink = if length > smoothness { smoothness / length } else { 1.0 };
                *flow = moved.map(|v| v * shrink);
            }
        });
        let slabs = share.par_chunks_mut(area).zip(ahead.par_chunks_mut(area)).enumerate();
        slabs.for_each(|(z, (share, ahead))| {
            for (place, (share, ahead)) in share.iter_mut().zip(ahead).enumerate() {
                let voxel = z * area + place;
                let mut outflow = flow[voxel].iter().sum::<f32>();
                if place % nx > 0 {
                    outflow -= flow[voxel - 1][0];
                }
                if place >= nx {
                    outflow -= flow[voxel - nx][1];
                }
                if z > 0 {
                    outflow -= flow[voxel - area][2];
                }
                let new = (*share + STEP * (outflow - cost[voxel])).clamp(0.0, 1.0);
                *ahead = 2.0 * new - *share;
                *share = new;
            }
        });
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_smoothed_away_and_the_ball_stays() {
        let shape = [24, 24, 24];
        let ball = |v: usize| {
            let at = [v % 24, v / 24 % 24, v / 576].map(|i| i as f32 - 11.5);
            at.iter().map(|d| d * d).sum::<f32>().sqrt() < 8.0
        };
        let cost: Vec<f32> = (0..24 * 24 * 24)
            .map(|v| {
                let wrong = (v * 7919 + v / 24 * 104_729) % 100 < 15;
                if ball(v) == wrong { 1.0 } else { -1.0 }
            })
            .collect();
        let share = segment(&cost, shape, 1.0, vec![0.5; cost.len()], 150);
        let count =
            |inside: &dyn Fn(usize) -> bool| (0..cost.len()).filter(|v| inside(*v) != ball(*v)).count();
        let (before, after) = (count(&|v| cost[v] < 0.0), count(&|v| share[v] > 0.5));
        assert!(before > 1500 && after < 150, "{before} voxels were wrong, {after} are");
    }
}
