//! Transforms in the file format of ITK, ANTs, SimpleITK and 3D Slicer.
//!
//! ITK works in LPS: its first two axes run against those of RAS+. It stores the map from the fixed to the moving image,
//! as does [`Transform`].

use std::io::Write as _;
use std::path::Path;

use brainmvp_volume::{AtPath as _, write_atomically};
use nalgebra::{Matrix3, Quaternion, Rotation3, UnitQuaternion, Vector3};

use crate::{Result, Transform};

const FIRST_LINE: &str = "#Insight Transform File V1.0";

/// Writes a transform as an ITK text file (`.txt` or `.tfm`), completely or not at all: an `AffineTransform_double_3_3`.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, transform: &Transform) -> Result<()> {
    let rows = flipped(transform).rows();
    let mut numbers: Vec<String> = Vec::with_capacity(12);
    numbers.extend(rows.iter().flat_map(|row| row[..3].iter().map(f64::to_string)));
    numbers.extend(rows.iter().map(|row| row[3].to_string()));
    let text = format!(
        "{FIRST_LINE}\n#Transform 0\nTransform: AffineTransform_double_3_3\nParameters: {}\nFixedParameters: 0 0 0\n",
        numbers.join(" ")
    );
    Ok(write_atomically(path, |file| file.write_all(text.as_bytes()))?)
}

/// Reads a transform from an ITK text file with one linear transform in three dimensions.
///
/// Supported are `AffineTransform`, `MatrixOffsetTransformBase`, `Euler3DTransform`, `VersorRigid3DTransform`,
/// `Similarity3DTransform`, `TranslationTransform` and `IdentityTransform`.
///
/// # Errors
/// Where the file cannot be read, is not an ITK text file, or contains another number or kind of transforms.
pub fn read(path: &Path) -> Result<Transform> {
    let bytes = std::fs::read(path).at(path)?;
    let parsed = parse(&String::from_utf8_lossy(&bytes));
    Ok(parsed.map_err(|reason| brainmvp_volume::Error::malformed(path, reason))?)
}

/// The same map in the other convention: LPS for RAS+ and back.
fn flipped(transform: &Transform) -> Transform {
    let flip = Matrix3::from_diagonal(&Vector3::new(-1.0, -1.0, 1.0));
    let linear = flip * transform.linear() * flip;
    Transform::about(Vector3::zeros(), linear, flip * transform.translation())
}

fn parse(text: &str) -> std::result::Result<Transform, String> {
    if !text.trim_start().starts_with("#Insight Transform File") {
        return Err(format!("not an ITK transform: its first line is not '{FIRST_LINE}'"));
    }
    let values = |key: &str| {
        let found: Vec<&str> = text.lines().filter_map(|line| line.trim().strip_prefix(key)).collect();
        match found.as_slice() {
            [one] => Ok((*one).trim()),
            [] => Err(format!("it has no line '{key}'")),
            several => Err(format!("it contains {} transforms; give a file with one", several.len())),
        }
    };
    let numbers = |key: &str| -> std::result::Result<Vec<f64>, String> {
        let words = values(key)?.split_whitespace();
        let read = words.map(|word| match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(format!("'{word}' in '{key}' is not a number")),
        });
        read.collect()
    };
    let kind = values("Transform:")?;
    let (parameters, fixed) = (numbers("Parameters:")?, numbers("FixedParameters:")?);
    let transform = linear_transform(kind, &parameters, &fixed).ok_or_else(|| {
        format!(
            "'{kind}' with {} parameters and {} fixed parameters is not a linear transform in three dimensions \
             that is read",
            parameters.len(),
            fixed.len()
        )
    })?;
    let transform = flipped(&transform);
    match transform.inverse() {
        Some(_) => Ok(transform),
        None => Err("its matrix is singular".to_owned()),
    }
}

