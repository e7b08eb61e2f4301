//! What is trained: the interface between a loss and the training loop, and the pre-training methods, one file or folder
//! each, with their list.

mod brainmvp;
mod gvsl;
#[macro_use]
mod list;
mod m3ae;
mod method;
#[cfg(feature = "patented-methods")]
mod models_genesis;
mod objective;
mod tensors;
#[cfg(test)]
mod test_cases;
#[cfg(feature = "patented-methods")]
mod transvw;

pub use brainmvp::{BrainMvp, BrainMvpConfig, BrainMvpPlan, BrainMvpSample, Masks, Negatives, Task, Views};
pub use gvsl::{Gvsl, GvslConfig, GvslPlan, GvslSample};
pub use m3ae::{M3ae, M3aeConfig};
pub use method::{
    ForMethod, Kept, KeptPart, Learnt, Method, MethodName, MethodPreset, Pretraining, Setup, Training,
    Waiting,
};
#[cfg(feature = "patented-methods")]
pub use models_genesis::{ModelsGenesis, ModelsGenesisConfig};
pub use objective::{Counts, DrawBy, Evaluation, Group, Moment, Objective, Scene};
#[cfg(feature = "patented-methods")]
pub use transvw::{DiscoveryConfig, Features, TransVw, TransVwConfig};

// A new method is a line here: its name in a configuration, its variant, and its settings. What others claim patents on is
// only there with a feature, which is on by default.
methods! {
    "brainmvp", BrainMvp, BrainMvpConfig;
    "m3ae", M3ae, M3aeConfig;
    "gvsl", Gvsl, GvslConfig;
    #[cfg(feature = "patented-methods")]
    "models-genesis", ModelsGenesis, ModelsGenesisConfig;
    #[cfg(feature = "patented-methods")]
    "transvw", TransVw, TransVwConfig;
}
