//! Series made by hand: sorted, split, refused by name.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

mod handmade;

use std::path::Path;

use brainmvp_dicom::{Error, Scan, Series, scan};
use brainmvp_volume::{Affine, Modality};
use dicom_core::value::{DataSetSequence, Value};
use dicom_core::{DataElement, PrimitiveValue, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;
use handmade::{SHAPE, Slices, fragments, stored, text, write};
use tempfile::{TempDir, tempdir};

fn folder_of(slices: &Slices, count: usize) -> TempDir {
    let folder = tempdir().unwrap();
    for z in 0..count {
        slices.write(folder.path(), z, Vec::new());
    }
    folder
}

fn only_series(folder: &Path) -> Series {
    let Scan { mut series, refused, .. } = scan(folder).unwrap();
    assert_eq!((series.len(), refused.len()), (1, 0), "{refused:?}");
    series.remove(0)
}

/// Why the one series is refused.
fn refusal(folder: &Path) -> String {
    let series = only_series(folder);
    let error = series.volumes().unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("dcm2niix"), "{message}");
    message
}

#[test]
fn slices_are_sorted_by_place_in_any_transfer_syntax() {
    #[allow(deprecated, reason = "archives have it")]
    let big_endian = uids::EXPLICIT_VR_BIG_ENDIAN;
    for syntax in [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN, big_endian] {
        let slices = Slices { syntax, rescale: [0.5, 3.0], ..Slices::default() };
        let folder = folder_of(&slices, 7);
        std::fs::write(folder.path().join("notes.txt"), "not DICOM").unwrap();
        let series = only_series(folder.path());
        let volumes = series.volumes().unwrap();
        assert_eq!(volumes.len(), 1);
        let volume = volumes[0].read().unwrap();
        assert_eq!(volume.shape(), [SHAPE[0], SHAPE[1], 7]);
        for (z, row, column) in [(0, 0, 0), (6, 3, 5), (3, 1, 2)] {
            let expected = 0.5 * f32::from(stored(z, row, column)) + 3.0;
            assert_eq!(volume.at([column, SHAPE[1] - 1 - row, z]), expected, "{syntax} {z} {row} {column}");
        }
        // The first pixel of the first slice is at (10, 10, 10) mm in LPS.
        let expected = Affine::from_rows([
            [-0.8, 0.0, 0.0, -10.0],
            [0.0, 0.9, 0.0, -10.0 - 3.0 * 0.9],
            [0.0, 0.0, 5.5, 10.0],
        ]);
        assert!(volume.grid().affine.close_to(&expected, 1e-9), "{:?}", volume.grid().affine.rows());
        assert_eq!(volumes[0].finding.modality(), Some(Modality::T1), "{}", volumes[0].finding.reason());
    }
}

