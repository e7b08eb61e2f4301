//! Times reading, reorientation, resampling and writing:
//! `cargo run --release -p brainmvp-volume --example load_speed -- FILE...`

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use brainmvp_volume::resample::{Interpolation, onto_grid, to_spacing};
use brainmvp_volume::{nifti, orientation};

/// Each step is run this often; the best time counts.
const RUNS: usize = 10;

fn best_ms(mut step: impl FnMut()) -> f64 {
    let time = |_| {
        let start = Instant::now();
        step();
        start.elapsed().as_secs_f64() * 1000.0
    };
    (0..RUNS).map(time).fold(f64::INFINITY, f64::min)
}

#[allow(clippy::print_stdout)]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir();
    for file in std::env::args().skip(1) {
        let path = Path::new(&file);
        let volume = nifti::read(path)?;
        let oriented = orientation::to_ras(volume.clone());
        let spaced = to_spacing(&oriented, [1.0; 3], Interpolation::Trilinear);
        println!("{file}: {:?} -> {:?}", volume.shape(), spaced.shape());
        println!("  header     {:7.2} ms", best_ms(|| drop(nifti::read_header(path))));
        println!("  read       {:7.2} ms", best_ms(|| drop(nifti::read(path))));
        let clone = best_ms(|| drop(volume.clone()));
        println!("  to RAS     {:7.2} ms", best_ms(|| drop(orientation::to_ras(volume.clone()))) - clone);
        println!(
            "  to 1 mm    {:7.2} ms",
            best_ms(|| drop(to_spacing(&oriented, [1.0; 3], Interpolation::Trilinear)))
        );
        let onto = || drop(onto_grid(&volume, spaced.grid(), Interpolation::Trilinear, 0.0));
        println!("  onto grid  {:7.2} ms (through the affine)", best_ms(onto));
        for name in ["brainmvp-load-speed.nii", "brainmvp-load-speed.nii.gz"] {
            let target = folder.join(name);
            let mut last = Ok(());
            let ms = best_ms(|| last = nifti::write(&target, &volume, nifti::WriteOptions::default()));
            last?;
            println!("  write      {ms:7.2} ms ({name}, {} kB)", std::fs::metadata(&target)?.len() / 1000);
            std::fs::remove_file(&target)?;
        }
    }
    Ok(())
}
