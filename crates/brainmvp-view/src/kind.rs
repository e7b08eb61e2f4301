//! The kinds of things that can be shown.

/// What a path is, in the order in which things are opened: the cohort says first what there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `cohort.json`.
    Cohort,
    /// A folder of prepared cases.
    Cache,
    /// The folder of a run.
    Run,
    /// Templates, as `templates` writes them.
    Templates,
    /// A folder of predictions with its `predictions.json`.
    Predictions,
    /// Scores, as `evaluate` writes them.
    Scores,
    /// A report on the quality of images.
    Report,
    /// The work folder of a study.
    Study,
    /// A volume.
    Volume,
    /// A folder of volumes.
    Volumes,
}

impl Kind {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cohort => "cohort",
            Self::Cache => "prepared cases",
            Self::Run => "run",
            Self::Predictions => "predictions",
            Self::Scores => "scores",
            Self::Report => "report on images",
            Self::Study => "study",
            Self::Templates => "templates",
            Self::Volume => "volume",
            Self::Volumes => "folder of volumes",
        }
    }

    /// Whether it is a volume, or a folder of them.
    pub(crate) fn is_volume(self) -> bool {
        matches!(self, Self::Volume | Self::Volumes)
    }
}
