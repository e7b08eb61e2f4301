//! Features of past samples, kept as negatives.

use burn::module::{Module, RunningState};
use burn::tensor::{Device, Tensor, TensorData};

use crate::losses::{Identity, Past};

/// The last samples of a run, the newest last: unit vectors of both views, and whose they are. They are buffers of the
/// module, so they are stored in checkpoints and a resumed run has the same negatives.
#[derive(Module, Debug)]
pub struct Queue {
    /// First views, `[L, F]`.
    pub first: RunningState<Tensor<2>>,
    /// Second views, `[L, F]`.
    pub second: RunningState<Tensor<2>>,
    /// Whose they are, `[L, 9]`: 1 if there is a sample, then the digests of person and data set in pieces of 16 bits,
    /// which fp32 represents exactly.
    pub identities: RunningState<Tensor<2>>,
}

/// Number of values that say whose a sample is.
const PIECES: usize = 9;

impl Queue {
    /// An empty queue for `length` samples of `features` numbers.
    pub fn new(length: usize, features: usize, device: &Device) -> Self {
        let zeros = |width| RunningState::new(Tensor::zeros([length, width], device));
        Self { first: zeros(features), second: zeros(features), identities: zeros(PIECES) }
    }

    /// The person and data set of each sample.
    pub fn past(&self) -> Past {
        let pieces = self.identities.value_sync().into_data();
        #[expect(clippy::expect_used, reason = "it was made of fp32 numbers, as every buffer")]
        let pieces = pieces.as_slice::<f32>().expect("a queue is not fp32");
        let (rows, _) = pieces.as_chunks::<PIECES>();
        Past {
            views: [self.first.value_sync(), self.second.value_sync()],
            identities: rows.iter().map(identity).collect(),
        }
    }

    /// Adds the views of a batch, `[B, F]` each; the oldest samples are removed.
    pub fn push(&self, [first, second]: [Tensor<2>; 2], of: &[Identity]) {
        let pieces: Vec<f32> = of.iter().flat_map(|identity| pieces(*identity)).collect();
        let pieces = Tensor::from_data(TensorData::new(pieces, [of.len(), PIECES]), &first.device());
        for (state, new) in
            [(&self.first, first.detach()), (&self.second, second.detach()), (&self.identities, pieces)]
        {
            let all = Tensor::cat(vec![state.value_sync(), new], 0);
            let length = state.value().dims()[0];
            state.update(all.clone().narrow(0, all.dims()[0] - length, length));
            // Apply the update immediately, so that visitors (checkpoints) see it.
            state.value_sync();
        }
    }
}

fn pieces(Identity { person, data_set }: Identity) -> [f32; PIECES] {
    let of = |digest: u64, piece: usize| f32::from((digest >> (16 * piece)) as u16);
    std::array::from_fn(|place| match place {
        0 => 1.0,
        1..=4 => of(person, place - 1),
        _ => of(data_set, place - 5),
    })
}

fn identity(pieces: &[f32; PIECES]) -> Option<Identity> {
    let digest = |pieces: &[f32]| pieces.iter().rev().fold(0, |digest, piece| digest << 16 | *piece as u64);
    (pieces[0] == 1.0).then(|| Identity { person: digest(&pieces[1..5]), data_set: digest(&pieces[5..]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_kept_to_the_bit() {
        for text in ["", "a", "sub-001\u{1f}BraTS", "another"] {
            let known = Identity::of(text, "set");
            assert_eq!(identity(&pieces(known)), Some(known));
        }
        assert_eq!(identity(&[0.0; PIECES]), None);
    }

    #[test]
    fn the_oldest_leave_first() {
        let device = Device::flex();
        let queue = Queue::new(3, 2, &device);
        let who = |number: u64| Identity { person: number, data_set: 1 };
        let push = |numbers: &[u64]| {
            let rows: Vec<f32> = numbers.iter().flat_map(|n| [*n as f32, -(*n as f32)]).collect();
            let rows = Tensor::from_data(TensorData::new(rows, [numbers.len(), 2]), &device);
            queue.push([rows.clone(), -rows], &numbers.iter().map(|n| who(*n)).collect::<Vec<_>>());
        };
        push(&[1, 2]);
        assert_eq!(queue.past().identities, [None, Some(who(1)), Some(who(2))]);
        push(&[3, 4]);
        let past = queue.past();
        assert_eq!(past.identities, [2, 3, 4].map(|n| Some(who(n))));
        let [first, second] = past.views.map(|view| view.into_data().try_to_vec::<f32>().unwrap());
        assert_eq!(first, [2.0, -2.0, 3.0, -3.0, 4.0, -4.0]);
        assert_eq!(second, first.iter().map(|x| -x).collect::<Vec<_>>());
        // A batch larger than the queue leaves its last samples.
        push(&[5, 6, 7, 8]);
        assert_eq!(queue.past().identities, [6, 7, 8].map(|n| Some(who(n))));
    }
}
