//! Nothing of a patient goes further than the user's own files: every command is run on images that are full of marks, and all that
//! is written is searched for them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brainmvp::volume::nifti;
use dicom_core::dictionary::DataDictionary as _;
use dicom_core::value::{DataSetSequence, PrimitiveValue, Value};
use dicom_core::{DataElement, Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};
use dicom_object::InMemDicomObject;

use crate::handmade::{Slices, text, write};
use crate::program::{Ended, Place};

/// The mark in every text, file name and folder name. Words that say what an image is stand beside it.
const MARK: &str = "Qzpatient";
/// The mark in numbers: unique identifiers, weights.
const NUMBER: &str = "77131771";
/// The mark in dates.
const DATE: &str = "18770613";

/// Texts that are passed on, since scanners write them: the list of `sidecar.rs`.
const TECHNICAL: [Tag; 7] = [
    tags::MANUFACTURER,
    tags::MANUFACTURER_MODEL_NAME,
    tags::SOFTWARE_VERSIONS,
    tags::MR_ACQUISITION_TYPE,
    tags::SEQUENCE_NAME,
    tags::SEQUENCE_VARIANT,
    tags::SCAN_OPTIONS,
];

/// The texts without which a file is no image of a known place and modality.
const NEEDED: [Tag; 5] = [
    tags::MODALITY,
    tags::IMAGE_TYPE,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::SCANNING_SEQUENCE,
    tags::SPECIFIC_CHARACTER_SET,
];

/// The numbers that are read of an image: where its voxels are, what they are worth, and how they were measured.
const MEASURED: [Tag; 19] = [
    tags::IMAGE_POSITION_PATIENT,
    tags::IMAGE_ORIENTATION_PATIENT,
    tags::PIXEL_SPACING,
    tags::SLICE_THICKNESS,
    tags::SPACING_BETWEEN_SLICES,
    tags::RESCALE_SLOPE,
    tags::RESCALE_INTERCEPT,
    tags::NUMBER_OF_FRAMES,
    tags::SERIES_NUMBER,
    tags::ACQUISITION_NUMBER,
    tags::TEMPORAL_POSITION_IDENTIFIER,
    tags::TRIGGER_TIME,
    tags::ECHO_TIME,
    tags::REPETITION_TIME,
    tags::INVERSION_TIME,
    tags::FLIP_ANGLE,
    tags::MAGNETIC_FIELD_STRENGTH,
    tags::PIXEL_BANDWIDTH,
    tags::DIFFUSION_B_VALUE,
];

/// Every text element of the groups of patient, study, acquisition and procedure, with its mark; nested and private ones too.
fn marked(instance: usize) -> Vec<DataElement<InMemDicomObject>> {
    let mut all = Vec::new();
    for group in [0x0008_u16, 0x0010, 0x0012, 0x0018, 0x0020, 0x0028, 0x0032, 0x0038, 0x0040, 0x4008] {
        for element in 0..0x3000_u16 {
            let tag = Tag(group, element);
            let Some(entry) = StandardDataDictionary.by_tag(tag) else { continue };
            if entry.tag != dicom_core::dictionary::TagRange::Single(tag)
                || NEEDED.contains(&tag)
                || TECHNICAL.contains(&tag)
                || MEASURED.contains(&tag)
            {
                continue;
            }
            let mark = match entry.vr.relaxed() {
                VR::AE | VR::CS | VR::SH => MARK.to_uppercase(),
                VR::LO | VR::LT | VR::PN | VR::ST | VR::UC | VR::UR | VR::UT => format!("{MARK} {tag}"),
                VR::UI => format!("1.2.{NUMBER}.{}", u32::from(group) << 16 | u32::from(element)),
                VR::DA => DATE.to_owned(),
                VR::DT => format!("{DATE}131313"),
                VR::TM => "131313.771317".to_owned(),
                VR::AS => "113Y".to_owned(),
                VR::DS | VR::IS => NUMBER.to_owned(),
                _ => continue,
            };
            all.push(text(tag, entry.vr.relaxed(), &mark));
        }
    }
    let inner = || InMemDicomObject::from_element_iter([text(tags::PATIENT_ID, VR::LO, MARK)]);
    for tag in [tags::OTHER_PATIENT_I_DS_SEQUENCE, tags::REQUEST_ATTRIBUTES_SEQUENCE] {
        all.push(DataElement::new(tag, VR::SQ, Value::from(DataSetSequence::from(vec![inner()]))));
    }
    for (element, vr) in [(0x0010, VR::LO), (0x1010, VR::LT), (0x1011, VR::PN), (0x1012, VR::UN)] {
        let value = PrimitiveValue::from(MARK);
        let bytes = PrimitiveValue::U8(MARK.bytes().collect());
        all.push(DataElement::new(Tag(0x0029, element), vr, if vr == VR::UN { bytes } else { value }));
    }
    all.push(text(tags::SOP_INSTANCE_UID, VR::UI, &format!("1.2.{NUMBER}.{instance}")));
    all
}

