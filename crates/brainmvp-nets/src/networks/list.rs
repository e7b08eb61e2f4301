//! From the list of networks to the types that can be any of them. Nothing here knows a network.

/// Makes the types that can be any of the networks.
macro_rules! networks {
    ($($variant:ident, $name:ident, $config:ident;)+) => {
        /// The kind of network, and its sizes.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        #[allow(missing_docs)]
        pub enum NetworkConfig {
            $($variant($config),)+
        }

        /// A network as a configuration names it: a preset, and at most one section of sizes.
        #[derive(Debug, Clone, Default, Serialize, Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct NetworkSection {
            /// The network by its name (`brainmvp list networks`), with its sizes unless they are given.
            #[serde(default)]
            pub preset: PresetName,
            $(#[serde(default, skip_serializing_if = "Option::is_none")] $name: Option<$config>,)+
        }

        /// From a volume to features.
        #[derive(Module, Debug)]
        #[allow(missing_docs, clippy::large_enum_variant)] // a run has one of them
        pub enum Encoder {
            $($variant(<$config as Network>::Encoder),)+
        }

        /// From the deepest features back to the volume.
        #[derive(Module, Debug)]
        #[allow(missing_docs, clippy::large_enum_variant)] // a run has one of them
        pub enum Reconstruction {
            $($variant(<$config as Network>::Reconstruction),)+
        }

        /// From the features of all sizes to logits.
        #[derive(Module, Debug)]
        #[allow(missing_docs, clippy::large_enum_variant)] // a run has one of them
        pub enum Segmentation {
            $($variant(<$config as Network>::Segmentation),)+
        }

        /// How each network is recognised in a state dict.
        pub(crate) const KNOWN: &[Known] = &[$(Known {
            title: <$config as Network>::TITLE,
            opening: <$config as Network>::OPENING,
            prefixes: <$config as Network>::PREFIXES,
            copied_under: <$config as Network>::COPIED_UNDER,
            recognise: |parts| {
                let (config, head) = <$config as Network>::recognise(parts)?;
                Ok((NetworkConfig::$variant(config), head))
            },
        },)+];

        impl NetworkConfig {
            /// The named networks: name, what it is for, and its sizes.
            pub fn presets() -> Vec<(&'static str, &'static str, Self)> {
                let mut all = Vec::new();
                $(for preset in <$config as Network>::PRESETS {
                    all.push((preset.name, preset.about, Self::$variant((preset.sizes)())));
                })+
                all
            }

            /// Its first preset, which is the published network of this kind.
            pub fn published_preset(&self) -> PresetName {
                match self { $(Self::$variant(_) => PresetName(<$config as Network>::PRESETS[0].name),)+ }
            }

            /// The preset of these sizes, for any number of input channels; the published one if there is none.
            pub fn preset(&self) -> PresetName {
                let of_one = self.with_in_channels(1);
                let same = Self::presets().into_iter().find(|(.., preset)| preset.with_in_channels(1) == of_one);
                same.map_or_else(|| self.published_preset(), |(name, ..)| PresetName(name))
            }

            /// The name in print: `UniFormer`.
            pub fn title(&self) -> &'static str {
                match self { $(Self::$variant(_) => <$config as Network>::TITLE,)+ }
            }

            /// Its sizes in a sentence.
            pub fn sizes(&self) -> String {
                match self { $(Self::$variant(config) => config.sizes(),)+ }
            }

            /// What is wrong with the sizes, if anything.
            pub fn problem(&self) -> Option<String> {
                match self { $(Self::$variant(config) => config.problem(),)+ }
            }

            /// Sizes along each axis must be multiples of this.
            pub fn stride(&self) -> usize {
                match self { $(Self::$variant(config) => config.stride(),)+ }
            }

            /// The levels of the features, the deepest last.
            pub fn levels(&self) -> Vec<Level> {
                match self { $(Self::$variant(config) => config.levels(),)+ }
            }

            /// See [`Network::finest_width`].
            pub fn finest_width(&self) -> usize {
                match self { $(Self::$variant(config) => config.finest_width(),)+ }
            }

            /// Channels of the input.
            pub fn in_channels(&self) -> usize {
                match self { $(Self::$variant(config) => config.in_channels(),)+ }
            }

            /// The same network with another number of input channels.
            pub fn with_in_channels(&self, in_channels: usize) -> Self {
                match self { $(Self::$variant(config) => Self::$variant(config.with_in_channels(in_channels)),)+ }
            }

            /// Weight decay in fine-tuning (BrainMVP, appendix I).
            pub fn weight_decay(&self) -> f32 {
                match self { $(Self::$variant(_) => <$config as Network>::WEIGHT_DECAY,)+ }
            }

            /// A lower bound of the encoder's number of parameters, within a factor of three for all but the narrowest.
            pub fn parameters_at_least(&self) -> u64 {
                match self { $(Self::$variant(config) => config.parameters_at_least(),)+ }
            }

            /// A new encoder.
            pub fn encoder(&self, init: &mut Init<'_>) -> Encoder {
                match self { $(Self::$variant(config) => Encoder::$variant(config.encoder(init)),)+ }
            }

            /// A new decoder for pre-training.
            pub fn reconstruction(&self, init: &mut Init<'_>) -> Reconstruction {
                match self { $(Self::$variant(config) => Reconstruction::$variant(config.reconstruction(init)),)+ }
            }

            /// A new decoder for segmentation.
            pub fn segmentation(&self, classes: usize, init: &mut Init<'_>) -> Segmentation {
                match self { $(Self::$variant(config) => Segmentation::$variant(config.segmentation(classes, init)),)+ }
            }

            /// The same sizes, with those of `told` that cannot be seen in the shapes of the tensors of a network with this head.
            pub(crate) fn with_unseen(&self, told: &Self, head: Head) -> Self {
                match (self.clone(), told) {
                    $((Self::$variant(mut config), Self::$variant(told)) => {
                        config.take_unseen(told, head);
                        Self::$variant(config)
                    })+
                    #[allow(unreachable_patterns)] // where there is one network only
                    (other, _) => other,
                }
            }

            /// What could not be seen in the shapes of tensors and was assumed, in a sentence.
            pub fn assumed(&self) -> Option<String> {
                match self { $(Self::$variant(config) => config.assumed(),)+ }
            }

            /// See [`Network::ONE_DECODER`].
            pub(crate) fn has_one_decoder(&self) -> bool {
                match self { $(Self::$variant(_) => <$config as Network>::ONE_DECODER,)+ }
            }

            /// The paths of the layers that see the input.
            pub(crate) fn first_layers(&self) -> &'static [&'static str] {
                match self { $(Self::$variant(_) => <$config as Network>::FIRST_LAYERS,)+ }
            }

            /// The paths of the layers that make the output.
            pub(crate) fn outputs(&self) -> &'static [&'static str] {
                match self { $(Self::$variant(_) => <$config as Network>::OUTPUTS,)+ }
            }

            /// See [`Network::canonical`].
            pub(crate) fn canonical(&self, head: Head, name: &str) -> Option<String> {
                match self { $(Self::$variant(_) => <$config as Network>::canonical(head, name),)+ }
            }

            /// See [`Network::key`].
            pub(crate) fn key(&self, head: Head, entry: Entry<'_>) -> String {
                match self { $(Self::$variant(config) => config.key(head, entry),)+ }
            }

            /// See [`Network::axes`].
            pub(crate) fn axes(&self, entry: Entry<'_>) -> Axes {
                match self { $(Self::$variant(_) => <$config as Network>::axes(entry),)+ }
            }

            /// See [`Network::extras`].
            pub(crate) fn extras(&self, head: Head) -> Vec<(String, Extra)> {
                match self { $(Self::$variant(config) => config.extras(head),)+ }
            }

            /// See [`Network::copies`].
            pub(crate) fn copies(&self, key: &str) -> Vec<String> {
                match self { $(Self::$variant(_) => <$config as Network>::copies(key),)+ }
            }
        }

        impl NetworkSection {
            /// A preset, and the sizes of a network.
            pub fn new(preset: PresetName, network: NetworkConfig) -> Self {
                let mut section = Self { preset, ..Self::default() };
                match network { $(NetworkConfig::$variant(config) => section.$name = Some(config),)+ }
                section
            }

            /// The network whose section is set, if one is.
            ///
            /// # Errors
            /// If several are set.
            pub fn network(self) -> Result<Option<NetworkConfig>> {
                let mut set = Vec::new();
                $(set.extend(self.$name.map(|config| (stringify!($name), NetworkConfig::$variant(config))));)+
                match set.len() {
                    0 | 1 => Ok(set.pop().map(|(_, network)| network)),
                    _ => Err(Error::SeveralSections(set.into_iter().map(|(name, _)| name).collect())),
                }
            }
        }

        impl Encoder {
            /// The features of a volume.
            ///
            /// # Shapes
            /// `x`: `[B, D, H, W, in_channels]`, D, H, W multiples of [`NetworkConfig::stride`]
            ///
            /// # Panics
            /// If a size is not a multiple of the stride.
            pub fn forward(&self, x: Tensor<5>, pass: &mut Pass<'_>) -> Features {
                match self { $(Self::$variant(encoder) => Encode::forward(encoder, x, pass),)+ }
            }
        }

        impl Reconstruction {
            /// # Shapes
            /// The deepest features of an encoder to `[B, D, H, W, 1]`.
            pub fn forward(&self, deepest: Tensor<5>) -> Tensor<5> {
                match self { $(Self::$variant(decoder) => Reconstruct::forward(decoder, deepest),)+ }
            }
        }

        impl Segmentation {
            /// # Shapes
            /// Logits are `[B, D, H, W, classes]`.
            pub fn forward(&self, features: Features, pass: &mut Pass<'_>) -> Segmented {
                match self { $(Self::$variant(decoder) => Segment::forward(decoder, features, pass),)+ }
            }
        }
    };
}
