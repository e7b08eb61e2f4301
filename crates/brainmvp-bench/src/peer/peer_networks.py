"""The networks of `brainmvp bench` in PyTorch, but for Swin-UNETR.

They are written for this project from the published descriptions, with the names of the published state dicts;
`peer_check.py` compares them with reference numbers. Volumes are [B, C, X, Y, Z].
"""

import torch
import torch.nn.functional as F
from torch import nn

from peer_layers import (
    Attention, Mlp, PatchEmbed, ResidualBlock, SkipLevel, depthwise, doubling, output, own, pointwise,
)
from peer_swin import SwinUnetr

WIDTHS = (64, 128, 320, 512)
DEPTHS = (3, 4, 8, 3)
HEAD_WIDTH = 64


class ConvBlock(nn.Module):
    """Mixes neighbours."""

    def __init__(self, width):
        super().__init__()
        self.pos_embed = depthwise(width, 3)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = pointwise(width, width)
        self.conv2 = pointwise(width, width)
        self.attn = depthwise(width, 5)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = Mlp(pointwise, width)

    def forward(self, x):
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class AttentionBlock(nn.Module):
    """Mixes all voxels."""

    def __init__(self, width, setting):
        super().__init__()
        self.setting = setting
        self.pos_embed = depthwise(width, 3)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, width // HEAD_WIDTH, setting)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(nn.Linear, width)

    def forward(self, x):
        x = x + self.pos_embed(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.setting.arrange(tokens.transpose(1, 2).unflatten(2, x.shape[2:]))


class UniFormer(nn.Module):
    """UniFormer-S: [B, C, X, Y, Z] to the features of four stages, which have the axes Z, X, Y."""

    def __init__(self, inputs, setting):
        super().__init__()
        self.setting = setting
        stage_inputs = (inputs, *WIDTHS)
        for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS), 1):
            block = ConvBlock if stage <= 2 else lambda width: AttentionBlock(width, setting)
            setattr(self, f"patch_embed{stage}", PatchEmbed(stage_inputs[stage - 1], width, setting))
            setattr(self, f"blocks{stage}", nn.Sequential(*(block(width) for _ in range(depth))))
        self.norm = nn.BatchNorm3d(WIDTHS[-1])

    def forward(self, x):
        x = to_zxy(x, self.setting)
        stages = []
        for stage in range(1, 5):
            x = getattr(self, f"blocks{stage}")(getattr(self, f"patch_embed{stage}")(x))
            stages.append(x)
        return stages[:3] + [self.norm(x)]


def to_zxy(x, setting):
    """Axes X, Y, Z to those of the encoder."""
    return setting.arrange(x.permute(0, 1, 4, 2, 3))


def to_xyz(x, setting):
    """Back."""
    return setting.arrange(x.permute(0, 1, 3, 4, 2))


class UniFormerPretraining(nn.Module):
    """UniFormer-S and its linear decoder: [B, 1, X, Y, Z] to the same and the deepest features."""

    def __init__(self, setting):
        super().__init__()
        self.setting = setting
        self.encoder = nn.ModuleDict({"uniformer": UniFormer(1, setting)})
        widths = (*WIDTHS[::-1], WIDTHS[0])
        decoder = {
            f"decoder{5 - level}": nn.ModuleDict({"transp_conv": doubling(*widths[level : level + 2])})
            for level in range(4)
        }
        self.decoder = nn.ModuleDict({**decoder, "out_1": output(WIDTHS[0], 1)})

    def forward(self, views):
        deepest = self.encoder["uniformer"](views)[-1]
        x = to_xyz(deepest, self.setting)
        for level in range(5, 1, -1):
            x = self.decoder[f"decoder{level}"]["transp_conv"]["conv"](x)
        return self.decoder["out_1"]["conv"]["conv"](x), deepest


