//! The fifteen data sets of the BrainMVP paper: what they contain, where they are, and how their files are named.
//!
//! Names and facts are those of the releases; the numbers of cases are the paper's (its table I, corrected).

use brainmvp_volume::Modality::{self, Adc, Dwi, Flair, Mra, Pd, T1, T1c, T2};

/// What the paper uses a data set for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Pre-training, without labels.
    Pretraining,
    /// Fine-tuning a segmentation.
    Segmentation,
    /// Fine-tuning a classification.
    Classification,
}

/// Which images of a case share a grid in the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Geometry {
    /// All of them.
    Registered,
    /// Some of them.
    Partial,
    /// None: each is as it was acquired, or there is only one.
    Native,
}

/// A data set of the paper. All that distinguishes it from other data sets is in these values.
#[derive(Debug)]
pub struct PublicDataSet {
    /// Its name in `--data-set` and in a cohort.
    pub name: &'static str,
    /// The name that its authors give it.
    pub title: &'static str,
    /// What the paper uses it for.
    pub purpose: Purpose,
    /// The cases that the paper uses.
    pub cases: usize,
    /// The modalities that the paper uses.
    pub modalities: &'static [Modality],
    /// The meaning of its labels, a name of [`crate::SCHEMES`].
    pub label_scheme: Option<&'static str>,
    /// The words in its tables or folders, each with the class of the paper that it means.
    pub classes: &'static [(&'static str, &'static str)],
    /// Which images of a case share a grid.
    pub geometry: Geometry,
    /// Whether skulls are removed.
    pub stripped: bool,
    /// The voxel size in the paper.
    pub spacing_mm: f64,
    /// What is known about the split.
    pub split: &'static str,
    /// How files are named; empty where the layout `brats` reads them.
    pub files: &'static [FilePattern],
    /// Words that have another meaning in this data set.
    pub aliases: &'static [(&'static str, &'static str)],
    /// The archive and the record in it.
    pub archive: &'static str,
    /// Who may use it, and on what terms.
    pub terms: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// What to watch out for.
    pub note: &'static str,
}

/// How the files of a data set are named.
#[derive(Debug)]
pub struct FilePattern {
    /// A regular expression for the path below the folder, with `/`. Groups: `mod` (the kind of file), `site`, `split`,
    /// `class`, `var` (words for a version), and those that [`FilePattern::case`] and [`FilePattern::subject`] name.
    pub path: &'static str,
    /// The case's id, composed of groups.
    pub case: &'static str,
    /// The subject, composed of groups.
    pub subject: &'static str,
    /// The modality of files without a group `mod`.
    pub only: Option<Modality>,
    /// Words (of `mod` or `var`) that are used only if there is nothing better, in order of preference.
    pub second_choice: &'static [&'static str],
}

impl FilePattern {
    const fn new(path: &'static str, case: &'static str, subject: &'static str) -> Self {
        Self { path, case, subject, only: None, second_choice: &[] }
    }
}

const BRATS: &[Modality] = &[Flair, T1, T1c, T2];
const BRATS_TERMS: &str = "account and request (Synapse); data-use terms of the challenge, no redistribution";
const INDI_TERMS: &str = "open after registration (NITRC); non-commercial research";

