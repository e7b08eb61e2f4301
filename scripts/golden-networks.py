#!/usr/bin/env python3
"""Reference numbers of small networks for crates/brainmvp-golden/files.

    pip install torch dynamic-network-architectures safetensors
    python3 scripts/golden-networks.py FOLDER

ResEnc is the definition of nnU-Net's library. The U-Nets of Models Genesis and GVSL have no library: they are written down
here in PyTorch's own layers, with the names of the published state dicts. Weights and inputs are functions of their names
(crates/brainmvp-golden/src/lib.rs), so that only the outputs are files.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures.unet import ResidualEncoderUNet
from safetensors.numpy import save_file
from torch import nn

MASK = (1 << 64) - 1


def uniform(name, count):
    """FNV-1a seeds splitmix64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2**24


def parameter(name, shape):
    u = uniform(name, int(np.prod(shape)))
    signed = 2 * u - 1
    if name.endswith("running_mean"):
        values = 0.1 * signed
    elif name.endswith("running_var"):
        values = 1 + 0.5 * u
    elif len(shape) >= 2:
        values = signed * np.sqrt(3 / np.prod(shape[1:]))
    elif name.endswith("bias"):
        values = 0.1 * signed
    else:
        values = 1 + 0.1 * signed
    return torch.from_numpy(values.astype(np.float32)).reshape(shape)


def fill(network):
    with torch.no_grad():
        # Of a parameter with several names, this is the first.
        for name, value in list(network.named_parameters()) + list(network.named_buffers()):
            if value.is_floating_point():
                value.copy_(parameter(name, tuple(value.shape)))
    return network


class BatchNorm(nn.BatchNorm3d):
    """With the statistics of the batch, always."""

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, True, self.momentum, self.eps)


class Genesis(nn.Module):
    def __init__(self, inputs, classes, width):
        super().__init__()

        def pair(*channels):
            units = []
            for before, after in zip(channels, channels[1:]):
                unit = nn.Module()
                unit.conv1, unit.bn1 = nn.Conv3d(before, after, 3, padding=1), BatchNorm(after)
                units.append(unit)
            return nn.ModuleList(units)

        def level(ops, up=None):
            level = nn.Module()
            level.ops = ops
            if up is not None:
                level.up_conv = nn.ConvTranspose3d(up, up, 2, 2)
            return level

        w = width
        self.down_tr64 = level(pair(inputs, w, 2 * w))
        self.down_tr128 = level(pair(2 * w, 2 * w, 4 * w))
        self.down_tr256 = level(pair(4 * w, 4 * w, 8 * w))
        self.down_tr512 = level(pair(8 * w, 8 * w, 16 * w))
        self.up_tr256 = level(pair(24 * w, 8 * w, 8 * w), 16 * w)
        self.up_tr128 = level(pair(12 * w, 4 * w, 4 * w), 8 * w)
        self.up_tr64 = level(pair(6 * w, 2 * w, 2 * w), 4 * w)
        self.out_tr = nn.Module()
        self.out_tr.final_conv = nn.Conv3d(2 * w, classes, 1)

    def forward(self, x):
        def through(level, x):
            for unit in level.ops:
                x = F.relu(unit.bn1(unit.conv1(x)))
            return x

        x1 = through(self.down_tr64, x)
        x2 = through(self.down_tr128, F.max_pool3d(x1, 2))
        x3 = through(self.down_tr256, F.max_pool3d(x2, 2))
        x = through(self.down_tr512, F.max_pool3d(x3, 2))
        for level, skip in [(self.up_tr256, x3), (self.up_tr128, x2), (self.up_tr64, x1)]:
            x = through(level, torch.cat([level.up_conv(x), skip], 1))
        return self.out_tr.final_conv(x)


class Gvsl(nn.Module):
    def __init__(self, inputs, classes, widths):
        super().__init__()

        def pair(before, after):
            layers = []
            for inputs in (before, after):
                layers += [nn.Conv3d(inputs, after, 3, padding=1), nn.GroupNorm(after // 8, after), nn.LeakyReLU(0.2)]
            module = nn.Module()
            module.double_conv = nn.Sequential(*layers)
            return module

        self.unet = nn.Module()
        self.unet.inc = pair(inputs, widths[0])
        for place in range(1, 5):
            down, up = nn.Module(), nn.Module()
            down.maxpool_conv = nn.ModuleList([nn.MaxPool3d(2), pair(widths[place - 1], widths[place])])
            up.conv = pair(widths[5 - place] + widths[4 - place], widths[4 - place])
            setattr(self.unet, f"down{place}", down)
            setattr(self.unet, f"up{place}", up)
        self.out_conv = nn.Conv3d(widths[0], classes, 3, padding=1)

    def forward(self, x):
        levels = [self.unet.inc.double_conv(x)]
        for place in range(1, 5):
            down = getattr(self.unet, f"down{place}").maxpool_conv
            levels.append(down[1].double_conv(down[0](levels[-1])))
        x = levels.pop()
        for place in range(1, 5):
            x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=True)
            x = getattr(self.unet, f"up{place}").conv.double_conv(torch.cat([levels.pop(), x], 1))
        return self.out_conv(x)


def res_enc(inputs, classes):
    return ResidualEncoderUNet(
        input_channels=inputs,
        n_stages=4,
        features_per_stage=[8, 12, 16, 16],
        conv_op=nn.Conv3d,
        kernel_sizes=3,
        strides=[1, 2, 2, 2],
        n_blocks_per_stage=[1, 2, 1, 1],
        num_classes=classes,
        n_conv_per_stage_decoder=1,
        conv_bias=True,
        norm_op=nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=True,
    )


def main(folder):
    shape = (1, 2, 16, 32, 48)
    # The rule's inputs are in [0, 1).
    x = torch.from_numpy(uniform("x", int(np.prod(shape))).astype(np.float32)).reshape(shape)
    networks = {
        "resenc": res_enc(2, 3),
        "unet3d_b": Genesis(2, 3, 4),
        "unet3d_c": Gvsl(2, 3, [8, 16, 16, 24, 24]),
    }
    for name, network in networks.items():
        network = fill(network).eval()
        with torch.no_grad():
            outputs = network(x)
        if not isinstance(outputs, (list, tuple)):
            outputs = [outputs]
        # Coarser outputs at the full size, as our networks return them.
        tensors = {
            "logits" if place == 0 else f"coarse{place}": output
            if place == 0
            else F.interpolate(output, size=shape[2:], mode="trilinear", align_corners=True)
            for place, output in enumerate(outputs)
        }
        # Every second voxel along each axis.
        halves = {key: value[:, :, ::2, ::2, ::2].contiguous().numpy() for key, value in tensors.items()}
        save_file(halves, folder / f"{name}_eval.safetensors")
        keys = {key: list(value.shape) for key, value in network.state_dict().items()}
        (folder / f"keys_{name}.json").write_text(json.dumps(keys, indent=0) + "\n")
        print(name, len(keys), [tuple(value.shape) for value in tensors.values()])
    # As nnssl saves them: several names for the same bytes, and things that are no tensors.
    checkpoint = {
        "network_weights": fill(res_enc(1, 1)).state_dict(),
        "trainer_name": "BaseMAETrainer",
        "nnssl_adaptation_plan": {"architecture_plans": {"arch_class_name": "ResEncL"}, "keys_to_in_proj": ("a", "b")},
    }
    torch.save(checkpoint, folder / "nnssl_layout_small.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
