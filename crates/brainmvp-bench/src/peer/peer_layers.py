"""How PyTorch is used, and the layers that several of its networks have."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Setting(NamedTuple):
    """How PyTorch is used: `plain` as a program is commonly written, the others at their best."""

    memory_format: torch.memory_format = torch.contiguous_format
    fused: bool = False
    autocast: bool = False

    def arrange(self, x):
        return x.contiguous(memory_format=self.memory_format)

    def arrange_weights(self, module):
        for parameter in module.parameters():
            if parameter.dim() == 5:
                parameter.data = self.arrange(parameter.data)
        return module


SETTINGS = {
    "plain": Setting(),
    "best": Setting(torch.channels_last_3d, fused=True),
    "bf16": Setting(torch.channels_last_3d, fused=True, autocast=True),
}


class PatchEmbed(nn.Module):
    """A convolution, then a layer norm over channels."""

    def __init__(self, inputs, outputs, setting, kernel=2, stride=2, padding=0):
        super().__init__()
        self.setting = setting
        self.proj = nn.Conv3d(inputs, outputs, kernel, stride, padding)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x):
        x = self.norm(self.proj(x).movedim(1, -1))
        return self.setting.arrange(x.movedim(-1, 1))


class Mlp(nn.Module):
    """Two layers with a GELU between, per voxel (convolutions) or per token."""

    def __init__(self, layer, width, hidden=None, names=("fc1", "fc2")):
        super().__init__()
        hidden, self.names = hidden or 4 * width, names
        for name, shape in zip(names, ((width, hidden), (hidden, width))):
            setattr(self, name, layer(*shape))

    def forward(self, x):
        first, second = (getattr(self, name) for name in self.names)
        return second(F.gelu(first(x)))


def pointwise(inputs, outputs):
    return nn.Conv3d(inputs, outputs, 1)


def depthwise(width, kernel):
    return nn.Conv3d(width, width, kernel, padding=kernel // 2, groups=width)


def attention(q, k, v, bias, setting):
    """Softmax attention of [.., tokens, width], with something added to the scores or None."""
    if setting.fused:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    scores = q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1) @ v


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self, width, heads, setting, bias=True, proj="proj"):
        super().__init__()
        self.heads, self.setting, self.name = heads, setting, proj
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        setattr(self, proj, nn.Linear(width, width))

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attention(q, k, v, None, self.setting)
        return getattr(self, self.name)(mixed.transpose(1, 2).flatten(2))


def doubling(inputs, outputs):
    """A transposed convolution under the name that published weights have for it."""
    return nn.ModuleDict({"conv": nn.ConvTranspose3d(inputs, outputs, 2, 2, bias=False)})


def output(inputs, outputs):
    """A 1^3 convolution under the name that published weights have for it."""
    return nn.ModuleDict({"conv": nn.ModuleDict({"conv": pointwise(inputs, outputs)})})


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions, and a 1^3 one around them if the channels change, each with an instance norm."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.changes = inputs != outputs
        shapes = ((inputs, outputs, 3), (outputs, outputs, 3), (inputs, outputs, 1))
        for number, (a, b, kernel) in enumerate(shapes if self.changes else shapes[:2], 1):
            conv = nn.Conv3d(a, b, kernel, padding=kernel // 2, bias=False)
            setattr(self, f"conv{number}", nn.ModuleDict({"conv": conv}))

    def forward(self, x):
        def normed(layer, x):
            return F.instance_norm(layer["conv"](x))

        inner = normed(self.conv2, F.leaky_relu(normed(self.conv1, x), 0.01))
        return F.leaky_relu(inner + (normed(self.conv3, x) if self.changes else x), 0.01)


class SkipLevel(nn.Module):
    """Doubles the size, and mixes with the features beside."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.transp_conv = doubling(inputs, outputs)
        self.conv_block = ResidualBlock(2 * outputs, outputs)

    def forward(self, below, beside):
        return self.conv_block(torch.cat([self.transp_conv["conv"](below), beside], 1))


def own(block):
    """A block under the name that published weights have for it on a level of an encoder."""
    return nn.ModuleDict({"layer": block})
