//! The label schemes that have names.

/// A label scheme with a name, from [`SCHEMES`].
#[derive(Debug, PartialEq, Eq)]
pub struct KnownScheme {
    /// The name to declare it by.
    pub name: &'static str,
    /// The label values and their structures; 0 is always background.
    pub values: &'static [(u16, &'static str)],
    /// Nested regions that are scored, each a union of values.
    pub regions: &'static [(&'static str, &'static [u16])],
    /// Values of voxels that are neither trained on nor scored.
    pub ignored: &'static [u16],
    /// The data sets that use it.
    pub used_by: &'static str,
}

/// All named schemes. The BraTS family has used the same values for different structures over the years.
pub static SCHEMES: &[KnownScheme] = &[
    KnownScheme {
        name: "binary",
        values: &[(1, "foreground")],
        regions: &[("foreground", &[1])],
        ignored: &[],
        used_by: "ISLES22, VSSeg, any single structure",
    },
    KnownScheme {
        name: "brats_2012_16",
        values: &[(1, "necrosis"), (2, "oedema"), (3, "non-enhancing tumour"), (4, "enhancing tumour")],
        regions: &[("ET", &[4]), ("TC", &[1, 3, 4]), ("WT", &[1, 2, 3, 4])],
        ignored: &[],
        used_by: "BraTS 2012-2016",
    },
    KnownScheme {
        name: "brats_legacy",
        values: &[(1, "necrotic core"), (2, "oedema"), (4, "enhancing tumour")],
        regions: &[("ET", &[4]), ("TC", &[1, 4]), ("WT", &[1, 2, 4])],
        ignored: &[],
        used_by: "BraTS 2017-2021, UPENN-GBM, UCSF-PDGM",
    },
    KnownScheme {
        name: "brats_2023",
        values: &[(1, "necrotic core"), (2, "oedema"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[1, 3]), ("WT", &[1, 2, 3])],
        ignored: &[],
        used_by: "BraTS 2023 GLI, SSA, MEN, MET, PED",
    },
    KnownScheme {
        name: "brats_gli_2024",
        values: &[(1, "necrotic core"), (2, "oedema"), (3, "enhancing tumour"), (4, "resection cavity")],
        regions: &[("ET", &[3]), ("TC", &[1, 3]), ("WT", &[1, 2, 3]), ("RC", &[4])],
        ignored: &[],
        used_by: "BraTS 2024 GLI (after treatment)",
    },
    KnownScheme {
        name: "brats_ped_2024",
        values: &[(1, "enhancing tumour"), (2, "non-enhancing tumour"), (3, "cyst"), (4, "oedema")],
        regions: &[("ET", &[1]), ("TC", &[1, 2, 3]), ("WT", &[1, 2, 3, 4])],
        ignored: &[],
        used_by: "BraTS-PEDs 2024 and the TCIA release",
    },
    KnownScheme {
        name: "msd_task01",
        values: &[(1, "oedema"), (2, "non-enhancing tumour"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[2, 3]), ("WT", &[1, 2, 3])],
        ignored: &[],
        used_by: "Medical Segmentation Decathlon Task01",
    },
    KnownScheme {
        name: "mrbrains13",
        values: &[
            (1, "cortical grey matter"),
            (2, "basal ganglia"),
            (3, "white matter"),
            (4, "white matter lesions"),
            (5, "extracerebral fluid"),
            (6, "ventricles"),
            (7, "cerebellum"),
            (8, "brainstem"),
        ],
        regions: &[("CSF", &[5, 6]), ("GM", &[1, 2]), ("WM", &[3, 4])],
        ignored: &[],
        used_by: "MRBrainS13, LabelsForTraining",
    },
    KnownScheme {
        name: "mrbrains13_merged",
        values: &[(1, "cerebrospinal fluid"), (2, "grey matter"), (3, "white matter")],
        regions: &[("CSF", &[1]), ("GM", &[2]), ("WM", &[3])],
        ignored: &[],
        used_by: "MRBrainS13, LabelsForTesting",
    },
    KnownScheme {
        name: "nnunet_brats",
        values: &[(1, "oedema"), (2, "necrotic core"), (3, "enhancing tumour")],
        regions: &[("ET", &[3]), ("TC", &[2, 3]), ("WT", &[1, 2, 3])],
        ignored: &[],
        used_by: "BraTS 2018 and 2021 as nnU-Net converts them",
    },
    KnownScheme {
        name: "wmh_2017",
        values: &[(1, "white matter hyperintensity")],
        regions: &[("WMH", &[1])],
        ignored: &[2],
        used_by: "WMH Segmentation Challenge (MICCAI 2017); 2 is other pathology, which its scores leave out",
    },
];