/// A phantom's image as a series below `folder`.
fn series(image: &Path, folder: &Path, (patient, number, description): (usize, usize, &str)) {
    fs::create_dir_all(folder).unwrap();
    let volume = nifti::read(image).unwrap();
    let [nx, ny, nz] = volume.shape();
    let [dx, dy, dz] = volume.grid().affine.spacing_mm();
    let most = volume.voxels().iter().fold(0.0_f32, |most, value| most.max(*value));
    let slices = Slices { description: "", normal_spacing_mm: dz, ..Slices::default() };
    for z in 0..nz {
        let plane = &volume.voxels()[z * nx * ny..][..nx * ny];
        let rows = plane.chunks_exact(nx).rev().flatten();
        let pixels: Vec<u16> = rows.map(|value| (value / most * 4000.0) as u16).collect();
        let short = |tag, value: usize| DataElement::new(tag, VR::US, PrimitiveValue::from(value as u16));
        let mut elements = marked(1000 * number + z);
        elements.extend([
            text(tags::PATIENT_ID, VR::LO, &format!("{MARK}-{patient}")),
            text(tags::STUDY_INSTANCE_UID, VR::UI, &format!("1.2.{NUMBER}.9.{patient}")),
            text(tags::SERIES_INSTANCE_UID, VR::UI, &format!("1.2.{NUMBER}.{patient}.{number}")),
            text(tags::SERIES_DESCRIPTION, VR::LO, &format!("{description} {MARK}")),
            text(tags::SERIES_NUMBER, VR::IS, &number.to_string()),
            text(tags::PIXEL_SPACING, VR::DS, &format!("{dy}\\{dx}")),
            text(tags::ECHO_TIME, VR::DS, if number == 1 { "9" } else { "120" }),
            text(tags::REPETITION_TIME, VR::DS, if number == 1 { "550" } else { "9000" }),
            text(tags::INVERSION_TIME, VR::DS, if number == 1 { "0" } else { "2500" }),
            short(tags::ROWS, ny),
            short(tags::COLUMNS, nx),
            DataElement::new(tags::PIXEL_DATA, VR::OW, PrimitiveValue::U16(pixels.into())),
        ]);
        let path = folder.join(format!("{MARK}-{number}-{z:03}.dcm"));
        write(slices.slice(z, elements), slices.syntax, &path);
    }
}

/// A NIfTI file with marks in every text of its header, in an extension, and in the name within the packed file.
fn marked_nifti(image: &Path, to: &Path) {
    let plain = to.with_extension("nii");
    nifti::copy(image, &plain, None).unwrap();
    let bytes = fs::read(&plain).unwrap();
    fs::remove_file(&plain).unwrap();
    let mut header = bytes[..348].to_vec();
    for (offset, length) in [(4, 10), (14, 18), (148, 80), (228, 24), (328, 16)] {
        let mark = &MARK.as_bytes()[..MARK.len().min(length)];
        header[offset..offset + mark.len()].copy_from_slice(mark);
    }
    let mut extension = vec![1, 0, 0, 0, 32, 0, 0, 0, 6, 0, 0, 0];
    extension.extend(format!("{MARK:\0<24}").bytes());
    header[108..112].copy_from_slice(&(348.0 + extension.len() as f32).to_le_bytes());
    let file = fs::File::create(to).unwrap();
    let mut packed =
        flate2::GzBuilder::new().filename(MARK).comment(MARK).write(file, flate2::Compression::fast());
    for part in [&header[..], &extension, &bytes[352..]] {
        packed.write_all(part).unwrap();
    }
    packed.finish().unwrap();
    assert_eq!(nifti::read(to).unwrap().voxels(), nifti::read(image).unwrap().voxels());
}

