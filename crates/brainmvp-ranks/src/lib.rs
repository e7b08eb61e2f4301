//! What the processes that train one network together tell each other.
//!
//! Each process has a number, its rank, and its own share of the samples of a batch. [`Transport`] is how they exchange numbers:
//! two collective operations, which every rank calls in the same order. [`Ranks`] is what the rest of the program holds: it
//! knows two transports, since gradients travel while the backward pass, which needs exchanges too, goes on.
//!
//! Here are the transports of a process that is alone and of threads of one process. MPI is in `brainmvp-mpi`; another way,
//! such as NCCL between GPUs, implements the same trait.

mod threads;

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

pub use threads::threads;

/// How the ranks exchange numbers. Every rank calls the same operations in the same order, with as many values.
///
/// A rank that is lost cannot be replaced in the middle of a step, so there are no errors: an implementation ends the process
/// with a message.
pub trait Transport: Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn count(&self) -> usize;

    /// Replaces the values by their sums over all ranks; the same bits on each.
    fn all_reduce_sum(&self, values: &mut [f32]);

    /// What each rank gave, in the order of their numbers; of any length.
    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>>;
}

/// A process and the others that train with it. Clones are the same.
#[derive(Clone)]
pub struct Ranks {
    /// What happens in the thread that trains.
    values: Arc<dyn Transport>,
    /// What happens beside it.
    gradients: Arc<dyn Transport>,
}

impl Ranks {
    /// A process that trains alone.
    pub fn alone() -> Self {
        let alone = Arc::new(Alone);
        Self { values: Arc::clone(&alone) as Arc<dyn Transport>, gradients: alone }
    }

    /// The processes that two transports connect. They must not disturb each other: an operation of one may begin on some
    /// ranks before, on others after an operation of the other.
    pub fn connected(values: Arc<dyn Transport>, gradients: Arc<dyn Transport>) -> Self {
        Self { values, gradients }
    }

    /// The number of this process, from 0.
    pub fn rank(&self) -> usize {
        self.values.rank()
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.count()
    }

    /// Whether there are no others.
    pub fn is_alone(&self) -> bool {
        self.count() == 1
    }

    /// Whether this is the one that writes files.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Where gradients travel.
    pub fn gradients(&self) -> &Arc<dyn Transport> {
        &self.gradients
    }

    /// Replaces the values by their sums over all ranks.
    pub fn sum(&self, values: &mut [f32]) {
        if !self.is_alone() {
            self.values.all_reduce_sum(values);
        }
    }

    /// What each rank gave, in the order of their numbers.
    pub fn gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        if self.is_alone() { vec![bytes.to_vec()] } else { self.values.all_gather(bytes) }
    }

    /// Waits until all ranks are here.
    pub fn meet(&self) {
        self.gather(&[]);
    }
}

impl Debug for Ranks {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.count())
    }
}

/// Nobody to talk to.
struct Alone;

impl Transport for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn count(&self) -> usize {
        1
    }

    fn all_reduce_sum(&self, _values: &mut [f32]) {}

    fn all_gather(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        vec![bytes.to_vec()]
    }
}