/// The map, in LPS, of an ITK transform; `None` if its kind is unknown or it has too few or too many numbers.
fn linear_transform(kind: &str, parameters: &[f64], fixed: &[f64]) -> Option<Transform> {
    let kind = kind.strip_suffix("_double_3_3").or_else(|| kind.strip_suffix("_float_3_3"))?;
    let centre = match (kind, fixed) {
        ("IdentityTransform" | "TranslationTransform", []) => Vector3::zeros(),
        // Newer versions of ITK store the order of the rotations after the centre.
        (_, [x, y, z]) | ("Euler3DTransform", [x, y, z, _]) => Vector3::new(*x, *y, *z),
        _ => return None,
    };
    let about = |linear: Matrix3<f64>, shift: &[f64]| {
        let shift = Vector3::from_column_slice(shift);
        Some(Transform::about(centre, linear, centre + shift))
    };
    match (kind, parameters.len()) {
        ("IdentityTransform", _) => Some(Transform::identity()),
        ("TranslationTransform", 3) => about(Matrix3::identity(), parameters),
        ("AffineTransform" | "MatrixOffsetTransformBase", 12) => {
            about(Matrix3::from_row_slice(&parameters[..9]), &parameters[9..])
        }
        ("Euler3DTransform", 6) => {
            let [x, y, z] = [0, 1, 2].map(|axis| {
                Rotation3::from_axis_angle(&Vector3::ith_axis(axis), parameters[axis]).into_inner()
            });
            let linear = if fixed.get(3).is_some_and(|zyx| *zyx != 0.0) { z * y * x } else { z * x * y };
            about(linear, &parameters[3..])
        }
        ("VersorRigid3DTransform", 6) => about(versor(parameters)?, &parameters[3..]),
        ("Similarity3DTransform", 7) => about(versor(parameters)? * parameters[6], &parameters[3..6]),
        _ => None,
    }
}

/// The rotation given by the vector part of a unit quaternion.
fn versor(parameters: &[f64]) -> Option<Matrix3<f64>> {
    let [x, y, z] = *parameters.first_chunk::<3>()?;
    let scalar = 1.0 - x * x - y * y - z * z;
    // Rounding may make the vector of a half turn slightly too long.
    let scalar = (scalar > -1e-6).then(|| scalar.max(0.0).sqrt())?;
    Some(UnitQuaternion::from_quaternion(Quaternion::new(scalar, x, y, z)).to_rotation_matrix().into_inner())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_file_of_simpleitk_is_read() {
        // Written by SimpleITK 2.5: three rotations and a shift about a centre, in LPS.
        let text = "#Insight Transform File V1.0\n#Transform 0\nTransform: Euler3DTransform_double_3_3\n\
                    Parameters: 0.1 -0.2 0.3 5 -6 7\nFixedParameters: 10 20 30 0\n";
        let read = parse(text).unwrap();
        // Where SimpleITK maps the point (1, 2, 3).
        let expected = [16.157193824304887, -1.4373090286911951, 7.094308361021305];
        let found = read.apply([-1.0, -2.0, 3.0]);
        let found = [-found[0], -found[1], found[2]];
        assert!((0..3).all(|axis| (found[axis] - expected[axis]).abs() < 1e-9), "{found:?}");
    }

    #[test]
    fn what_is_not_one_linear_transform_is_refused() {
        const AFFINE: &str = "1 0 0 0 1 0 0 0 1 5 6 7";
        let file = |kind: &str, parameters: &str| {
            format!("{FIRST_LINE}\nTransform: {kind}\nParameters: {parameters}\nFixedParameters: 0 0 0\n")
        };
        let two = file("TranslationTransform_double_3_3", "1 2 3")
            + &file("TranslationTransform_double_3_3", "1 2 3");
        for (text, says) in [
            (String::new(), "first line"),
            ("1 0 0 0\n0 1 0 0\n".to_owned(), "first line"),
            (file("BSplineTransform_double_3_3", "1 2 3"), "BSplineTransform"),
            (file("AffineTransform_double_2_2", "1 0 0 1 0 0"), "AffineTransform_double_2_2"),
            (file("AffineTransform_double_3_3", "1 0 0"), "3 parameters"),
            (file("AffineTransform_double_3_3", "1 0 x"), "'x'"),
            (file("AffineTransform_double_3_3", "1 0 0 1 0 0 0 0 1 0 0 0"), "singular"),
            (file("VersorRigid3DTransform_double_3_3", "1 1 1 0 0 0"), "not a linear transform"),
            (file("AffineTransform_double_3_3", AFFINE).replace("0 0 0\n", "10 20\n"), "2 fixed parameters"),
            (file("AffineTransform_double_3_3", AFFINE).replace(" 0 0 0\n", "\n"), "0 fixed parameters"),
            (two, "2 transforms"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_bit(
            rows in prop::array::uniform3(prop::array::uniform4(-100.0..100.0_f64)),
        ) {
            let transform = Transform::from_rows(rows);
            prop_assume!(transform.inverse().is_some());
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.txt");
            write(&path, &transform).unwrap();
            prop_assert_eq!(read(&path).unwrap(), transform);
        }
    }
}