#[test]
fn voxels_lie_where_their_tags_say_in_any_orientation() {
    let half = 0.5_f64.sqrt();
    for orientation in [
        [0.0, 1.0, 0.0, 0.0, 0.0, -1.0],
        [1.0, 0.0, 0.0, 0.0, 0.0, -1.0],
        [half, half, 0.0, -half, half, 0.0],
        [-1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
    ] {
        let slices = Slices { orientation, ..Slices::default() };
        let folder = folder_of(&slices, 5);
        let series = only_series(folder.path());
        let volume = series.volumes().unwrap().remove(0).read().unwrap();
        let [a, b, c, d, e, f] = orientation;
        let normal = [b * f - c * e, c * d - a * f, a * e - b * d];
        for (z, row, column) in [(0, 0, 0), (4, 2, 5)] {
            let lps: [f64; 3] = std::array::from_fn(|i| {
                10.0 + orientation[i] * 0.8 * column as f64
                    + orientation[3 + i] * 0.9 * row as f64
                    + normal[i] * 5.5 * z as f64
            });
            let voxel = volume.grid().affine.inverse().unwrap().to_world([-lps[0], -lps[1], lps[2]]);
            let index = voxel.map(|x| x.round() as usize);
            assert!(voxel.iter().zip(index).all(|(x, i)| (x - i as f64).abs() < 1e-6), "{voxel:?}");
            assert_eq!(volume.at(index), f32::from(stored(z, row, column)));
        }
    }
}

#[test]
fn gaps_duplicates_and_mixtures_are_refused_by_name() {
    let slices = Slices::default();
    let folder = folder_of(&slices, 4);
    slices.write(folder.path(), 6, Vec::new());
    assert!(
        refusal(folder.path()).contains("2 of 7 slices missing, the first after 26.50 mm"),
        "{}",
        refusal(folder.path())
    );

    let folder = folder_of(&slices, 4);
    let other = vec![text(tags::SOP_INSTANCE_UID, VR::UI, "1.9.9")];
    write(slices.slice(2, other), slices.syntax, &folder.path().join("again"));
    let message = refusal(folder.path());
    assert!(message.contains("two slices at the same place") && message.contains("again"), "{message}");

    let folder = folder_of(&slices, 4);
    let uneven = vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, "10\\10\\33.9")];
    slices.write(folder.path(), 5, uneven);
    assert!(refusal(folder.path()).contains("unevenly spaced: 5.500 to 7.400 mm"));

    let folder = folder_of(&slices, 4);
    slices.write(folder.path(), 5, vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, "14\\10\\32")]);
    assert!(refusal(folder.path()).contains("not stacked straight"));

    let folder = folder_of(&slices, 4);
    let sagittal = vec![text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "0\\1\\0\\0\\0\\-1")];
    slices.write(folder.path(), 5, sagittal);
    assert!(refusal(folder.path()).contains("several orientations (1 of 5"));

    let folder = folder_of(&slices, 4);
    slices.write(folder.path(), 4, vec![text(tags::PIXEL_SPACING, VR::DS, "1\\1")]);
    assert!(refusal(folder.path()).contains("several pixel spacings"));

    let folder = folder_of(&slices, 4);
    slices.write(folder.path(), 4, vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, "10\\10")]);
    assert!(refusal(folder.path()).contains("no usable ImagePositionPatient"));
}

#[test]
fn a_file_that_is_there_twice_counts_once() {
    let slices = Slices::default();
    let folder = folder_of(&slices, 5);
    write(slices.slice(2, Vec::new()), slices.syntax, &folder.path().join("copy"));
    let series = only_series(folder.path());
    assert_eq!((series.copies, series.slice_count(), series.volumes().unwrap().len()), (1, 5, 1));
}

#[test]
fn echoes_b_values_and_time_points_are_told_apart() {
    let folder = tempdir().unwrap();
    let mut instance = 0;
    let mut put = |z: usize, more: Vec<_>| {
        instance += 1;
        let uid = text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.7.{instance}"));
        let object = Slices::default().slice(z, std::iter::once(uid).chain(more).collect());
        write(object, uids::EXPLICIT_VR_LITTLE_ENDIAN, &folder.path().join(format!("f{instance}")));
    };
    for z in 0..6 {
        for echo in ["12", "80"] {
            for time in ["1", "2"] {
                let time = text(tags::TEMPORAL_POSITION_IDENTIFIER, VR::IS, time);
                put(z, vec![text(tags::ECHO_TIME, VR::DS, echo), time]);
            }
        }
    }
    let series = only_series(folder.path());
    let parts: Vec<String> = series.volumes().unwrap().into_iter().map(|volume| volume.part).collect();
    assert_eq!(
        parts,
        ["echo 12 ms, time 1", "echo 12 ms, time 2", "echo 80 ms, time 1", "echo 80 ms, time 2"]
    );

    let folder = tempdir().unwrap();
    for (series_b, b) in ["0", "1000"].into_iter().enumerate() {
        for z in 0..6 {
            let more = vec![
                text(tags::SCANNING_SEQUENCE, VR::CS, "EP"),
                text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.8.{series_b}.{z}")),
                text(tags::SEQUENCE_NAME, VR::SH, &format!("*ep_b{b}t")),
            ];
            let path = folder.path().join(format!("b{b}-{z}"));
            write(Slices::default().slice(z, more), uids::EXPLICIT_VR_LITTLE_ENDIAN, &path);
        }
    }
    let series = only_series(folder.path());
    let found: Vec<_> = series
        .volumes()
        .unwrap()
        .into_iter()
        .map(|volume| (volume.part, volume.finding.modality()))
        .collect();
    assert_eq!(found, [("b 0".to_owned(), None), ("b 1000".to_owned(), Some(Modality::Dwi))]);
}