/// All fifteen, in the order of the paper.
pub static PUBLIC_DATA_SETS: &[PublicDataSet] = &[
    PublicDataSet {
        name: "brats2021",
        title: "BraTS 2021 (RSNA-ASNR-MICCAI)",
        purpose: Purpose::Pretraining,
        cases: 1470,
        modalities: BRATS,
        label_scheme: Some("brats_legacy"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "1251 training and 219 validation cases, both used",
        files: &[],
        aliases: &[],
        archive: "Synapse syn25829067; also The Cancer Imaging Archive",
        terms: BRATS_TERMS,
        citation: "Baid et al. 2021, arXiv 2107.02314; Menze et al. 2015, IEEE TMI; Bakas et al. 2017, Scientific Data",
        note: "holds many cases of UPENN-GBM, UCSF-PDGM and earlier BraTS: leave those out (--exclude-from) before testing there",
    },
    PublicDataSet {
        name: "brats2023-ssa",
        title: "BraTS 2023 SSA (BraTS-Africa)",
        purpose: Purpose::Pretraining,
        cases: 75,
        modalities: BRATS,
        label_scheme: Some("brats_2023"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "60 training and 15 validation cases, both used",
        files: &[],
        aliases: &[],
        archive: "Synapse syn51514109",
        terms: BRATS_TERMS,
        citation: "Adewole et al. 2023, arXiv 2305.19369",
        note: "images of low field strength and quality",
    },
    PublicDataSet {
        name: "brats2023-men",
        title: "BraTS 2023 MEN (meningioma)",
        purpose: Purpose::Pretraining,
        cases: 1141,
        modalities: BRATS,
        label_scheme: Some("brats_2023"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "1000 training and 141 validation cases, both used",
        files: &[],
        aliases: &[],
        archive: "Synapse syn51514106",
        terms: BRATS_TERMS,
        citation: "LaBella et al. 2023, arXiv 2305.07642",
        note: "1080 people have these 1141 cases: split by subject",
    },
    PublicDataSet {
        name: "ixi",
        title: "IXI (the paper's BrainAtlas)",
        purpose: Purpose::Pretraining,
        cases: 568,
        modalities: &[T1, T2, Mra, Pd],
        label_scheme: None,
        classes: &[],
        geometry: Geometry::Native,
        stripped: false,
        spacing_mm: 1.0,
        split: "497 training and 71 validation cases, both used",
        files: &[FilePattern::new(
            r"(?:^|/)(?P<case>(?P<subj>IXI\d{3})-(?P<site>Guys|HH|IOP)-\d{4})-(?P<mod>T1|T2|PD|MRA|DTI)(?:-\d+)?\.nii",
            "$case",
            "$subj",
        )],
        aliases: &[],
        archive: "brain-development.org, IXI dataset: IXI-T1, IXI-T2, IXI-PD, IXI-MRA",
        terms: "open; CC BY-SA 3.0",
        citation: "IXI dataset, brain-development.org (EPSRC GR/S21533/02)",
        note: "register and strip first; MRA covers a part of the head",
    },
    PublicDataSet {
        name: "ucsf-pdgm",
        title: "UCSF-PDGM (preoperative diffuse glioma)",
        purpose: Purpose::Pretraining,
        cases: 501,
        modalities: &[Flair, T1, T1c, T2, Dwi, Adc],
        label_scheme: Some("brats_legacy"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "425 training and 76 validation cases, both used",
        files: &[FilePattern::new(
            r"(?:^|/)(?P<case>(?P<subj>UCSF-PDGM-\d{3,4})(?:_FU\d{3}d)?)_(?P<mod>ADC|DWI|FLAIR|T1c|T1|T2|SWI|ASL|DTI_eddy_[A-Za-z0-9]+|tumor_segmentation|brain_segmentation|brain_parenchyma_segmentation)(?:_(?P<var>bias))?\.nii",
            "$case",
            "$subj",
        )],
        aliases: &[],
        archive: "The Cancer Imaging Archive, UCSF-PDGM",
        terms: "open; CC BY 4.0",
        citation: "Calabrese et al. 2022, Radiology: Artificial Intelligence",
        note: "six follow-ups (_FU) share the subject; UCSF-PDGM-0420 has no ADC; ids of the table have three digits",
    },
    PublicDataSet {
        name: "brats2023-ped",
        title: "BraTS 2023 PED (paediatric)",
        purpose: Purpose::Segmentation,
        cases: 99,
        modalities: BRATS,
        label_scheme: Some("brats_2023"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "not published",
        files: &[],
        aliases: &[],
        archive: "Synapse syn51514108",
        terms: BRATS_TERMS,
        citation: "Fathi Kazerooni et al. 2023, arXiv 2305.17033",
        note: "the release of 2024 has the same names and other labels: give --label-scheme where the folder does not name the year",
    },
    PublicDataSet {
        name: "brats2023-met",
        title: "BraTS 2023 MET (metastases)",
        purpose: Purpose::Segmentation,
        cases: 237,
        modalities: BRATS,
        label_scheme: Some("brats_2023"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "not published",
        files: &[],
        aliases: &[],
        archive: "Synapse syn51514107",
        terms: BRATS_TERMS,
        citation: "Moawad et al. 2023, arXiv 2306.00838",
        note: "BraTS-MET-00232-000-t2w.nii.gz is damaged; many tiny lesions",
    },
    PublicDataSet {
        name: "isles22",
        title: "ISLES 2022 (ischaemic stroke)",
        purpose: Purpose::Segmentation,
        cases: 238,
        modalities: &[Flair, Dwi, Adc],
        label_scheme: Some("binary"),
        classes: &[],
        geometry: Geometry::Partial,
        stripped: true,
        spacing_mm: 1.5,
        split: "202 training and 36 test cases",
        files: &[FilePattern::new(
            r"(?i)(?:^|/)(?P<case>(?P<subj>sub-strokecase\d{4})_ses-\d{4})_(?P<mod>adc|dwi|flair|msk)\.nii",
            "$case",
            "$subj",
        )],
        aliases: &[],
        archive: "Zenodo record 7153326",
        terms: "open; CC BY-SA 4.0 (see the LICENSE of the record)",
        citation: "Hernandez Petzsche et al. 2022, Scientific Data 9:762",
        note: "FLAIR lies on another grid, not registered; the mask belongs to DWI; dwi is a 3-D trace image",
    },
    PublicDataSet {
        name: "mrbrains13",
        title: "MRBrainS13 (tissues)",
        purpose: Purpose::Segmentation,
        cases: 20,
        modalities: &[Flair, T1],
        label_scheme: Some("mrbrains13"),
        classes: &[],
        geometry: Geometry::Partial,
        stripped: false,
        spacing_mm: 1.0,
        split: "5 training cases with labels, 15 test cases",
        files: &[FilePattern {
            second_choice: &["t1_ir", "t1_1mm", "labelsfortesting"],
            ..FilePattern::new(
                r"(?:^|/)(?P<split>Training|Test)Data/(?P<n>\d{1,2})/(?P<mod>T1_1mm|T1_IR|T1|T2_FLAIR|LabelsForTraining|LabelsForTesting)\.nii",
                "${split}Data-$n",
                "${split}Data-$n",
            )
        }],
        aliases: &[],
        archive: "DataverseNL 10.34894/645ZIN",
        terms: "see the record",
        citation: "Mendrik et al. 2015, Computational Intelligence and Neuroscience 813696",
        note: "case 1 is in both parts; LabelsForTesting has other values than LabelsForTraining (set mrbrains13-merged)",
    },
    PublicDataSet {
        name: "upenn-gbm",
        title: "UPENN-GBM (glioblastoma)",
        purpose: Purpose::Segmentation,
        cases: 127,
        modalities: BRATS,
        label_scheme: Some("brats_legacy"),
        classes: &[],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "not published; which 127 of 147 labelled cases neither",
        files: &[FilePattern {
            second_choice: &["automated_approx_segm", "unstripped"],
            ..FilePattern::new(
                r"(?:^|/)(?P<case>(?P<subj>UPENN-GBM-\d{5})_\d{2})_(?P<mod>T1GD|T1|T2|FLAIR|segm|automated_approx_segm|DTI_[A-Z]+|DSC[A-Za-z_-]*)(?:_(?P<var>unstripped))?\.nii",
                "$case",
                "$subj",
            )
        }],
        aliases: &[],
        archive: "The Cancer Imaging Archive, 10.7937/TCIA.709X-DN49",
        terms: "open; CC BY 4.0",
        citation: "Bakas et al. 2022, Scientific Data 9:453",
        note: "447 of its cases are in BraTS 2021; follow-ups (_21) share the subject; corrected masks before automated ones",
    },
    PublicDataSet {
        name: "vsseg",
        title: "Vestibular-Schwannoma-SEG",
        purpose: Purpose::Segmentation,
        cases: 242,
        modalities: &[T1c],
        label_scheme: Some("binary"),
        classes: &[],
        geometry: Geometry::Native,
        stripped: false,
        spacing_mm: 1.0,
        split: "the authors of the set: 176, 20, 46",
        files: &[FilePattern {
            second_choice: &["reft2"],
            ..FilePattern::new(
                r"(?:^|/)(?P<case>vs_gk_\d+)/vs_gk_(?P<mod>t1|t2|seg)_(?P<var>refT1|refT2)\.nii",
                "$case",
                "$case",
            )
        }],
        aliases: &[("t1", "t1c"), ("t1w", "t1c")],
        archive: "The Cancer Imaging Archive, 10.7937/TCIA.9YTJ-5Q73 (DICOM; converted by the authors' script)",
        terms: "open; CC BY 4.0",
        citation: "Shapey et al. 2021, Scientific Data 8:286",
        note: "its T1 is with contrast agent though nothing says so; for the BIDS version give --data-set vsseg",
    },
    PublicDataSet {
        name: "brats2018",
        title: "BraTS 2018 (grade)",
        purpose: Purpose::Classification,
        cases: 285,
        modalities: BRATS,
        label_scheme: Some("brats_legacy"),
        classes: &[("HGG", "HGG"), ("LGG", "LGG")],
        geometry: Geometry::Registered,
        stripped: true,
        spacing_mm: 1.0,
        split: "not published",
        files: &[],
        aliases: &[],
        archive: "CBICA image processing portal; Synapse",
        terms: BRATS_TERMS,
        citation: "Menze et al. 2015, IEEE TMI; Bakas et al. 2017, Scientific Data; Bakas et al. 2018, arXiv 1811.02629",
        note: "the class is the folder HGG or LGG; the cases are in BraTS 2021 as well",
    },
    PublicDataSet {
        name: "adni",
        title: "ADNI (mild cognitive impairment)",
        purpose: Purpose::Classification,
        cases: 1348,
        modalities: &[T1],
        label_scheme: None,
        classes: &[
            ("CN", "NC"),
            ("NC", "NC"),
            ("MCI", "MCI"),
            ("EMCI", "MCI"),
            ("LMCI", "MCI"),
            ("AD", "AD"),
            ("Dementia", "AD"),
        ],
        geometry: Geometry::Native,
        stripped: false,
        spacing_mm: 1.0,
        split: "not published; which images neither",
        files: &[FilePattern {
            only: Some(T1),
            ..FilePattern::new(
                r"(?i)(?:^|/)ADNI_(?P<subj>\d{3}_S_\d{4})_MR_.+_Br_(?:Raw_)?\d{17}(?:_\d+)?_S\d+_(?P<image>I\d+)\.nii",
                "${subj}_${image}",
                "$subj",
            )
        }],
        aliases: &[],
        archive: "LONI Image and Data Archive, ADNI",
        terms: "application and data-use agreement; no redistribution",
        citation: "Jack et al. 2008, Journal of Magnetic Resonance Imaging",
        note: "the class is Group in the collection's table (--table); several images a visit: choose, and split by subject",
    },
    // ABIDE before ADHD-200: its numbers begin with 005, those of the other do not.
    PublicDataSet {
        name: "abide1",
        title: "ABIDE I (autism)",
        purpose: Purpose::Classification,
        cases: 819,
        modalities: &[T1],
        label_scheme: None,
        classes: &[("1", "autism"), ("2", "control")],
        geometry: Geometry::Native,
        stripped: false,
        spacing_mm: 1.0,
        split: "not published; which images neither",
        files: &[
            indi_raw(
                r"(?:^|/)(?P<site>[^/]+)/(?P<subj>005\d{4})/session_(?P<ses>\d)/(?P<var>anat_\d)/mprage\.nii",
            ),
            indi_bids(
                r"(?:^|/)(?P<site>[^/]+)/sub-(?P<subj>005\d{4})/(?:ses-(?P<ses>[A-Za-z0-9]+)/)?anat/sub-\d{7}(?:_ses-[A-Za-z0-9]+)?(?P<var>(?:_(?:acq|run)-[A-Za-z0-9]+)*)_T1w\.nii",
            ),
        ],
        aliases: &[],
        archive: "INDI: fcp-indi, ABIDE_Initiative",
        terms: INDI_TERMS,
        citation: "Di Martino et al. 2014, Molecular Psychiatry",
        note: "the class is DX_GROUP of Phenotypic_V1_0b.csv (--table): 1 autism, 2 control",
    },
    PublicDataSet {
        name: "adhd200",
        title: "ADHD-200",
        purpose: Purpose::Classification,
        cases: 767,
        modalities: &[T1],
        label_scheme: None,
        classes: &[
            ("0", "control"),
            ("1", "ADHD"),
            ("2", "ADHD"),
            ("3", "ADHD"),
            ("Typically Developing Children", "control"),
            ("ADHD-Combined", "ADHD"),
            ("ADHD-Hyperactive/Impulsive", "ADHD"),
            ("ADHD-Inattentive", "ADHD"),
        ],
        geometry: Geometry::Native,
        stripped: false,
        spacing_mm: 1.0,
        split: "not published; which images neither",
        files: &[
            indi_raw(
                r"(?:^|/)(?P<site>[^/]+)/(?P<subj>\d{7})/session_(?P<ses>\d)/(?P<var>anat_\d)/mprage\.nii",
            ),
            indi_bids(
                r"(?:^|/)(?P<site>[^/]+)/sub-(?P<subj>\d{7})/(?:ses-(?P<ses>[A-Za-z0-9]+)/)?anat/sub-\d{7}(?:_ses-[A-Za-z0-9]+)?(?P<var>(?:_(?:acq|run)-[A-Za-z0-9]+)*)_T1w\.nii",
            ),
        ],
        aliases: &[],
        archive: "INDI: fcp-indi, ADHD200",
        terms: INDI_TERMS,
        citation: "ADHD-200 Consortium 2012, Frontiers in Systems Neuroscience 6:62",
        note: "the class is dx of participants.tsv or DX of the phenotypic table (--table); site and class go together",
    },
];

const fn indi_raw(path: &'static str) -> FilePattern {
    FilePattern { only: Some(T1), ..FilePattern::new(path, "${subj}_${ses}", "$subj") }
}

const fn indi_bids(path: &'static str) -> FilePattern {
    FilePattern { only: Some(T1), ..FilePattern::new(path, "${subj}_${ses}", "$subj") }
}

/// The data set of this name.
pub fn public_data_set(name: &str) -> Option<&'static PublicDataSet> {
    PUBLIC_DATA_SETS.iter().find(|set| set.name == name)
}

impl PublicDataSet {
    /// The class that a word in the set's tables means; any other word unchanged.
    pub fn class_of(&self, word: &str) -> String {
        let known = self.classes.iter().find(|(source, _)| source.eq_ignore_ascii_case(word));
        known.map_or(word, |(_, class)| class).to_owned()
    }
}
