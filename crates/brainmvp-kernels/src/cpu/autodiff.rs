//! Gradients of the operations that have a kernel. All others differentiate through their default.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::Autodiff;

use crate::VolumeOps;

impl<B: VolumeOps, C: CheckpointStrategy> VolumeOps for Autodiff<B, C> {
    fn depthwise_conv3d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        match Depthwise.prepare::<C>([x_node, weight_node, bias_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = B::depthwise_conv3d(x.clone(), weight.clone(), bias);
                prep.finish((x, weight), output)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::depthwise_conv3d(x, weight, bias)),
        }
    }
}

#[derive(Debug)]
struct Depthwise;

impl<B: VolumeOps> Backward<B, 3> for Depthwise {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let (x, weight) = ops.state;
        let (input, weight, bias) = B::depthwise_conv3d_backward(x, weight, gradient);
        for (parent, gradient) in ops.parents.into_iter().zip([input, weight, bias]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}
