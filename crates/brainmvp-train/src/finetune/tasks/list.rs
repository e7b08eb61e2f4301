//! What is the same for all tasks, made from the list of them.

/// Makes [`TaskKind`](super::TaskKind) and all types that hold something of each task.
macro_rules! tasks {
    ($($(#[$doc:meta])* $kind:ident: $module:ident::$task:ident,)+) => {
        /// The task that a network is fine-tuned for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(rename_all = "lowercase")]
        pub enum TaskKind {
            $($(#[$doc])* $kind,)+
        }

        impl Default for TaskKind {
            /// The first.
            fn default() -> Self {
                Self::ALL[0]
            }
        }

        /// The section `[task]`.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(default)]
        pub struct TaskConfig {
            /// The task.
            pub kind: TaskKind,
            /// The modality of each channel; `[]` for all that the training cases have.
            pub modalities: Vec<Modality>,
            /// What takes the place of a modality that a case lacks.
            pub missing: Missing,
            $(
                #[doc = concat!("The keys of `", stringify!($module), "`.")]
                #[serde(flatten)]
                pub $module: <$task as Task>::Keys,
            )+
            #[doc(hidden)]
            #[serde(flatten)]
            #[schemars(skip)]
            pub others: NoOthers,
        }

        /// What `predictions.json` says of all predictions of a network, as the last field of what holds it: other keys are
        /// refused.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        pub struct TaskSettings {
            $(
                #[doc = concat!("Of `", stringify!($module), "`.")]
                #[serde(flatten)]
                pub $module: <$task as Task>::Settings,
            )+
            #[doc(hidden)]
            #[serde(flatten)]
            pub others: NoOthers,
        }

        /// What `predictions.json` says of the prediction for a case, in the same way.
        #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
        pub struct Written {
            $(
                #[doc = concat!("Of `", stringify!($module), "`.")]
                #[serde(flatten)]
                pub $module: <$task as Task>::Written,
            )+
            #[doc(hidden)]
            #[serde(flatten)]
            pub others: NoOthers,
        }

        /// A network for one of the tasks.
        #[allow(clippy::large_enum_variant)] // a program has one of them
        pub enum TaskNetwork {
            $($(#[$doc])* $kind(<$task as Task>::Network),)+
        }

        /// What a network says of a case.
        pub enum Prediction {
            $($(#[$doc])* $kind(<$task as Task>::Prediction),)+
        }

        /// A task of the list.
        pub(super) trait Listed: Task {
            /// Its keys.
            fn keys(config: &TaskConfig) -> &Self::Keys;

            /// Its keys, to be changed.
            fn keys_mut(config: &mut TaskConfig) -> &mut Self::Keys;
        }

        $(
            impl Listed for $task {
                fn keys(config: &TaskConfig) -> &Self::Keys {
                    &config.$module
                }

                fn keys_mut(config: &mut TaskConfig) -> &mut Self::Keys {
                    &mut config.$module
                }
            }
        )+

        /// Work that is the same for every task.
        pub(super) trait ForTask {
            /// What comes of it.
            type Outcome;

            /// Does it for one of them.
            fn run<T: Listed>(self) -> Self::Outcome;
        }

        impl TaskKind {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// Its word in a configuration and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($module),)+ }
            }

            /// A line of help.
            pub fn about(self) -> &'static str {
                match self { $(Self::$kind => $task::ABOUT,)+ }
            }

            /// Its own options on the command line.
            pub fn options(self) -> &'static [TaskOption] {
                match self { $(Self::$kind => $task::OPTIONS,)+ }
            }

            /// Why it has no maps of probabilities to write, where it has none.
            pub fn no_maps(self) -> Option<&'static str> {
                match self { $(Self::$kind => $task::NO_MAPS,)+ }
            }

            /// What a configuration leaves out, by the paper or as the authors' program does.
            pub fn defaults(self, released: bool) -> Defaults {
                match self { $(Self::$kind => $task::defaults(released),)+ }
            }

            /// Does the same for every task.
            pub(super) fn run<W: ForTask>(self, work: W) -> W::Outcome {
                match self { $(Self::$kind => work.run::<$task>(),)+ }
            }

            /// Of its predictions, the columns of `predictions.csv` after `case`; `None` if they are files.
            pub fn columns(self, settings: &TaskSettings) -> Option<Vec<String>> {
                match self { $(Self::$kind => $task::columns(&settings.$module),)+ }
            }

            /// The cells of these columns.
            pub fn cells(self, settings: &TaskSettings, written: &Written) -> Vec<String> {
                match self { $(Self::$kind => $task::cells(&settings.$module, &written.$module),)+ }
            }

            /// A prediction in a few words, where there are columns.
            pub fn shown(self, settings: &TaskSettings, written: &Written) -> String {
                match self { $(Self::$kind => $task::shown(&settings.$module, &written.$module),)+ }
            }

            /// What the record of an earlier prediction lacks, if anything.
            pub fn lacks(self, settings: &TaskSettings, written: &Written) -> Option<&'static str> {
                match self { $(Self::$kind => $task::lacks(&settings.$module, &written.$module),)+ }
            }
        }

        impl TaskConfig {
            /// What is wrong with the keys of the task, if anything.
            pub(crate) fn problem(&self, patch: &TaskPatchConfig) -> Option<String> {
                match self.kind { $(TaskKind::$kind => $task::problem(&self.$module, patch),)+ }
            }

            /// What a case lacks that a prediction could be held against. The keys are complete.
            pub fn lacking(&self, case: &CaseSource) -> Option<String> {
                match self.kind { $(TaskKind::$kind => $task::lacking(&self.$module, case),)+ }
            }

            /// What follows the encoder.
            pub fn head(&self) -> Head {
                match self.kind { $(TaskKind::$kind => $task::head(&self.$module),)+ }
            }

            /// What `predictions.json` says of all predictions.
            pub fn settings(&self) -> TaskSettings {
                let none = TaskSettings::default();
                match self.kind {
                    $(TaskKind::$kind => TaskSettings { $module: $task::settings(&self.$module), ..none },)+
                }
            }

            /// What the user should know of all predictions.
            ///
            /// # Errors
            /// If nothing can be predicted.
            pub fn notes(&self) -> Result<Vec<String>> {
                match self.kind { $(TaskKind::$kind => $task::notes(&self.$module),)+ }
            }
        }

        impl Written {
            /// The files of the prediction, in the folder of predictions.
            pub fn files(&self) -> Vec<PathBuf> {
                let mut files: Vec<&Path> = Vec::new();
                $(files.extend($task::files(&self.$module));)+
                files.into_iter().map(Path::to_owned).collect()
            }
        }

        impl TaskNetwork {
            /// A stored network.
            pub(super) fn load(
                task: &TaskConfig,
                saved: &SavedNetwork,
                init: &mut Init<'_>,
            ) -> Result<Self> {
                let numbers = &saved.about.network;
                match task.kind {
                    $(TaskKind::$kind => {
                        let network = $task::network(&task.$module, numbers, init);
                        saved.load(network).map(Self::$kind)
                    })+
                }
            }

            /// Its encoder.
            pub fn encoder(&self) -> &Encoder {
                match self { $(Self::$kind(network) => $task::encoder(network),)+ }
            }

            /// How many windows a case has.
            pub(super) fn windows(&self, how: &Applied<'_>, case: &CaseSource) -> usize {
                match self { $(Self::$kind(_) => $task::windows(how, case),)+ }
            }

            /// What it says of a prepared case.
            pub(super) fn predict(
                &self,
                task: &TaskConfig,
                how: &Applied<'_>,
                case: &CaseSource,
                before: &mut Before<'_>,
            ) -> brainmvp_infer::Result<Prediction> {
                match self {
                    $(Self::$kind(network) => {
                        $task::predict(network, &task.$module, how, case, before).map(Prediction::$kind)
                    })+
                }
            }
        }

        impl Prediction {
            /// Writes its files, if it has some, on the grid of the case's own images; returns what is recorded of it.
            ///
            /// # Errors
            /// If a file cannot be written.
            pub fn write(&self, task: &TaskConfig, to: &Output<'_>) -> Result<Written> {
                let none = Written::default();
                match self {
                    $(Self::$kind(said) => {
                        Ok(Written { $module: $task::write(said, &task.$module, to)?, ..none })
                    })+
                }
            }
        }
    };
}
