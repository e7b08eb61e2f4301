use brainmvp_cohort::{
    Case, CaseId, Cohort,
    phantom::{PhantomConfig, write_cohort},
};
use brainmvp_prep::cache::Cache;
use brainmvp_prep::fingerprint::Fingerprint;
use brainmvp_prep::{Intensity, PrepConfig, RunOptions, SkullStrip, preprocess};
use brainmvp_volume::{Affine, Grid, Modality, Volume, nifti, resample};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

const DATA: &str = "/work/shared/data";
const TMP: &str = "/tmp/leakage/data";

fn lgg() -> Vec<Case> {
    let mut cases = vec![];
    let mut dirs: Vec<_> = std::fs::read_dir(format!("{DATA}/tcga-lgg"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    dirs.sort();
    for dir in dirs {
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let mut case = Case::new(CaseId::new(name.clone()).unwrap(), name.clone(), "lgg");
        for m in [Modality::Flair, Modality::T1, Modality::T1c] {
            let p = dir.join(format!("{name}_{}.nii.gz", m.name()));
            if p.is_file() {
                case.images.insert(m, p);
            }
        }
        cases.push(case);
    }
    cases
}
fn nichart() -> Vec<Case> {
    (1..=23)
        .map(|i| {
            let name = format!("Subj{i}");
            let mut case = Case::new(CaseId::new(name.clone()).unwrap(), name.clone(), "nichart");
            for (m, f) in [
                (Modality::T1, format!("{DATA}/nichart/t1/{name}_T1.nii.gz")),
                (Modality::Flair, format!("{DATA}/nichart/flair/{name}_FL.nii.gz")),
            ] {
                if Path::new(&f).is_file() {
                    case.images.insert(m, f.into());
                }
            }
            case
        })
        .collect()
}
fn rotation(d: [f64; 3]) -> nalgebra::Matrix3<f64> {
    let r = d.map(f64::to_radians);
    nalgebra::Rotation3::from_euler_angles(r[0], r[1], r[2]).into_inner()
}
/// The image moved in the world and resampled on a grid of `spacing`.
pub fn moved(v: &Volume, deg: [f64; 3], shift: [f64; 3], spacing: [f64; 3]) -> Volume {
    let rot = rotation(deg);
    let a = v.grid().affine;
    let lin = rot * a.linear();
    let org = rot * nalgebra::Vector3::from(a.origin_mm()) + nalgebra::Vector3::from(shift);
    let rows = std::array::from_fn(|r| [lin[(r, 0)], lin[(r, 1)], lin[(r, 2)], org[r]]);
    let there = Volume::new(Grid::new(v.shape(), Affine::from_rows(rows)), v.voxels().to_vec());
    // target axis-aligned grid that covers it
    let (mut lo, mut hi) = ([f64::MAX; 3], [f64::MIN; 3]);
    for c in 0..8 {
        let vox: [f64; 3] =
            std::array::from_fn(|i| if c >> i & 1 == 1 { (v.shape()[i] - 1) as f64 } else { 0.0 });
        let w = there.grid().affine.to_world(vox);
        for i in 0..3 {
            lo[i] = lo[i].min(w[i]);
            hi[i] = hi[i].max(w[i]);
        }
    }
    let shape = std::array::from_fn(|i| ((hi[i] - lo[i]) / spacing[i]).ceil() as usize + 1);
    resample::onto_grid(
        &there,
        &Grid::new(shape, Affine::from_spacing(spacing, lo)),
        resample::Interpolation::Trilinear,
        0.0,
    )
}
/// stored flipped & permuted without telling
pub fn mirrored(v: &Volume) -> Volume {
    let s = v.shape();
    let new = [s[1], s[0], s[2]];
    let sp = v.grid().affine.spacing_mm();
    let g = Grid::new(new, Affine::from_spacing([sp[1], sp[0], sp[2]], [0.0; 3]));
    let vox = (0..g.len())
        .map(|o| {
            let [x, y, z] = g.voxel(o);
            v.at([s[0] - 1 - y, x, z])
        })
        .collect();
    Volume::new(g, vox)
}
fn run(cases: Vec<Case>, out: &str, config: &PrepConfig) {
    let t = Instant::now();
    let mut cohort = Cohort::default();
    for c in &cases {
        cohort.data_sets.entry(c.data_set.clone()).or_default();
    }
    cohort.cases = cases;
    let s = preprocess(
        &cohort,
        Path::new(out),
        config,
        &RunOptions { memory_bytes: 3 << 30, force: false, stop: &AtomicBool::new(false) },
        &|_| {},
    )
    .unwrap();
    println!(
        "{out}: {} prepared, {} skipped, {} quarantined {:?} in {:.0}",
        s.prepared,
        s.skipped,
        s.quarantined.len(),
        s.quarantined.first(),
        t.elapsed().as_secs_f64()
    );
}
fn prep() {
    let base = PrepConfig { spacing_mm: [1.5; 3], ..PrepConfig::default() };
    run(lgg(), &format!("{TMP}/lgg"), &base);
    run(nichart(), &format!("{TMP}/nichart"), &base);
    // moved raw
    let other = PrepConfig { spacing_mm: [2.0; 3], percentiles: [5.0, 95.0], ..PrepConfig::default() };
    for (set, cases) in [("lgg", lgg()), ("nichart", nichart())] {
        let dir = PathBuf::from(format!("{TMP}/raw-{set}"));
        std::fs::create_dir_all(&dir).unwrap();
        let cases: Vec<Case> = cases
            .into_par_iter()
            .map(|mut c| {
                for (m, p) in c.images.iter_mut() {
                    let to = dir.join(format!("{}_{}.nii.gz", c.id, m.name()));
                    if !to.is_file() {
                        let v = nifti::read(p).unwrap();
                        let sp = v.grid().affine.spacing_mm().map(|s| s.max(2.0).min(4.0));
                        nifti::write(
                            &to,
                            &moved(&v, [7.0, -5.0, 6.0], [6.0, -9.0, 4.0], sp),
                            nifti::WriteOptions::default(),
                        )
                        .unwrap();
                    }
                    *p = to;
                }
                c
            })
            .collect();
        run(cases, &format!("{TMP}/{set}-moved"), &other);
    }
    run(
        lgg(),
        &format!("{TMP}/lgg-z"),
        &PrepConfig {
            spacing_mm: [3.0; 3],
            intensity: Intensity::ZScore,
            bias_field: true,
            ..PrepConfig::default()
        },
    );
}
fn phantoms() {
    for (name, cases, size, seed) in [("p32", 40, 32, 1u64), ("p96", 12, 96, 2)] {
        let config = PhantomConfig {
            cases,
            size,
            seed,
            missing_rate: 0.0,
            modalities: vec![Modality::T1, Modality::T2, Modality::Flair],
            ..PhantomConfig::default()
        };
        let c = write_cohort(&config, Path::new(&format!("{TMP}/raw-{name}")), &|_| {}).unwrap();
        let sp = 192.0 / size as f64;
        run(
            c.cases.clone(),
            &format!("{TMP}/{name}"),
            &PrepConfig { spacing_mm: [sp; 3], ..PrepConfig::default() },
        );
        run(
            c.cases,
            &format!("{TMP}/{name}-other"),
            &PrepConfig { spacing_mm: [sp * 0.8; 3], percentiles: [5.0, 95.0], ..PrepConfig::default() },
        );
    }
}
fn images(name: &str) -> Vec<(String, Modality, Volume)> {
    let cache = Cache::open(format!("{TMP}/{name}")).unwrap();
    let mut all = vec![];
    for e in cache.cases().iter().take(std::env::var("N").map_or(1000, |n| n.parse().unwrap())) {
        let c = cache.open_case(e).unwrap();
        for m in c.modalities().collect::<Vec<_>>() {
            let mut out = vec![0.0; c.shape().iter().product()];
            c.read_patch(m, [0; 3], c.shape(), &mut out).unwrap();
            all.push((e.case.id.to_string(), m, Volume::new(c.grid().into(), out)));
        }
    }
    all
}
type Prints = BTreeMap<(Modality, String), Fingerprint>;
fn prints(name: &str, f: impl Fn(&Volume) -> Volume) -> Prints {
    let (mut n, mut t, mut len) = (0, 0.0, 0);
    let mut out = Prints::new();
    for (id, m, v) in images(name) {
        let v = f(&v);
        let s = Instant::now();
        let p = Fingerprint::of(&v);
        t += s.elapsed().as_secs_f64();
        n += 1;
        match p {
            Some(p) => {
                len += String::from(p.clone()).len();
                out.insert((m, id), p);
            }
            None => println!("NONE {id} {m}"),
        }
    }
    println!("{name}: {n} images, {:.1} ms each, {} chars each", 1000.0 * t / n as f64, len / n);
    out
}
fn dist(what: &str, mut v: Vec<f64>) {
    v.sort_by(f64::total_cmp);
    let q = |p: f64| v[((v.len() - 1) as f64 * p).round() as usize];
    println!(
        "{what:45} n {:6} min {:.3} 0.1% {:.3} 1% {:.3} 5% {:.3} 50% {:.3} 95% {:.3} 99% {:.3} 99.9% {:.3} max {:.3}",
        v.len(),
        q(0.0),
        q(0.001),
        q(0.01),
        q(0.05),
        q(0.5),
        q(0.95),
        q(0.99),
        q(0.999),
        q(1.0)
    );
}
fn same(what: &str, a: &Prints, b: &Prints) {
    let t = Instant::now();
    for coarse in [true, false] {
        let mut by: BTreeMap<Modality, Vec<(f64, String)>> = BTreeMap::new();
        let r: Vec<_> = a
            .par_iter()
            .filter_map(|(k, p)| {
                let q = b.get(k)?;
                Some((k.clone(), if coarse { p.coarse(q) } else { p.similarity(q) }))
            })
            .collect();
        for (k, s) in r {
            by.entry(k.0).or_default().push((s, k.1));
        }
        for (m, mut v) in by {
            v.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !coarse {
                println!(
                    "   lowest {:?}",
                    v.iter().take(3).map(|(s, n)| format!("{n} {s:.3}")).collect::<Vec<_>>()
                );
            }
            dist(
                &format!("same {what} {m} {}", if coarse { "coarse" } else { "fine" }),
                v.into_iter().map(|x| x.0).collect(),
            );
        }
    }
    println!("{:.1} s", t.elapsed().as_secs_f64());
}
fn different(what: &str, a: &Prints, b: &Prints) {
    let t = Instant::now();
    let mut n = 0;
    for coarse in [true, false] {
        let t = Instant::now();
        let mut by: BTreeMap<Modality, Vec<f64>> = BTreeMap::new();
        let keys: Vec<_> = a
            .iter()
            .flat_map(|(k, p)| {
                b.iter().filter(move |(l, _)| l.0 == k.0 && l.1 != k.1).map(move |(l, q)| (k, p, l, q))
            })
            .collect();
        let keys: Vec<_> = keys.into_iter().enumerate().filter(|(i, _)| i % 7 == 0).map(|x| x.1).collect();
        n = keys.len();
        let r: Vec<_> = keys
            .par_iter()
            .map(|(k, p, l, q)| {
                (k.0, if coarse { p.coarse(q) } else { p.similarity(q) }, format!("{} {}", k.1, l.1))
            })
            .collect();
        let best = r.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        println!("   highest {best:?} {:.3} ms a pair (wall)", 1000.0 * t.elapsed().as_secs_f64() / n as f64);
        for (m, s, _) in r {
            by.entry(m).or_default().push(s);
        }
        for (m, v) in by {
            dist(&format!("different {what} {m} {}", if coarse { "coarse" } else { "fine" }), v);
        }
    }
    println!("{:.1} s for {n} pairs", t.elapsed().as_secs_f64());
}
fn measure(sets: &[&str]) {
    let id = |v: &Volume| v.clone();
    if sets.contains(&"lgg") {
        let a = prints("lgg", id);
        same(
            "lgg moved prepared 7deg",
            &a,
            &prints("lgg", |v| {
                moved(v, [6.0, -5.0, 7.0], [4.0, 5.0, -6.0], [2.0, 2.0, 3.0]).map(|x| (x * 0.6).powf(0.7))
            }),
        );
        if Path::new(&format!("{TMP}/lgg-moved/manifest.json")).is_file() {
            same("lgg moved raw", &a, &prints("lgg-moved", id));
        }
        different("lgg", &a, &a);
    }
    if sets.contains(&"nichart") {
        let a = prints("nichart", id);
        same("nichart moved raw", &a, &prints("nichart-moved", id));
        same("nichart mirrored", &a, &prints("nichart", mirrored));
        different("nichart", &a, &a);
        if sets.contains(&"lgg") {
            different("nichart-lgg", &a, &prints("lgg", id));
        }
    }
    for p in ["p32", "p96"] {
        if sets.contains(&p) {
            let a = prints(p, id);
            same(&format!("{p} other"), &a, &prints(&format!("{p}-other"), id));
            same(
                &format!("{p} moved"),
                &a,
                &prints(p, |v| {
                    let s = v.grid().affine.spacing_mm()[0];
                    moved(v, [5.0, -4.0, 6.0], [4.0, 5.0, -6.0], [s * 0.9; 3])
                }),
            );
            same(&format!("{p} mirrored"), &a, &prints(p, mirrored));
            different(p, &a, &a);
        }
    }
}
fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(2).build_global().unwrap();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args[0].as_str() {
        "prep" => prep(),
        "phantoms" => phantoms(),
        _ => measure(&args[1..].iter().map(String::as_str).collect::<Vec<_>>()),
    }
}
