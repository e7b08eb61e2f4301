//! The pre-training methods, one file or folder each, with their list.

mod brainmvp;
mod dae;
mod gvsl;
#[macro_use]
mod list;
mod m3ae;
mod mae3d;
mod method;
mod moco;
#[cfg(feature = "patented-methods")]
mod models_genesis;
mod simmim;
mod swin;
mod swin_ssl;
mod tensors;
#[cfg(test)]
mod test_cases;
mod tokens;
#[cfg(feature = "patented-methods")]
mod transvw;
mod voco;

pub use brainmvp::{BrainMvp, BrainMvpConfig, BrainMvpPlan, BrainMvpSample, Masks, Negatives, Task, Views};
pub use dae::{Dae, DaeConfig, DaeContrast};
pub use gvsl::{Gvsl, GvslConfig, GvslPlan, GvslSample};
pub use m3ae::{M3ae, M3aeConfig};
pub use mae3d::{Mae3d, Mae3dConfig, Target};
pub use method::{
    ForMethod, Kept, KeptPart, Learnt, Method, MethodName, MethodPreset, Pretraining, Setup, Training,
    Waiting,
};
pub use moco::{Moco, MocoConfig, MocoFeature};
#[cfg(feature = "patented-methods")]
pub use models_genesis::{ModelsGenesis, ModelsGenesisConfig};
pub use simmim::{SimMim, SimMimConfig};
pub use swin_ssl::{CutOutConfig, SwinSsl, SwinSslConfig};
pub use tokens::{TokenPlan, TokenSample};
#[cfg(feature = "patented-methods")]
pub use transvw::{DiscoveryConfig, Features, TransVw, TransVwConfig};
pub use voco::{Voco, VocoConfig};

// A new method is a line here: its name in a configuration, its variant, and its settings. What others claim patents on is
// only there with a feature, which is on by default.
methods! {
    "brainmvp", BrainMvp, BrainMvpConfig;
    "m3ae", M3ae, M3aeConfig;
    "mae3d", Mae3d, Mae3dConfig;
    "simmim", SimMim, SimMimConfig;
    "moco-v3", Moco, MocoConfig;
    "gvsl", Gvsl, GvslConfig;
    #[cfg(feature = "patented-methods")]
    "models-genesis", ModelsGenesis, ModelsGenesisConfig;
    #[cfg(feature = "patented-methods")]
    "transvw", TransVw, TransVwConfig;
    "swin-ssl", SwinSsl, SwinSslConfig;
    "dae", Dae, DaeConfig;
    "voco", Voco, VocoConfig;
}
