"""Compares the networks of `brainmvp bench` in PyTorch with reference numbers."""

import json
import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from peer import Pretraining, Sample, kept_voxels, segmentation_loss
from peer_layers import SETTINGS
from peer_networks import PRETRAINING, SEGMENTATION, UniFormer, Unetr
from peer_swin import SwinUnetr


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


def published(key):
    """The name of a parameter in the published state dicts."""
    return key.removeprefix("network.")


def fill(module):
    """Gives every parameter and buffer the values of its name."""
    values = {
        key: named_parameter(published(key), tuple(old.shape))
        for key, old in module.state_dict().items()
        if old.is_floating_point()
    }
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
            norm = norms[published(key)]
            if norm > 1e-6 * max(norms.values()):
                self.add(what, parameter.grad.norm(), norm)


def check_encoder(comparison, setting):
    golden = comparison.tensors("uniformer_eval")
    encoder = setting.arrange_weights(fill(UniFormer(1, setting))).eval()
    with torch.no_grad():
        stages = encoder(named_input("x", 1, 1, 32, 48, 64))
    stages[0] = stages[0][:, :, ::4, ::4, ::4]
    for name, stage in zip(("x1_stride4", "x2", "x3", "x4"), stages):
        comparison.add(f"uniformer_eval {name}", stage, golden[name])


def check_pretraining(comparison, setting, model):
    name = f"pretrain_{model.split('-')[0]}"
    golden = comparison.tensors(name)
    expected = json.loads((comparison.folder / f"{name}.json").read_text())
    module = setting.arrange_weights(fill(Pretraining(PRETRAINING[model](setting), (40, 48, 44))))
    x = named_input("x", 2, 2, 32, 32, 32)
    places = ((1, (3, 5, 2)), (5, (8, 16, 12)))

    def kept(view, case):
        return kept_voxels(golden[f"keep_blocks_{view}"][case], (32,) * 3)

    samples = [
        Sample(*x[i], modality, start, kept("distill", i), kept("cross", i))
        for i, (modality, start) in enumerate(places)
    ]
    distilled, cross, _ = module.views(samples)
    comparison.add(f"{name} input_distill", distilled, golden["input_distill"])
    comparison.add(f"{name} input_cross", cross, golden["input_cross"])
    reconstructed, deepest = module.network(torch.cat([distilled, cross]))
    comparison.add(f"{name} reconstruction", reconstructed, golden["reconstruction"])
    comparison.add(f"{name} deepest", deepest, golden["deepest"])
    losses = module(samples)
    for which, loss in zip(("loss_distill", "loss_cross", "loss_contrast"), losses):
        comparison.add(f"{name} {which}", loss, expected[which])
    total = 10 * losses[0] + losses[1] + losses[2]
    total.backward()
    comparison.add_gradients(f"{name} gradient norms", module, expected["grad_norms"])


def check_logits(comparison, setting):
    """UNETR and Swin-UNETR, narrower than published, on a corner of the input."""
    x = named_input("x", 1, 4, 64, 64, 64)
    corner = x[..., :32, :32, :32]
    with torch.no_grad():
        unetr = setting.arrange_weights(fill(Unetr(setting, 4, 3, grid=2, width=192, mlp=768)))
        logits = unetr(corner)[0][0]
        comparison.add("unetr_eval logits", logits, comparison.tensors("unetr_eval")["logits"])
        swin = setting.arrange_weights(fill(SwinUnetr(setting, 4, 3, feature=24)))
        logits = swin(x)[0][0][..., ::2, ::2, ::2]
        comparison.add("swin_unetr_eval logits", logits, comparison.tensors("swin_unetr_eval")["logits_stride2"])


# Of four modalities and three regions.
PARAMETERS = {"uniformer-small": 34_323_593, "unet3d": 18_802_595, "unetr": 102_222_387, "swin-unetr": 62_191_941}


def check_parameters():
    for model, expected in PARAMETERS.items():
        with torch.device("meta"):
            network = SEGMENTATION[model](SETTINGS["plain"], 4, 3)
        found = sum(parameter.numel() for parameter in network.parameters())
        if found != expected:
            sys.exit(f"{model}: {found} parameters, not {expected}")


def check_segmentation(comparison, setting):
    golden = comparison.tensors("finetune_uniunet")
    expected = json.loads((comparison.folder / "finetune_uniunet.json").read_text())
    module = setting.arrange_weights(fill(SEGMENTATION["uniformer-small"](setting, 4, 3)))
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
    check_parameters()
    comparison = Comparison(folder)
    for name in ("plain", "best"):
        setting = SETTINGS[name]
        for one in (check_encoder, check_segmentation, check_logits):
            one(comparison, setting)
        for model in PRETRAINING:
            check_pretraining(comparison, setting, model)
    for what, worst in comparison.worst.items():
        limit = 10 * TOLERANCE if "loss" in what or "norms" in what else TOLERANCE
        if not worst <= limit:
            sys.exit(f"{what}: differs by {worst:.1e} of the largest value, more than {limit:.0e}")
    return comparison.worst
