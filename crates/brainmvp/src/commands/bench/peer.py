"""The work of `brainmvp bench` in PyTorch, to be measured beside it.

The networks are written for this project from the method's description; `--check` compares them with reference numbers.

    peer.py --version
    peer.py --check GOLDEN_DIR
    peer.py --work step --setting plain --size 96 --batch 1 --repetitions 2 --threads 2

The answer is one line of JSON on standard output.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import NamedTuple

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    sys.exit(f"missing package: {error.name}; pip install torch")

WIDTHS = (64, 128, 320, 512)
DEPTHS = (3, 4, 8, 3)
HEAD_WIDTH = 64
MODALITIES = 8
# Voxels of the registered volumes and of the templates, x, y, z, and of the cropped cases, for patches of 96 voxels.
REGISTERED = (240, 240, 155)
CASE = (144, 176, 144)
CASE_MODALITIES = 4
CLASSES = 3
MASK_BLOCK = 8
MASK_RATE = 0.8


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

    def __init__(self, layer, width):
        super().__init__()
        self.fc1 = layer(width, 4 * width)
        self.fc2 = layer(4 * width, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


def pointwise(inputs, outputs):
    return nn.Conv3d(inputs, outputs, 1)


def depthwise(width, kernel):
    return nn.Conv3d(width, width, kernel, padding=kernel // 2, groups=width)


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


class Attention(nn.Module):
    """Self-attention over all tokens."""

    def __init__(self, width, setting):
        super().__init__()
        self.fused = setting.fused
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, -1, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            mixed = (q * HEAD_WIDTH**-0.5 @ k.transpose(-2, -1)).softmax(-1) @ v
        return self.proj(mixed.transpose(1, 2).flatten(2))


class AttentionBlock(nn.Module):
    """Mixes all voxels."""

    def __init__(self, width, setting):
        super().__init__()
        self.setting = setting
        self.pos_embed = depthwise(width, 3)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, setting)
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


def doubling(inputs, outputs):
    """A transposed convolution under the name that published weights have for it."""
    return nn.ModuleDict({"conv": nn.ConvTranspose3d(inputs, outputs, 2, 2, bias=False)})


class Pretraining(nn.Module):
    """Encoder, linear decoder and templates, with the loss of a batch."""

    def __init__(self, setting, registered):
        super().__init__()
        self.setting = setting
        self.encoder = nn.ModuleDict({"uniformer": UniFormer(1, setting)})
        widths = (*WIDTHS[::-1], WIDTHS[0])
        decoder = {
            f"decoder{5 - level}": nn.ModuleDict({"transp_conv": doubling(*widths[level : level + 2])})
            for level in range(4)
        }
        decoder["out_1"] = nn.ModuleDict({"conv": nn.ModuleDict({"conv": pointwise(WIDTHS[0], 1)})})
        self.decoder = nn.ModuleDict(decoder)
        # From zero the normaliser would divide by 1e-9.
        self.rep_template = nn.Parameter(torch.rand(MODALITIES, *registered))

    def reconstruct(self, views):
        deepest = self.encoder["uniformer"](views)[-1]
        x = to_xyz(deepest, self.setting)
        for level in range(5, 1, -1):
            x = self.decoder[f"decoder{level}"]["transp_conv"]["conv"](x)
        return self.decoder["out_1"]["conv"]["conv"](x), deepest

    def template(self, modality, start, shape):
        template = self.rep_template[modality]
        low, high = template.min(), template.max()
        template = (template - low) / (high - low + 1e-9)
        return template[tuple(slice(s, s + n) for s, n in zip(start, shape))]

    def views(self, samples):
        """The distilled and the cross-modal views, and the targets, [B, 1, X, Y, Z]."""
        distilled, cross, targets = [], [], []
        for sample in samples:
            target = sample.target
            template = self.template(sample.modality, sample.start, target.shape)
            distilled.append(torch.where(sample.kept_distill, target, template))
            cross.append(torch.where(sample.kept_cross, target, sample.partner))
            targets.append(target)
        return (torch.stack(volumes).unsqueeze(1) for volumes in (distilled, cross, targets))

    def forward(self, samples):
        """The losses: distilled, cross-modal, contrast."""
        distilled, cross, targets = self.views(samples)
        reconstructed, deepest = self.reconstruct(torch.cat([distilled, cross]))
        from_distilled, from_cross = reconstructed.float().chunk(2)
        first, second = (F.normalize(x.float().flatten(1)) for x in deepest.chunk(2))
        logits, own = first @ second.T, torch.arange(len(samples))
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        return F.mse_loss(from_distilled, targets), F.mse_loss(from_cross, targets), contrast


class ResidualBlock(nn.Module):
    """Two 3^3 convolutions, around them a 1^3 one, each with an instance norm."""

    def __init__(self, inputs, outputs):
        super().__init__()
        shapes = ((inputs, outputs, 3), (outputs, outputs, 3), (inputs, outputs, 1))
        for number, (a, b, kernel) in enumerate(shapes, 1):
            conv = nn.Conv3d(a, b, kernel, padding=kernel // 2, bias=False)
            setattr(self, f"conv{number}", nn.ModuleDict({"conv": conv}))

    def forward(self, x):
        def normed(layer, x):
            return F.instance_norm(layer["conv"](x))

        inner = normed(self.conv2, F.leaky_relu(normed(self.conv1, x), 0.01))
        return F.leaky_relu(inner + normed(self.conv3, x), 0.01)


class Segmentation(nn.Module):
    """Encoder and a decoder with skips: [B, C, X, Y, Z] to logits and the deepest features.

    In training the logits are those of three scales, the coarsest first.
    """

    def __init__(self, setting, inputs=CASE_MODALITIES, classes=CLASSES):
        super().__init__()
        self.setting = setting
        self.encoder = UniFormer(inputs, setting)
        widths = (*WIDTHS[::-1], WIDTHS[0])
        decoder = {}
        for level, (a, b) in enumerate(zip(widths, widths[1:])):
            modules = {"transp_conv": doubling(a, b), "conv_block": ResidualBlock(2 * b, b)}
            decoder[f"decoder{5 - level}"] = nn.ModuleDict(modules)
        decoder["proj1"] = PatchEmbed(inputs, WIDTHS[0], setting, kernel=3, stride=1, padding=1)
        decoder["out"] = nn.ModuleDict({"conv": nn.ModuleDict({"conv": pointwise(WIDTHS[0], classes)})})
        self.decoder = nn.ModuleDict(decoder)
        self.ms_out = nn.ModuleList([pointwise(WIDTHS[1], classes), pointwise(WIDTHS[0], classes)])

    def forward(self, x):
        # The projection of the input works on the encoder's axes.
        projected = self.decoder["proj1"](to_zxy(x, self.setting))
        stages = [projected, *self.encoder(x)]
        *skips, deepest = (to_xyz(stage, self.setting) for stage in stages)
        levels = [deepest]
        for level, beside in zip(range(5, 1, -1), reversed(skips)):
            decoder = self.decoder[f"decoder{level}"]
            below = decoder["transp_conv"]["conv"](levels[-1])
            levels.append(decoder["conv_block"](torch.cat([below, beside], 1)))
        logits = [self.decoder["out"]["conv"]["conv"](levels[-1])]
        if self.training:
            coarse = zip(self.ms_out, levels[2:4], (4, 2))
            logits = [
                F.interpolate(head(level), scale_factor=factor, mode="trilinear", align_corners=True)
                for head, level, factor in coarse
            ] + logits
        return logits, deepest


def segmentation_loss(logits, target):
    """0.7 Dice with squares below, 0.3 cross-entropy."""
    logits = logits.float()
    voxels = (0, 2, 3, 4)
    p = logits.sigmoid()
    dice = 1 - (2 * (p * target).sum(voxels) + 1) / ((p * p).sum(voxels) + (target * target).sum(voxels) + 1)
    return 0.7 * dice.mean() + 0.3 * F.binary_cross_entropy_with_logits(logits, target)


class Sample(NamedTuple):
    """One case's share of a batch; volumes are [X, Y, Z]."""

    target: torch.Tensor
    partner: torch.Tensor
    modality: int
    start: tuple
    kept_distill: torch.Tensor
    kept_cross: torch.Tensor