/// One file with slices of two echoes, in any order.
fn enhanced(frames: &[(usize, f64)]) -> InMemDicomObject {
    let item = |elements: Vec<DataElement<InMemDicomObject>>| InMemDicomObject::from_element_iter(elements);
    let group = |sequence, elements| {
        DataElement::new(sequence, VR::SQ, Value::from(DataSetSequence::from(vec![item(elements)])))
    };
    let per_frame: Vec<InMemDicomObject> = frames
        .iter()
        .map(|(z, echo)| {
            let position = format!("10\\10\\{}", 10.0 + 2.0 * *z as f64);
            item(vec![
                group(
                    tags::PLANE_POSITION_SEQUENCE,
                    vec![text(tags::IMAGE_POSITION_PATIENT, VR::DS, &position)],
                ),
                group(
                    tags::MR_ECHO_SEQUENCE,
                    vec![DataElement::new(tags::EFFECTIVE_ECHO_TIME, VR::FD, PrimitiveValue::from(*echo))],
                ),
            ])
        })
        .collect();
    let shared = item(vec![
        group(
            tags::PLANE_ORIENTATION_SEQUENCE,
            vec![text(tags::IMAGE_ORIENTATION_PATIENT, VR::DS, "1\\0\\0\\0\\1\\0")],
        ),
        group(tags::PIXEL_MEASURES_SEQUENCE, vec![text(tags::PIXEL_SPACING, VR::DS, "0.9\\0.8")]),
        group(
            tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE,
            vec![text(tags::RESCALE_SLOPE, VR::DS, "2"), text(tags::RESCALE_INTERCEPT, VR::DS, "1")],
        ),
    ]);
    let pixels = frames.iter().flat_map(|(z, echo)| {
        (0..SHAPE[1]).flat_map(move |row| {
            (0..SHAPE[0]).map(move |column| (stored(*z, row, column) + *echo as i16) as u16)
        })
    });
    let mut object = Slices::default().slice(0, Vec::new());
    for tag in
        [tags::IMAGE_POSITION_PATIENT, tags::IMAGE_ORIENTATION_PATIENT, tags::PIXEL_SPACING, tags::ECHO_TIME]
    {
        object.remove_element(tag);
    }
    object.put(text(tags::NUMBER_OF_FRAMES, VR::IS, &frames.len().to_string()));
    object.put(DataElement::new(
        tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE,
        VR::SQ,
        Value::from(DataSetSequence::from(vec![shared])),
    ));
    object.put(DataElement::new(
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        VR::SQ,
        Value::from(DataSetSequence::from(per_frame)),
    ));
    object.put(DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.collect())));
    object
}

#[test]
fn frames_of_an_enhanced_file_are_placed_by_their_groups() {
    let frames = [(3, 10.0), (0, 90.0), (1, 10.0), (2, 90.0), (0, 10.0), (3, 90.0), (2, 10.0), (1, 90.0)];
    let folder = tempdir().unwrap();
    let path = folder.path().join("enhanced");
    write(enhanced(&frames), uids::EXPLICIT_VR_LITTLE_ENDIAN, &path);
    let series = only_series(folder.path());
    let volumes = series.volumes().unwrap();
    let parts: Vec<&str> = volumes.iter().map(|volume| volume.part.as_str()).collect();
    assert_eq!(parts, ["echo 10 ms", "echo 90 ms"]);
    for (volume, echo) in volumes.iter().zip([10.0_f32, 90.0]) {
        let volume = volume.read().unwrap();
        assert_eq!(
            (volume.shape(), volume.grid().affine.spacing_mm()),
            ([SHAPE[0], SHAPE[1], 4], [0.8, 0.9, 2.0])
        );
        let expected = 2.0 * (f32::from(stored(3, 1, 2)) + echo) + 1.0;
        assert_eq!(volume.at([2, SHAPE[1] - 2, 3]), expected);
    }
    // One frame is lost.
    write(enhanced(&frames[1..]), uids::EXPLICIT_VR_LITTLE_ENDIAN, &path);
    assert_eq!(
        only_series(folder.path()).volumes().unwrap()[0].grid.shape[2],
        3,
        "the last slice is not missed"
    );
    write(enhanced(&[&frames[..2], &frames[3..]].concat()), uids::EXPLICIT_VR_LITTLE_ENDIAN, &path);
    assert!(refusal(folder.path()).contains("echo 10 ms: 1 of 4 slices missing"));
}