class UniFormerSegmentation(nn.Module):
    """Encoder and a decoder with skips: [B, C, X, Y, Z] to logits and the deepest features.

    In training the logits are those of three scales, the coarsest first.
    """

    def __init__(self, setting, inputs, classes):
        super().__init__()
        self.setting = setting
        self.encoder = UniFormer(inputs, setting)
        widths = (*WIDTHS[::-1], WIDTHS[0])
        decoder = {f"decoder{5 - level}": SkipLevel(a, b) for level, (a, b) in enumerate(zip(widths, widths[1:]))}
        decoder["proj1"] = PatchEmbed(inputs, WIDTHS[0], setting, kernel=3, stride=1, padding=1)
        self.decoder = nn.ModuleDict({**decoder, "out": output(WIDTHS[0], classes)})
        self.ms_out = nn.ModuleList([pointwise(WIDTHS[1], classes), pointwise(WIDTHS[0], classes)])

    def forward(self, x):
        # The projection of the input works on the encoder's axes.
        projected = self.decoder["proj1"](to_zxy(x, self.setting))
        stages = [projected, *self.encoder(x)]
        *skips, deepest = (to_xyz(stage, self.setting) for stage in stages)
        levels = [deepest]
        for level, beside in zip(range(5, 1, -1), reversed(skips)):
            levels.append(self.decoder[f"decoder{level}"](levels[-1], beside))
        logits = [self.decoder["out"]["conv"]["conv"](levels[-1])]
        if self.training:
            coarse = zip(self.ms_out, levels[2:4], (4, 2))
            logits = [
                F.interpolate(head(level), scale_factor=factor, mode="trilinear", align_corners=True)
                for head, level, factor in coarse
            ] + logits
        return logits, deepest