def kept_voxels(blocks, shape):
    """The voxels of the kept blocks, which are numbered with z fastest."""
    grid = torch.zeros(math.prod(n // MASK_BLOCK for n in shape), dtype=torch.bool)
    grid[blocks] = True
    grid = grid.view([n // MASK_BLOCK for n in shape])
    for axis in range(3):
        grid = grid.repeat_interleave(MASK_BLOCK, axis)
    return grid


def draw_mask(shape):
    blocks = math.prod(n // MASK_BLOCK for n in shape)
    return kept_voxels(torch.randperm(blocks)[: math.floor(blocks * (1 - MASK_RATE) + 1e-9)], shape)


def scaled(shape, size):
    """A shape for patches of `size` voxels."""
    return tuple(n * size // 96 for n in shape)


def draw_sample(case, size):
    shape = (size,) * 3
    modality, partner = torch.randperm(CASE_MODALITIES)[:2].tolist()
    start = [int(torch.randint(n - size + 1, ())) for n in case.shape[1:]]
    place = tuple(slice(s, s + size) for s in start)
    in_template = [s + (whole - n) // 2 for s, whole, n in zip(start, scaled(REGISTERED, size), case.shape[1:])]
    target, partner = case[modality][place], case[partner][place]
    return Sample(target, partner, modality, in_template, draw_mask(shape), draw_mask(shape))


def autocast(setting):
    return torch.autocast("cpu", torch.bfloat16, enabled=setting.autocast)


def adamw(module, setting):
    return torch.optim.AdamW(module.parameters(), lr=3e-4, weight_decay=1e-5, fused=setting.fused)


def step(setting, size, batch):
    """One pre-training step: masks, two views of each case, all three losses, gradients, AdamW."""
    module = setting.arrange_weights(Pretraining(setting, scaled(REGISTERED, size)))
    optimizer = adamw(module, setting)
    cases = [torch.rand(CASE_MODALITIES, *scaled(CASE, size)) for _ in range(batch)]

    def run():
        optimizer.zero_grad()
        with autocast(setting):
            loss = sum(module([draw_sample(case, size) for case in cases]))
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def finetune(setting, size, batch):
    """One fine-tuning step: two copies of each case, some modalities replaced, losses at three scales, AdamW."""
    module = setting.arrange_weights(Segmentation(setting))
    optimizer = adamw(module, setting)
    shape = (batch, CASE_MODALITIES, size, size, size)
    images, templates = torch.rand(shape), torch.rand(shape)
    # Both copies are one batch for the losses.
    target = (torch.rand(batch, CLASSES, size, size, size) > 0.8).float().repeat(2, 1, 1, 1, 1)

    def copy():
        replaced = torch.randperm(CASE_MODALITIES)[: int(torch.randint(CASE_MODALITIES, ()))]
        copied = images.clone()
        copied[:, replaced] = templates[:, replaced]
        return copied

    def run():
        optimizer.zero_grad()
        with autocast(setting):
            copies = [module(copy()) for _ in range(2)]
        loss = 0.1 * F.mse_loss(copies[0][1].float(), copies[1][1].float())
        scales = zip(*(logits for logits, _ in copies))
        loss = loss + sum(segmentation_loss(torch.cat(scale), target) for scale in scales)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def inference(setting, size, batch):
    """The logits of one batch of windows."""
    module = setting.arrange_weights(Segmentation(setting)).eval()
    windows = torch.rand(batch, CASE_MODALITIES, size, size, size)

    def run():
        with torch.inference_mode(), autocast(setting):
            return module(windows)[0][0].mean().item()

    return run


WORKS = {"step": step, "finetune": finetune, "inference": inference}


def measure(work, setting, size, batch, repetitions):
    """Seconds of each repetition after one that warms up, and the process's peak of resident memory."""
    run = WORKS[work](SETTINGS[setting], size, batch)
    seconds = []
    for _ in range(repetitions + 1):
        begun = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begun)
        if not math.isfinite(result):
            sys.exit(f"{work}: the result is not finite")
    return {"seconds": seconds[1:], "peak_memory_bytes": peak_memory_bytes()}


def peak_memory_bytes():
    """None where the system does not tell, as the program itself has it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def uniform(name, count):
    """Values in [0, 1) that are a function of a name: FNV-1a seeds splitmix64."""

    def signed(value):
        return (value + 2**63) % 2**64 - 2**63

    def mixed(z, shift):
        return z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))

    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    z = torch.arange(1, count + 1) * signed(0x9E3779B97F4A7C15) + signed(seed)
    z = mixed(z, 30) * signed(0xBF58476D1CE4E5B9)
    z = mixed(z, 27) * signed(0x94D049BB133111EB)
    return ((mixed(z, 31) >> 40) & (2**24 - 1)).double() / 2**24


def named_input(name, *shape):
    return uniform(name, math.prod(shape)).view(shape).float()


def named_parameter(key, shape):
    u = uniform(key, math.prod(shape)).view(shape)
    if key.endswith("running_mean"):
        value = 0.1 * (2 * u - 1)
    elif key.endswith("running_var"):
        value = 1 + 0.5 * u
    elif len(shape) >= 2:
        value = (2 * u - 1) * math.sqrt(3 / math.prod(shape[1:]))
    elif key.endswith("bias"):
        value = 0.1 * (2 * u - 1)
    else:
        value = 1 + 0.1 * (2 * u - 1)
    return value.float()


def fill(module):
    """Gives every parameter and buffer the values of its name."""
    state = module.state_dict()
    values = {key: named_parameter(key, tuple(old.shape)) for key, old in state.items() if old.is_floating_point()}
    module.load_state_dict(values, strict=False)
    return module


class Comparison:
    """Differences relative to the largest value of the reference."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.worst = {}

    def tensors(self, name):
        try:
            from safetensors.torch import load_file
        except ImportError as error:
            sys.exit(f"missing package: {error.name}; pip install safetensors")
        return load_file(self.folder / f"{name}.safetensors")

    def add(self, what, found, expected):
        expected = torch.as_tensor(expected)
        difference = (found.detach() - expected).abs().max() / expected.abs().max()
        self.worst[what] = max(self.worst.get(what, 0.0), difference.item())

    def add_gradients(self, what, module, norms):
        """Norms of gradients, but for those that are nothing but rounding."""
        for key, parameter in module.named_parameters():
            if norms[key] > 1e-6 * max(norms.values()):
                self.add(what, parameter.grad.norm(), norms[key])


def check_encoder(comparison, setting):
    golden = comparison.tensors("uniformer_eval")
    encoder = setting.arrange_weights(fill(UniFormer(1, setting))).eval()
    with torch.no_grad():
        stages = encoder(named_input("x", 1, 1, 32, 48, 64))
    stages[0] = stages[0][:, :, ::4, ::4, ::4]
    for name, stage in zip(("x1_stride4", "x2", "x3", "x4"), stages):
        comparison.add(f"uniformer_eval {name}", stage, golden[name])


def check_pretraining(comparison, setting):
    golden = comparison.tensors("pretrain_uniformer")
    expected = json.loads((comparison.folder / "pretrain_uniformer.json").read_text())
    module = setting.arrange_weights(fill(Pretraining(setting, (40, 48, 44))))
    x = named_input("x", 2, 2, 32, 32, 32)
    places = ((1, (3, 5, 2)), (5, (8, 16, 12)))

    def kept(view, case):
        return kept_voxels(golden[f"keep_blocks_{view}"][case], (32,) * 3)

    samples = [
        Sample(*x[i], modality, start, kept("distill", i), kept("cross", i))
        for i, (modality, start) in enumerate(places)
    ]
    distilled, cross, _ = module.views(samples)
    comparison.add("pretrain input_distill", distilled, golden["input_distill"])
    comparison.add("pretrain input_cross", cross, golden["input_cross"])
    reconstructed, deepest = module.reconstruct(torch.cat([distilled, cross]))
    comparison.add("pretrain reconstruction", reconstructed, golden["reconstruction"])
    comparison.add("pretrain deepest", deepest, golden["deepest"])
    losses = module(samples)
    for name, loss in zip(("loss_distill", "loss_cross", "loss_contrast"), losses):
        comparison.add(f"pretrain {name}", loss, expected[name])
    total = 10 * losses[0] + losses[1] + losses[2]
    total.backward()
    comparison.add_gradients("pretrain gradient norms", module, expected["grad_norms"])


def check_segmentation(comparison, setting):
    golden = comparison.tensors("finetune_uniunet")
    expected = json.loads((comparison.folder / "finetune_uniunet.json").read_text())
    module = setting.arrange_weights(fill(Segmentation(setting)))
    first, second = (named_input(name, 2, 4, 32, 32, 32) for name in ("xa", "xb"))
    with torch.no_grad():
        comparison.add("finetune eval logits", module.eval()(first)[0][0], golden["eval_logits"])
    logits, other = module.train()(first)[0], module(second)[0]
    for name, found in (("scale4", logits[0]), ("full", logits[2])):
        comparison.add(f"finetune train {name}", found[..., ::2, ::2, ::2], golden[f"train_{name}_stride2"])
    target = golden["y"].float().repeat(2, 1, 1, 1, 1)
    losses = [segmentation_loss(torch.cat(copies), target) for copies in zip(logits, other)]
    for name, loss in zip(("loss_scale4", "loss_scale2", "loss_full"), losses):
        comparison.add(f"finetune {name}", loss, expected[name])
    total = sum(losses) + 0.1 * F.mse_loss(logits[0], other[0])
    comparison.add("finetune loss_total", total, expected["loss_total"])
    total.backward()
    comparison.add_gradients("finetune gradient norms", module, expected["grad_norms"])


# Forward values agree to this; losses and norms of gradients to ten times as much.
TOLERANCE = 1e-4


def check(folder):
    """Compares the networks with reference numbers in both fp32 settings."""
    comparison = Comparison(folder)
    for name in ("plain", "best"):
        for one in (check_encoder, check_pretraining, check_segmentation):
            one(comparison, SETTINGS[name])
    for what, worst in comparison.worst.items():
        limit = 10 * TOLERANCE if "loss" in what or "norms" in what else TOLERANCE
        if not worst <= limit:
            sys.exit(f"{what}: differs by {worst:.1e} of the largest value, more than {limit:.0e}")
    return comparison.worst


def main():
    parser = argparse.ArgumentParser(description="The work of `brainmvp bench` in PyTorch.")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--check", metavar="GOLDEN_DIR")
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--setting", choices=SETTINGS, default="plain")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    if options.version:
        answer = {"version": torch.__version__}
    elif options.check:
        answer = check(options.check)
    elif options.work:
        answer = measure(options.work, options.setting, options.size, options.batch, options.repetitions)
    else:
        parser.error("give --version, --check or --work")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
