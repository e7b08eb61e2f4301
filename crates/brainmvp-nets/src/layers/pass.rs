//! What a forward pass is for.

use rand::Rng;

/// A forward pass in training or in evaluation: whether norms use the statistics of the batch, whether coarse outputs are
/// computed, and where random numbers come from.
///
/// It is independent of gradients: a teacher is trained without any, and a gradient in evaluation is possible.
pub struct Pass<'a> {
    /// Batch norms use the statistics of the batch and update the running ones; decoders with deep supervision compute
    /// their coarse outputs.
    pub training: bool,
    /// The source of what is random in a network, such as stochastic depth; `None` if nothing is to be random.
    pub rng: Option<&'a mut dyn Rng>,
}

impl<'a> Pass<'a> {
    /// Training, with randomness.
    pub fn training(rng: &'a mut dyn Rng) -> Self {
        Self { training: true, rng: Some(rng) }
    }
}

impl Pass<'static> {
    /// Evaluation: nothing is random, and nothing is changed.
    pub fn evaluation() -> Self {
        Self { training: false, rng: None }
    }

    /// Training without randomness.
    pub fn still() -> Self {
        Self { training: true, rng: None }
    }
}
