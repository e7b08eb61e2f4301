//! placeholder
use crate::Result;
use brainmvp_nets::networks::NetworkConfig;
use brainmvp_ssl::FrozenTemplates;
use burn::tensor::TensorData;
use std::collections::BTreeMap;
use std::path::Path;
/// p
pub struct Pretrained {
    /// n
    pub network: NetworkConfig,
    /// w
    pub weights: BTreeMap<String, TensorData>,
    /// t
    pub templates: Option<FrozenTemplates>,
    /// o
    pub origin: String,
}
impl Pretrained {
    /// o
    pub fn open(path: &Path) -> Result<Self> {
        Err(crate::Error::Config(format!("{}", path.display())))
    }
}