/// Two patients of a scanner with T1 and FLAIR, and four in NIfTI files, one of which is damaged; each name is a mark.
fn marked_images(place: &Place) {
    let phantom = ["phantom", "--out", "phantom", "--cases", "6", "--size", "32", "--lesions", "glioma"];
    place
        .run(&[&phantom[..], &["--modalities", "flair,t1", "--missing-rate", "0", "--quiet"]].concat())
        .succeeds();
    let image = |case: usize, kind: &str| {
        place.path(format!("phantom/phantom-{case:04}/phantom-{case:04}_{kind}.nii.gz"))
    };
    for patient in [1, 2] {
        for (number, kind, description) in [(1, "t1", "AX T1"), (2, "flair", "AX FLAIR")] {
            let folder = place.path(format!("export/{MARK}-{patient}/{MARK}-{number}"));
            series(&image(patient, kind), &folder, (patient, number, description));
        }
    }
    for patient in 3..=6 {
        let folder = place.path(format!("scans/{MARK}{patient}"));
        fs::create_dir_all(&folder).unwrap();
        for kind in ["t1", "flair", "mask"] {
            let name = if kind == "mask" { "seg" } else { kind };
            let to = folder.join(format!("{MARK}{patient}_{name}.nii.gz"));
            marked_nifti(&image(patient, kind), &to);
            let beside = serde_json::json!({ "PatientName": MARK, "SeriesDescription": MARK, "InstitutionName": MARK });
            fs::write(to.with_extension("").with_extension("json"), beside.to_string()).unwrap();
        }
    }
    let damaged = place.path(format!("scans/{MARK}6/{MARK}6_t1.nii.gz"));
    let bytes = fs::read(&damaged).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    fs::remove_dir_all(place.path("phantom")).unwrap();
}

/// A mark as it may be written: in either case, as UTF-16, in base64 at any offset.
fn forms() -> Vec<Vec<u8>> {
    let mut forms = Vec::new();
    for mark in [MARK, NUMBER, DATE] {
        forms.extend([mark.as_bytes().to_vec(), mark.to_lowercase().into(), mark.to_uppercase().into()]);
        forms.push(mark.encode_utf16().flat_map(u16::to_le_bytes).collect());
        forms.push(mark.encode_utf16().flat_map(u16::to_be_bytes).collect());
        for offset in 0..3 {
            let padded = [&b"\0\0"[..offset], mark.as_bytes()].concat();
            let coded = STANDARD.encode(padded);
            // The first and last characters depend on what is around.
            forms.push(coded.as_bytes()[if offset == 0 { 0 } else { 4 }..coded.len() - 4].to_vec());
        }
    }
    forms
}

/// The first mark in some bytes, with what is around it.
fn found(bytes: &[u8], forms: &[Vec<u8>]) -> Option<String> {
    forms.iter().find_map(|form| {
        let at = bytes.windows(form.len()).position(|window| window == form)?;
        let around = &bytes[at.saturating_sub(80)..(at + 80).min(bytes.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    })
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// The content of a file, unpacked.
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut unpacked).unwrap();
        // The header of the packed file stays to be searched: it may hold a name.
        bytes.truncate(200);
        bytes.extend(unpacked);
    }
    bytes
}

/// The marks in what was written to a folder.
fn leaks(place: &Place, folder: &str) -> Vec<String> {
    let forms = forms();
    let mut all = Vec::new();
    for path in files(&place.path(folder)) {
        let name = path.strip_prefix(place.path("")).unwrap().display().to_string();
        let leak = found(name.as_bytes(), &forms).or_else(|| found(&content(&path), &forms));
        all.extend(leak.map(|leak| format!("{name}: {leak}")));
    }
    all
}

/// The marks in what a command said.
fn said(command: &str, ended: &Ended) -> Option<String> {
    let text = format!("{}\n{}", ended.stdout, ended.stderr);
    found(text.as_bytes(), &forms()).map(|leak| format!("{command} said: {leak}"))
}

#[test]
fn marks_are_found_in_every_form() {
    let forms = forms();
    let utf16: Vec<u8> = MARK.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for offset in 0..3 {
        let text = format!("{}{MARK} and more", "x".repeat(offset));
        assert!(found(STANDARD.encode(text).as_bytes(), &forms).is_some(), "{offset}");
    }
    assert!(found(&utf16, &forms).is_some() && found(b"nothing", &forms).is_none());
}

const STUDY: &str = r#"
kind = "comparison"
data = "cache"
seeds = [1]
scale = "tiny"
systems = ["scratch-uniformer-small", "brainmvp-uniformer-small"]
split = { test = 0.4, validation = 0.0 }
compute = { pretrain_voxels = 32768, finetune_steps = 2 }
pretrain = { patch.size = 16, train.batch_size = 2, log.pictures_every_steps = 0 }
finetune = { patch.size = 16, train.batch_size = 2, data.validation_share = 0.0 }
tasks.segmentation.task.kind = "segment"
"#;

