"""Swin-UNETR in PyTorch, for `brainmvp bench`."""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from peer_layers import Mlp, ResidualBlock, SkipLevel, attention, output, own

WINDOW = 7


@cache
def offsets(tokens):
    """The row of the table of biases for each pair of tokens. A smaller window has the first rows of a whole one's."""
    places = torch.cartesian_prod(*[torch.arange(WINDOW)] * 3)[:tokens]
    apart = places[:, None] - places[None] + WINDOW - 1
    return (apart * torch.tensor([(2 * WINDOW - 1) ** 2, 2 * WINDOW - 1, 1])).sum(-1).flatten()


def to_windows(x, window):
    """[B, X, Y, Z, C] to [B, windows, tokens, C]."""
    batch, channels = x.shape[0], x.shape[-1]
    counts = [size // of for size, of in zip(x.shape[1:4], window)]
    x = x.view(batch, counts[0], window[0], counts[1], window[1], counts[2], window[2], channels)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, counts[0] * counts[1] * counts[2], -1, channels)


def from_windows(x, window, size):
    """Back to [B, X, Y, Z, C]."""
    counts = [n // of for n, of in zip(size, window)]
    x = x.view(x.shape[0], *counts, *window, x.shape[-1])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(x.shape[0], *size, x.shape[-1])


@cache
def apart(size, window, shift):
    """What keeps tokens apart that are neighbours only because the volume was rolled: [windows, 1, tokens, tokens]."""
    slabs = [
        torch.bucketize(torch.arange(n), torch.tensor([n - of, n - by]), right=True)
        for n, of, by in zip(size, window, shift)
    ]
    label = (slabs[0][:, None, None] * 3 + slabs[1][None, :, None]) * 3 + slabs[2][None, None]
    label = to_windows(label[None, ..., None], window)[0, :, :, 0]
    return -100.0 * (label[:, None, :, None] != label[:, None, None, :]).float()


class WindowAttention(nn.Module):
    """Self-attention within windows, with a bias for each offset between two tokens."""

    def __init__(self, width, heads, shift, setting):
        super().__init__()
        self.heads, self.shift, self.setting = heads, shift, setting
        self.relative_position_bias_table = nn.Parameter(0.02 * torch.randn((2 * WINDOW - 1) ** 3, heads))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        size = x.shape[1:4]
        window = tuple(min(n, WINDOW) for n in size)
        shift = tuple(0 if n <= WINDOW else self.shift for n in size)
        missing = [-n % of for n, of in zip(size, window)]
        x = F.pad(x, (0, 0, 0, missing[2], 0, missing[1], 0, missing[0]))
        padded = tuple(x.shape[1:4])
        if any(shift):
            x = x.roll([-by for by in shift], (1, 2, 3))
        windows = to_windows(x, window)
        tokens = windows.shape[2]
        # [B, windows, heads, tokens, width]
        q, k, v = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.relative_position_bias_table[offsets(tokens)].view(tokens, tokens, -1).permute(2, 0, 1)
        if any(shift):
            bias = bias + apart(padded, window, shift)
        mixed = self.proj(attention(q, k, v, bias, self.setting).transpose(2, 3).flatten(3))
        x = from_windows(mixed, window, padded)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : size[0], : size[1], : size[2]]


class SwinBlock(nn.Module):
    """Attention within windows, then an MLP, each after a layer norm."""

    def __init__(self, width, heads, shift, setting):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads, shift, setting)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(nn.Linear, width, names=("linear1", "linear2"))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Joins the voxels of each block of 2^3, and narrows them to twice the channels of one."""

    ORDER = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (0, 1, 1), (1, 1, 1))

    def __init__(self, width):
        super().__init__()
        self.reduction = nn.Linear(8 * width, 2 * width, bias=False)
        self.norm = nn.LayerNorm(8 * width)

    def forward(self, x):
        joined = torch.cat([x[:, i::2, j::2, k::2] for i, j, k in self.ORDER], -1)
        return self.reduction(self.norm(joined))


class SwinTransformer(nn.Module):
    """[B, C, X, Y, Z] to five levels, from 1/2 to 1/32 of the size."""

    def __init__(self, setting, inputs, feature, depth=2, heads=(3, 6, 12, 24)):
        super().__init__()
        self.setting = setting
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv3d(inputs, feature, 2, 2)})
        for stage, count in enumerate(heads):
            width = feature << stage
            blocks = (SwinBlock(width, count, WINDOW // 2 * (block % 2), setting) for block in range(depth))
            modules = {"blocks": nn.ModuleList(blocks), "downsample": PatchMerging(width)}
            setattr(self, f"layers{stage + 1}", nn.ModuleList([nn.ModuleDict(modules)]))

    def forward(self, x):
        x = self.patch_embed["proj"](x).movedim(1, -1).contiguous()
        levels = [x]
        for stage in (self.layers1, self.layers2, self.layers3, self.layers4):
            for block in stage[0]["blocks"]:
                x = block(x)
            x = stage[0]["downsample"](x)
            levels.append(x)
        return [self.setting.arrange(F.layer_norm(x, x.shape[-1:]).movedim(-1, 1)) for x in levels]


class SwinUnetr(nn.Module):
    """Swin-UNETR: [B, C, X, Y, Z] to logits and the deepest features."""

    def __init__(self, setting, inputs, classes, feature=48):
        super().__init__()
        self.swinViT = SwinTransformer(setting, inputs, feature)
        widths = [feature << level for level in range(5)]
        self.encoder1 = own(ResidualBlock(inputs, feature))
        for number, width in zip((2, 3, 4, 10), (*widths[:3], widths[4])):
            setattr(self, f"encoder{number}", own(ResidualBlock(width, width)))
        for level in range(1, 5):
            setattr(self, f"decoder{level + 1}", SkipLevel(widths[level], widths[level - 1]))
        self.decoder1 = SkipLevel(feature, feature)
        self.out = output(feature, classes)

    def forward(self, x):
        x0, x1, x2, x3, deepest = self.swinViT(x)
        full = self.encoder1["layer"](x)
        x = self.decoder5(self.encoder10["layer"](deepest), x3)
        x = self.decoder4(x, self.encoder4["layer"](x2))
        x = self.decoder3(x, self.encoder3["layer"](x1))
        x = self.decoder2(x, self.encoder2["layer"](x0))
        return [self.out["conv"]["conv"](self.decoder1(x, full))], deepest
