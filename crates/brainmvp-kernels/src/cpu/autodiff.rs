//! Gradients of the operations, by the `_backward` methods of the backend below.

use std::fmt::{self, Debug, Formatter};

use brainmvp_ranks::Ranks;
use burn::backend::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;

use crate::VolumeOps;
use crate::ops::ranks::{GradientHook, batch_norm_backward};
use crate::ops::{CropOptions, GroupNormOptions, WindowOptions};

/// Turns the gradient of an operation's output into those of its `N` inputs, from what the operation saved. Only inputs
/// that need a gradient get one.
type Formula<B, S, const N: usize> = fn(S, FloatTensor<B>, [bool; N]) -> [Option<FloatTensor<B>>; N];

/// A formula as a step of Burn's backward pass.
struct Rule<B: VolumeOps, S, const N: usize>(Formula<B, S, N>);

impl<B: VolumeOps, S, const N: usize> Debug for Rule<B, S, N> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Rule")
    }
}

impl<B: VolumeOps, S: Clone + Send + Debug + 'static, const N: usize> Backward<B, N> for Rule<B, S, N> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let gradient = grads.consume::<B>(&ops.node);
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (parent, gradient) in ops.parents.into_iter().zip(self.0(ops.state, gradient, wanted)) {
            if let Some((parent, gradient)) = parent.zip(gradient) {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

/// `output` as a node of the graph, with the data that its gradient needs and the formula for it.
fn record<B: VolumeOps, C: CheckpointStrategy, S: Clone + Send + Debug + 'static, const N: usize>(
    inputs: [NodeGuard; N],
    output: FloatTensor<B>,
    kept: S,
    formula: Formula<B, S, N>,
) -> FloatTensor<Autodiff<B, C>> {
    match Rule(formula).prepare::<C>(inputs).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(kept, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

/// The gradients of an operation that computes them together.
fn all<T, const N: usize>(gradients: impl Into<[T; N]>) -> [Option<T>; N] {
    gradients.into().map(Some)
}

impl<B: VolumeOps, C: CheckpointStrategy> VolumeOps for Autodiff<B, C> {
    fn depthwise_conv3d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let output = B::depthwise_conv3d(x.clone(), weight.clone(), bias);
        record::<B, C, _, 3>(
            [x_node, weight_node, bias_node],
            output,
            (x, weight),
            |(x, weight), gradient, _| all(B::depthwise_conv3d_backward(x, weight, gradient)),
        )
    }

    fn dense_conv3d(x: FloatTensor<Self>, weight: FloatTensor<Self>, stride: usize) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = B::dense_conv3d(x.clone(), weight.clone(), stride);
        let kept = (x, weight, stride);
        record::<B, C, _, 2>([x_node, weight_node], output, kept, |(x, weight, stride), gradient, wanted| {
            let of_input = |x, weight, gradient| B::dense_conv3d_backward_input(x, weight, gradient, stride);
            let input = wanted[0].then(|| of_input(x.clone(), weight.clone(), gradient.clone()));
            [input, wanted[1].then(|| B::dense_conv3d_backward_weight(x, weight, gradient, stride))]
        })
    }

    fn voxel_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let output = B::voxel_linear(x.clone(), weight.clone(), bias);
        record::<B, C, _, 3>(
            [x_node, weight_node, bias_node],
            output,
            (x, weight),
            |(x, weight), gradient, _| all(B::voxel_linear_backward(x, weight, gradient)),
        )
    }

    fn voxel_linear_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((onto, onto_node), (x, x_node)) = (onto.into_parts(), x.into_parts());
        let ((weight, weight_node), (bias, bias_node)) = (weight.into_parts(), bias.into_parts());
        let output = B::voxel_linear_onto(onto, x.clone(), weight.clone(), bias);
        let inputs = [onto_node, x_node, weight_node, bias_node];
        record::<B, C, _, 4>(inputs, output, (x, weight), |(x, weight), gradient, _| {
            let (x, weight, bias) = B::voxel_linear_backward(x, weight, gradient.clone());
            all([gradient, x, weight, bias])
        })
    }

    fn voxel_mlp_onto(
        onto: FloatTensor<Self>,
        x: FloatTensor<Self>,
        weight1: FloatTensor<Self>,
        bias1: FloatTensor<Self>,
        weight2: FloatTensor<Self>,
        bias2: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((onto, onto_node), (x, x_node)) = (onto.into_parts(), x.into_parts());
        let ((weight1, weight1_node), (bias1, bias1_node)) = (weight1.into_parts(), bias1.into_parts());
        let ((weight2, weight2_node), (bias2, bias2_node)) = (weight2.into_parts(), bias2.into_parts());
        let kept = (x.clone(), weight1.clone(), bias1.clone(), weight2.clone());
        let output = B::voxel_mlp_onto(onto, x, weight1, bias1, weight2, bias2);
        let inputs = [onto_node, x_node, weight1_node, bias1_node, weight2_node, bias2_node];
        record::<B, C, _, 6>(inputs, output, kept, |(x, weight1, bias1, weight2), gradient, _| {
            let (x, weight1, bias1, weight2, bias2) =
                B::voxel_mlp_backward(x, weight1, bias1, weight2, gradient.clone());
            all([gradient, x, weight1, bias1, weight2, bias2])
        })
    }

    fn channel_layer_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let output = B::channel_layer_norm(x.clone(), scale.clone(), shift, epsilon);
        let (inputs, kept) = ([x_node, scale_node, shift_node], (x, scale, epsilon));
        record::<B, C, _, 3>(inputs, output, kept, |(x, scale, epsilon), gradient, _| {
            all(B::channel_layer_norm_backward(x, scale, gradient, epsilon))
        })
    }

    fn channel_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let (output, mean, variance) = B::channel_batch_norm(x.clone(), scale.clone(), shift, epsilon);
        let (inputs, kept) =
            ([x_node, scale_node, shift_node], (x, scale, mean.clone(), variance.clone(), epsilon));
        let output = record::<B, C, _, 3>(inputs, output, kept, |kept, gradient, _| {
            let (x, scale, mean, variance, epsilon) = kept;
            all(B::channel_batch_norm_backward(x, scale, mean, variance, gradient, epsilon))
        });
        (output, FloatTensor::<Self>::new(mean), FloatTensor::<Self>::new(variance))
    }

    fn shared_batch_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        epsilon: f32,
        ranks: Ranks,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let (output, mean, variance) =
            B::shared_batch_norm(x.clone(), scale.clone(), shift, epsilon, ranks.clone());
        let inputs = [x_node, scale_node, shift_node];
        let kept = (x, scale, [mean.clone(), variance.clone()], epsilon, ranks);
        let output = record::<B, C, _, 3>(inputs, output, kept, |kept, gradient, _| {
            let (x, scale, moments, epsilon, ranks) = kept;
            all(batch_norm_backward::<B>(x, scale, moments, gradient, epsilon, &ranks))
        });
        (output, FloatTensor::<Self>::new(mean), FloatTensor::<Self>::new(variance))
    }

    fn when_gradient(
        x: FloatTensor<Self>,
        depth: FloatTensor<Self>,
        hook: GradientHook,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (_, depth_node)) = (x.into_parts(), depth.into_parts());
        record::<B, C, _, 2>([x_node, depth_node], x, hook, |hook, gradient, _| {
            hook.call::<B>(gradient.clone());
            [Some(gradient), None]
        })
    }

    fn channel_group_norm(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        options: GroupNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let (output, moments) = B::channel_group_norm(x.clone(), scale.clone(), shift.clone(), options);
        let (inputs, kept) = ([x_node, scale_node, shift_node], (x, scale, shift, moments.clone(), options));
        let output = record::<B, C, _, 3>(inputs, output, kept, |kept, gradient, _| {
            let (x, scale, shift, moments, options) = kept;
            all(B::channel_group_norm_backward(x, scale, shift, moments, gradient, options))
        });
        (output, FloatTensor::<Self>::new(moments))
    }

    fn group_norm_conv(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        norm: GroupNormOptions,
        stride: usize,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node)) = (x.into_parts(), scale.into_parts());
        let ((shift, shift_node), (weight, weight_node)) = (shift.into_parts(), weight.into_parts());
        let kept = (x.clone(), scale.clone(), shift.clone(), weight.clone(), norm, stride);
        let output = B::group_norm_conv(x, scale, shift, weight, norm, stride);
        let inputs = [x_node, scale_node, shift_node, weight_node];
        record::<B, C, _, 4>(inputs, output, kept, |kept, gradient, wanted| {
            let (x, scale, shift, weight, norm, stride) = kept;
            let (normed, moments) = B::channel_group_norm(x.clone(), scale.clone(), shift.clone(), norm);
            let of_weight = wanted[3].then(|| {
                let (normed, weight, gradient) = (normed.clone(), weight.clone(), gradient.clone());
                B::dense_conv3d_backward_weight(normed, weight, gradient, stride)
            });
            let gradient = B::dense_conv3d_backward_input(normed, weight, gradient, stride);
            let (x, scale, shift) = B::channel_group_norm_backward(x, scale, shift, moments, gradient, norm);
            [Some(x), Some(scale), Some(shift), of_weight]
        })
    }

    fn conv_group_norm(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        norm: GroupNormOptions,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let ((scale, scale_node), (shift, shift_node)) = (scale.into_parts(), shift.into_parts());
        let convolved = B::dense_conv3d(x.clone(), weight.clone(), 1);
        let (output, moments) = B::channel_group_norm(convolved, scale.clone(), shift.clone(), norm);
        let kept = (x, weight, scale, shift, moments, norm);
        let inputs = [x_node, weight_node, scale_node, shift_node];
        record::<B, C, _, 4>(inputs, output, kept, |kept, gradient, wanted| {
            let (x, weight, scale, shift, moments, norm) = kept;
            let convolved = B::dense_conv3d(x.clone(), weight.clone(), 1);
            let (gradient, scale, shift) =
                B::channel_group_norm_backward(convolved, scale, shift, moments, gradient, norm);
            let of_weight = wanted[1]
                .then(|| B::dense_conv3d_backward_weight(x.clone(), weight.clone(), gradient.clone(), 1));
            let of_input = wanted[0].then(|| B::dense_conv3d_backward_input(x, weight, gradient, 1));
            [of_input, of_weight, Some(scale), Some(shift)]
        })
    }

    fn leaky_sum(x: FloatTensor<Self>, y: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        let ((x, x_node), (y, y_node)) = (x.into_parts(), y.into_parts());
        let output = B::leaky_sum(x, y, slope);
        let kept = (output.clone(), slope);
        record::<B, C, _, 2>([x_node, y_node], output, kept, |(output, slope), gradient, _| {
            let gradient = B::leaky_sum_backward(output, gradient, slope);
            all([gradient.clone(), gradient])
        })
    }

    fn overlap_sums(logits: FloatTensor<Self>, members: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((logits, node), (members, _)) = (logits.into_parts(), members.into_parts());
        let output = B::overlap_sums(logits.clone(), members.clone());
        record::<B, C, _, 1>([node], output, (logits, members), |(logits, members), gradient, _| {
            all([B::overlap_sums_backward(logits, members, gradient)])
        })
    }

    fn channel_affine(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (scale, scale_node), (shift, shift_node)) =
            (x.into_parts(), scale.into_parts(), shift.into_parts());
        let output = B::channel_affine(x.clone(), scale.clone(), shift);
        record::<B, C, _, 3>(
            [x_node, scale_node, shift_node],
            output,
            (x, scale),
            |(x, scale), gradient, _| {
                all(crate::ops::norm::affine_backward_reference::<B>(x, scale, gradient))
            },
        )
    }

    fn token_attention(qkv: FloatTensor<Self>, heads: usize) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (qkv, node) = qkv.into_parts();
        let (output, log_sums) = B::token_attention(qkv.clone(), heads);
        let kept = (qkv, output.clone(), log_sums.clone(), heads);
        let output = record::<B, C, _, 1>([node], output, kept, |kept, gradient, _| {
            let (qkv, output, log_sums, heads) = kept;
            all([B::token_attention_backward(qkv, output, log_sums, gradient, heads)])
        });
        (output, FloatTensor::<Self>::new(log_sums))
    }

    fn window_attention(
        qkv: FloatTensor<Self>,
        outside: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: WindowOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let ((qkv, qkv_node), (outside, outside_node), (bias, bias_node)) =
            (qkv.into_parts(), outside.into_parts(), bias.into_parts());
        let (output, log_sums) = B::window_attention(qkv.clone(), outside.clone(), bias.clone(), options);
        let kept = (qkv, outside, bias, output.clone(), log_sums.clone(), options);
        let inputs = [qkv_node, outside_node, bias_node];
        let output = record::<B, C, _, 3>(inputs, output, kept, |kept, gradient, _| {
            let (qkv, outside, bias, output, log_sums, options) = kept;
            all(B::window_attention_backward(qkv, outside, bias, output, log_sums, gradient, options))
        });
        (output, FloatTensor::<Self>::new(log_sums))
    }

    fn normalized_crop(x: FloatTensor<Self>, options: CropOptions) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::normalized_crop(x.clone(), options);
        record::<B, C, _, 1>([node], output, (x, options), |(x, options), gradient, _| {
            all([B::normalized_crop_backward(x, gradient, options)])
        })
    }

    fn expand_onto(fine: FloatTensor<Self>, coarse: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((fine, fine_node), (coarse, coarse_node)) = (fine.into_parts(), coarse.into_parts());
        let output = B::expand_onto(fine, coarse);
        record::<B, C, _, 2>([fine_node, coarse_node], output, (), |(), gradient, [fine, coarse]| {
            let for_coarse = coarse.then(|| B::expand_onto_backward(gradient.clone()));
            [fine.then_some(gradient), for_coarse]
        })
    }

    fn patch_downsample(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let output = B::patch_downsample(x.clone(), weight.clone(), bias);
        record::<B, C, _, 3>(
            [x_node, weight_node, bias_node],
            output,
            (x, weight),
            |(x, weight), gradient, _| all(B::patch_downsample_backward(x, weight, gradient)),
        )
    }

    fn patch_upsample(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = B::patch_upsample(x.clone(), weight.clone());
        record::<B, C, _, 2>([x_node, weight_node], output, (x, weight), |(x, weight), gradient, _| {
            all(B::patch_upsample_backward(x, weight, gradient))
        })
    }
}