#[test]
fn what_is_not_read_is_refused_with_its_name() {
    let folder = tempdir().unwrap();
    let slices = Slices { syntax: uids::JPEGLS_LOSSLESS, ..Slices::default() };
    slices.write(folder.path(), 0, vec![fragments(vec![vec![0; 8]])]);
    let slices = Slices { series: "1.2.3.2", ..Slices::default() };
    slices.write(folder.path(), 0, vec![text(tags::IMAGE_TYPE, VR::CS, "ORIGINAL\\PRIMARY\\M\\MOSAIC")]);
    let slices = Slices { series: "1.2.3.4", ..Slices::default() };
    slices.write(folder.path(), 0, vec![text(tags::NUMBER_OF_FRAMES, VR::IS, "40")]);
    let scan = scan(folder.path()).unwrap();
    let messages: Vec<String> = scan.refused.iter().map(ToString::to_string).collect();
    assert_eq!(messages.len(), 3);
    for word in ["JPEG-LS", "mosaic", "40 frames"] {
        assert!(
            messages.iter().any(|message| message.contains(word) && message.contains("dcm2niix")),
            "{messages:?}"
        );
    }
}

#[test]
fn a_scaling_or_count_that_is_no_number_is_refused() {
    let faults = [
        (tags::RESCALE_SLOPE, VR::DS, "1,5", "its RescaleSlope is '1,5', not a number"),
        (tags::RESCALE_INTERCEPT, VR::DS, "none", "its RescaleIntercept is 'none', not a number"),
        (tags::NUMBER_OF_FRAMES, VR::IS, "-2", "its NumberOfFrames is '-2', not a count"),
    ];
    for (tag, vr, value, reason) in faults {
        let folder = tempdir().unwrap();
        Slices::default().write(folder.path(), 0, vec![text(tag, vr, value)]);
        let found = scan(folder.path()).unwrap();
        assert!(found.series.is_empty());
        assert!(found.refused[0].to_string().contains(reason), "{:?}", found.refused);
    }
    // An empty value counts as absent.
    let folder = tempdir().unwrap();
    Slices::default().write(folder.path(), 0, vec![text(tags::RESCALE_SLOPE, VR::DS, "")]);
    assert_eq!(scan(folder.path()).unwrap().series.len(), 1);
}

#[test]
fn sidecars_name_nobody() {
    let folder = folder_of(&Slices { description: "Doe^Jane T1", ..Slices::default() }, 5);
    let series = only_series(folder.path());
    let sidecar = series.volumes().unwrap().remove(0).sidecar();
    assert_eq!((&sidecar["EchoTime"], &sidecar["RepetitionTime"]), (&0.009.into(), &0.55.into()));
    let text = serde_json::to_string(&sidecar).unwrap();
    for private in ["Doe", "P-77", "1950", "2020", "Hospital", "STATION", "1.2.3"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[test]
fn a_length_that_leads_out_of_the_file_costs_no_memory() {
    let folder = folder_of(&Slices::default(), 1);
    let path = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&path).unwrap();
    // The pixels claim 4 GB; the last element is OW with a length of four bytes.
    let at = bytes.len() - 2 * SHAPE[0] * SHAPE[1] - 4;
    bytes[at..at + 4].copy_from_slice(&0xFFFF_FF00_u32.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let message = scan(folder.path()).unwrap().refused[0].to_string();
    assert!(
        message.contains("(7FE0,0010)") && message.contains("needs 4294967040 bytes, but there are 48"),
        "{message}"
    );
}
