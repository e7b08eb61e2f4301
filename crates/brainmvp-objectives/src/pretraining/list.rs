//! From the list of methods to the type that can be any of them. Nothing here knows a method.

macro_rules! methods {
    ($($(#[$when:meta])? $name:literal, $variant:ident, $config:ty;)+) => {
        /// A pre-training method and its settings: a section `[method]` with its `name`.
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(tag = "name")]
        #[allow(missing_docs)]
        pub enum MethodConfig {
            $($(#[$when])? #[serde(rename = $name)] $variant($config),)+
        }

        impl MethodConfig {
            /// The names of all methods.
            #[allow(clippy::vec_init_then_push)] // some are only there with a feature
            pub fn names() -> Vec<MethodName> {
                let mut names = Vec::new();
                $($(#[$when])? names.push(MethodName($name));)+
                names
            }

            /// The names of all methods that there are, whether this build has them or not.
            pub const EVERY_NAME: &[&str] = &[$($name),+];

            /// The settings of a preset.
            pub fn of(name: MethodName, preset: MethodPreset) -> Self {
                match name.0 {
                    $($(#[$when])? $name => Self::$variant(<$config as Method>::of(preset)),)+
                    _ => unreachable!("a name is one of the list"),
                }
            }

            /// The name.
            pub fn name(&self) -> MethodName {
                match self { $($(#[$when])? Self::$variant(_) => MethodName($name),)+ }
            }

            /// The name in print, with its authors.
            pub fn title(&self) -> &'static str {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::TITLE,)+ }
            }

            /// What it does, in a sentence.
            pub fn about(&self) -> &'static str {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::ABOUT,)+ }
            }

            /// See [`Method::NOTICE`].
            pub fn notice(&self) -> Option<&'static str> {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::NOTICE,)+ }
            }

            /// The network that it is used with, if none is named.
            pub fn network(&self) -> brainmvp_nets::networks::PresetName {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::network(),)+ }
            }

            /// See [`Method::other_networks`].
            pub fn other_networks(&self) -> Vec<brainmvp_nets::networks::PresetName> {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::other_networks(),)+ }
            }

            /// See [`Method::views`].
            pub fn views(&self) -> usize {
                match self { $($(#[$when])? Self::$variant(config) => config.views(),)+ }
            }

            /// See [`Method::learns_templates`].
            pub fn learns_templates(&self) -> bool {
                match self { $($(#[$when])? Self::$variant(config) => config.learns_templates(),)+ }
            }

            /// See [`Method::for_epochs`].
            #[must_use]
            pub fn for_epochs(&self, epochs: u64) -> Self {
                match self { $($(#[$when])? Self::$variant(config) => Self::$variant(config.for_epochs(epochs)),)+ }
            }

            /// Voxels of a patch along x, y and z, if nothing else is said.
            pub fn patch(&self) -> [usize; 3] {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::patch(),)+ }
            }

            /// How long and how fast it is trained, if nothing else is said.
            pub fn training(&self, preset: MethodPreset) -> Training {
                match self { $($(#[$when])? Self::$variant(_) => <$config as Method>::training(preset),)+ }
            }

            /// The network as the method uses it.
            pub fn input(
                &self,
                network: &brainmvp_nets::networks::NetworkConfig,
            ) -> brainmvp_nets::networks::NetworkConfig {
                match self { $($(#[$when])? Self::$variant(config) => config.input(network),)+ }
            }

            /// See [`Method::problem`].
            pub fn problem(
                &self,
                network: &brainmvp_nets::networks::NetworkConfig,
                patch: [usize; 3],
            ) -> Option<String> {
                match self { $($(#[$when])? Self::$variant(config) => config.problem(network, patch),)+ }
            }

            /// Does something with the method.
            pub fn with<V: ForMethod>(&self, visitor: V) -> V::Output {
                match self { $($(#[$when])? Self::$variant(config) => visitor.with(config),)+ }
            }
        }
    };
}