/// The commands after `index`: what each says is a log, and what each writes is passed on.
fn later_commands() -> Vec<Vec<&'static str>> {
    let train =
        "--set patch.size=16 --set train.max_steps=2 --set train.batch_size=2 --set checkpoint.every_steps=1";
    let lines = [
        "preprocess cohort.json --out cache --spacing 6 --any-brain-size phantoms --report cache-report"
            .to_owned(),
        "report cache --cohort cohort.json --out report".to_owned(),
        format!("pretrain --data cache --out run --set model.preset=tiny {train}"),
        format!(
            "finetune segment --data cache --init run --out segmenter --set data.validation_share=0.3 {train}"
        ),
        "templates run --out templates".to_owned(),
        "predict --model segmenter --in cohort.json --out predictions --probabilities".to_owned(),
        "evaluate --pred predictions --truth cohort.json --out scores.json --csv scores.csv --missing skip"
            .to_owned(),
        "evaluate --model segmenter --modality-subsets --truth cohort.json --out subsets.json".to_owned(),
        "export run --format pytorch --out exported/model.pt".to_owned(),
        "export segmenter --format safetensors --out exported/model.safetensors".to_owned(),
        "embed --model run --in cohort.json --out features.csv".to_owned(),
        "convert cohort.json --out shared --predictions predictions".to_owned(),
        "study --config study.toml --out comparison".to_owned(),
        "runs .".to_owned(),
    ];
    lines.into_iter().map(|line| line.leak().split(' ').collect()).collect()
}

#[test]
fn nothing_of_a_patient_is_passed_on() {
    let place = Place::new();
    marked_images(&place);
    let mut leaked = Vec::new();
    // The words of these two are about the user's own files, and may name them.
    place.run(&["convert", "export", "--out", "study", "--key", "private/key.tsv"]).succeeds();
    let index = [
        "index",
        "export",
        "scans",
        "--out",
        "cohort.json",
        "--explain",
        "--label-scheme",
        "1=lesion",
        "--pseudonyms",
        "private/ids.tsv",
    ];
    place.run(&index).succeeds().prints(&["6 cases of 2 data sets"]);
    place.run(&["check", "cohort.json", "--json", "check.json"]).fails(2, &["1 of 6 cases"]);
    leaked.extend(leaks(&place, "study"));
    leaked.extend(leaks(&place, "cohort-export-nifti"));
    // They link numbers and paths to people, and are to be kept with the images.
    for linking in ["private/key.tsv", "private/ids.tsv", "cohort.json"] {
        assert!(fs::read_to_string(place.path(linking)).unwrap().contains(MARK), "{linking}");
    }
    place.write("study.toml", STUDY);
    let private = place.path("cohort.json");
    for typed in later_commands() {
        let ended = place.run(&typed);
        assert!(ended.code == 0 || ended.stderr.contains("left out"), "{typed:?}: {ended:#?}");
        leaked.extend(said(&typed.join(" "), &ended));
    }
    let quarantined = &place.json("cache/manifest.json")["quarantined"];
    assert!(quarantined[0]["reason"].as_str().unwrap().starts_with("t1: "), "{quarantined}");
    fs::remove_file(private).unwrap();
    for folder in ["export", "scans", "private"] {
        fs::remove_dir_all(place.path(folder)).unwrap();
    }
    leaked.extend(leaks(&place, ""));
    assert!(leaked.is_empty(), "{leaked:#?}");
    assert!(files(&place.path("")).len() > 60, "what is searched is there");
}