class TransformerBlock(nn.Module):
    """Attention over all tokens, then an MLP, each after a layer norm."""

    def __init__(self, width, mlp, heads, setting):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, setting, bias=False, proj="out_proj")
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(nn.Linear, width, mlp, names=("linear1", "linear2"))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """Blocks of 16^3 voxels as tokens: the outputs of the 4th, 7th and 10th block, and the last after its norm."""

    def __init__(self, setting, inputs, grid, width, mlp, heads=12, depth=12):
        super().__init__()
        self.setting, self.grid = setting, grid
        embedding = nn.Module()
        embedding.patch_embeddings = nn.Conv3d(inputs, width, 16, 16)
        embedding.position_embeddings = nn.Parameter(0.02 * torch.randn(1, grid**3, width))
        self.patch_embedding = embedding
        self.blocks = nn.ModuleList(TransformerBlock(width, mlp, heads, setting) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        x = self.patch_embedding.patch_embeddings(x)
        grid, levels = x.shape[2:], []
        x = x.flatten(2).transpose(1, 2) + self.positions(grid)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in (3, 6, 9):
                levels.append(x)
        levels.append(self.norm(x))
        return [self.setting.arrange(level.transpose(1, 2).unflatten(2, grid)) for level in levels]

    def positions(self, grid):
        """Of as many tokens, interpolated if they are not those of the table."""
        table = self.patch_embedding.position_embeddings
        if tuple(grid) == (self.grid,) * 3:
            return table
        table = table.transpose(1, 2).unflatten(2, (self.grid,) * 3)
        return F.interpolate(table, grid, mode="trilinear").flatten(2).transpose(1, 2)


class Climb(nn.Module):
    """From tokens to the size of a level of the decoder."""

    def __init__(self, inputs, outputs, steps):
        super().__init__()
        self.transp_conv_init = doubling(inputs, outputs)
        step = lambda: nn.ModuleList([doubling(outputs, outputs), ResidualBlock(outputs, outputs)])
        self.blocks = nn.ModuleList(step() for _ in range(steps))

    def forward(self, x):
        x = self.transp_conv_init["conv"](x)
        for up, mix in self.blocks:
            x = mix(up["conv"](x))
        return x


class Unetr(nn.Module):
    """UNETR, with positions for a grid of tokens: [B, C, X, Y, Z] to logits and the deepest features."""

    def __init__(self, setting, inputs, classes, grid=6, width=768, mlp=3072, feature=16):
        super().__init__()
        self.vit = VisionTransformer(setting, inputs, grid, width, mlp)
        self.encoder1 = own(ResidualBlock(inputs, feature))
        self.encoder2 = Climb(width, 2 * feature, 2)
        self.encoder3 = Climb(width, 4 * feature, 1)
        self.encoder4 = Climb(width, 8 * feature, 0)
        self.decoder5 = SkipLevel(width, 8 * feature)
        self.decoder4 = SkipLevel(8 * feature, 4 * feature)
        self.decoder3 = SkipLevel(4 * feature, 2 * feature)
        self.decoder2 = SkipLevel(2 * feature, feature)
        self.out = output(feature, classes)

    def forward(self, x):
        first, second, third, deepest = self.vit(x)
        full = self.encoder1["layer"](x)
        x = self.decoder5(deepest, self.encoder4(third))
        x = self.decoder4(x, self.encoder3(second))
        x = self.decoder3(x, self.encoder2(first))
        return [self.out["conv"]["conv"](self.decoder2(x, full))], deepest


class PreNormBlock(nn.Module):
    """`x + conv(relu(norm(conv(relu(norm(x))))))`."""

    def __init__(self, width):
        super().__init__()
        self.gn1 = nn.GroupNorm(8, width)
        self.conv1 = nn.Conv3d(width, width, 3, padding=1)
        self.gn2 = nn.GroupNorm(8, width)
        self.conv2 = nn.Conv3d(width, width, 3, padding=1)

    def forward(self, x):
        inner = self.conv1(F.relu(self.gn1(x), inplace=True))
        return x + self.conv2(F.relu(self.gn2(inner), inplace=True))


class Unet3d(nn.Module):
    """UNET3D, with skips that are added, or none in pre-training: to an output and the deepest features."""

    WIDTHS = (32, 64, 128, 256)
    BLOCKS = ("b", "ab", "ab", "abcd")

    def __init__(self, setting, inputs, classes, skips=True):
        super().__init__()
        self.skips = skips
        self.conv1a = nn.Conv3d(inputs, self.WIDTHS[0], 3, padding=1)
        for level, (width, names) in enumerate(zip(self.WIDTHS, self.BLOCKS), 1):
            for name in names:
                setattr(self, f"conv{level}{name}", PreNormBlock(width))
            if level < 4:
                below = self.WIDTHS[level]
                setattr(self, f"ds{level}", nn.Conv3d(width, below, 3, 2, padding=1))
                setattr(self, f"up{level + 1}conva", pointwise(below, width))
                setattr(self, f"up{level + 1}convb", PreNormBlock(width))
        self.up1conv = pointwise(self.WIDTHS[0], classes)

    def forward(self, x):
        x, beside = self.conv1a(x), []
        for level, names in enumerate(self.BLOCKS, 1):
            for name in names:
                x = getattr(self, f"conv{level}{name}")(x)
            if level < 4:
                beside.append(x)
                x = getattr(self, f"ds{level}")(x)
        deepest = x
        for level in (4, 3, 2):
            x = F.interpolate(getattr(self, f"up{level}conva")(x), scale_factor=2, mode="nearest")
            x = getattr(self, f"up{level}convb")(x + beside.pop() if self.skips else x)
        return [self.up1conv(x)], deepest


class Unet3dPretraining(Unet3d):
    """The same without skips, for one channel."""

    def __init__(self, setting):
        super().__init__(setting, 1, 1, skips=False)

    def forward(self, x):
        (reconstruction,), deepest = super().forward(x)
        return reconstruction, deepest


# By the names of our presets: for segmentation, from a setting, inputs and classes.
SEGMENTATION = {
    "uniformer-small": UniFormerSegmentation,
    "unet3d": Unet3d,
    "unetr": Unetr,
    "swin-unetr": SwinUnetr,
}
# For pre-training, from a setting.
PRETRAINING = {"uniformer-small": UniFormerPretraining, "unet3d": Unet3dPretraining}