/// What scanners write of themselves is passed on, and only in the JSON file beside the image.
#[test]
fn only_technical_texts_are_passed_on() {
    let place = Place::new();
    fs::create_dir(place.path("export")).unwrap();
    let slices = Slices { normal_spacing_mm: 5.0, ..Slices::default() };
    for z in 0..6 {
        let own = |tag: &Tag| text(*tag, VR::LO, &format!("Own{:04x}{:04x}", tag.0, tag.1));
        let mut elements = marked(z);
        elements.extend(TECHNICAL.iter().map(own));
        for (tag, vr, value) in [
            (tags::SERIES_INSTANCE_UID, VR::UI, "1.2.1"),
            (tags::SERIES_DESCRIPTION, VR::LO, "AX T1"),
            (tags::STUDY_INSTANCE_UID, VR::UI, "1.2.9"),
        ] {
            elements.push(text(tag, vr, value));
        }
        write(slices.slice(z, elements), slices.syntax, &place.path(format!("export/{z}")));
    }
    place.run(&["convert", "export", "--out", "study"]).succeeds().prints(&["1 volume written"]);
    let sidecar = place.json("study/sub-001/ses-01/anat/sub-001_ses-01_ce-contrast_T1w.json").to_string();
    for tag in TECHNICAL {
        // What DICOM calls a code string is upper case.
        let marker = format!("Own{:04x}{:04x}", tag.0, tag.1).to_uppercase();
        assert!(sidecar.to_uppercase().contains(&marker), "{tag}: {sidecar}");
    }
    assert_eq!(leaks(&place, "study"), [""; 0]);
    for path in files(&place.path("study")) {
        let is_json = path.extension().is_some_and(|ending| ending == "json");
        assert!(is_json || !String::from_utf8_lossy(&content(&path)).contains("Own0"), "{}", path.display());
    }
}

/// The voxels of an image inside and outside of a mask that are not those of another image.
fn changed(before: &Path, after: &Path, mask: &Path) -> [usize; 2] {
    let [before, after, mask] = [before, after, mask].map(|path| nifti::read(path).unwrap());
    assert_eq!(before.grid(), after.grid());
    let differs = |v: &usize| before.voxels()[*v].to_bits() != after.voxels()[*v].to_bits();
    let (inside, outside): (Vec<usize>, Vec<usize>) =
        (0..before.voxels().len()).filter(differs).partition(|v| mask.voxels()[*v] > 0.0);
    [inside.len(), outside.len()]
}

/// `convert --deface`, from NIfTI files and from DICOM: the brain keeps its bits, and much in front of it has gone.
#[test]
fn faces_are_erased_if_asked_for() {
    let place = Place::new();
    let phantom = ["phantom", "--out", "heads", "--cases", "1", "--size", "48", "--head", "whole", "--quiet"];
    let more = ["--modalities", "t1,flair", "--missing-rate", "0", "--lesions", "healthy"];
    place.run(&[&phantom[..], &more].concat()).succeeds();
    let file = |kind: &str| place.path(format!("heads/phantom-0001/phantom-0001_{kind}.nii.gz"));
    let out = |out: &str, kind: &str| {
        place.path(format!("{out}/sub-phantom0001/anat/sub-phantom0001_desc-preproc_{kind}.nii.gz"))
    };
    place.run(&["convert", "heads/cohort.json", "--out", "whole"]).succeeds();
    place.run(&["convert", "heads/cohort.json", "--out", "defaced", "--deface"]).succeeds();
    for (kind, bids) in [("t1", "T1w"), ("flair", "FLAIR")] {
        assert_eq!(changed(&file(kind), &out("whole", bids), &file("mask")), [0, 0]);
        let [inside, outside] = changed(&file(kind), &out("defaced", bids), &file("mask"));
        assert!(inside == 0 && outside > 2000, "{kind}: {inside} inside, {outside} outside");
    }
    // The same from a scanner; the phantoms lie where the slices say.
    series(&file("t1"), &place.path("export/a"), (1, 1, "AX T1"));
    place.run(&["convert", "export", "--out", "study"]).succeeds();
    place.run(&["convert", "export", "--out", "study-defaced", "--deface"]).succeeds();
    let image = "sub-001/ses-01/anat/sub-001_ses-01_ce-contrast_T1w.nii.gz";
    let [before, after] = ["study", "study-defaced"].map(|folder| place.path(folder).join(image));
    let erased: usize = changed(&before, &after, &before).into_iter().sum();
    assert!(erased > 2000, "{erased}");
    // A brain alone is written as it is; where there is none, nothing is written.
    let mut cohort = place.json("heads/cohort.json");
    let mask = cohort["cases"][0]["brain_mask"].clone();
    cohort["cases"][0]["images"] = serde_json::json!({ "t2": mask });
    place.write("heads/mask.json", &cohort.to_string());
    place
        .run(&["convert", "heads/mask.json", "--out", "no-head", "--deface"])
        .succeeds()
        .notes(&["nothing is erased of phantom-0001 t2: it shows a brain without a head"]);
    fs::create_dir(place.path("noise")).unwrap();
    for z in 0..6 {
        Slices::default().write(&place.path("noise"), z, Vec::new());
    }
    place
        .run(&["convert", "noise", "--out", "refused", "--deface"])
        .fails(2, &["no volume was written"])
        .notes(&["sub-001 ses-01 series 3 (AX T1) is left out: the brain was not found"]);
}
