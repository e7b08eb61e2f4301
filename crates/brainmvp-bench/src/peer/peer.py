"""The work of `brainmvp bench` in PyTorch, to be measured beside it.

    peer.py --version
    peer.py --check GOLDEN_DIR
    peer.py --work step --model uniformer-small --setting plain --size 96 --batch 1 --repetitions 2 --threads 2

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

from peer_layers import SETTINGS
from peer_networks import PRETRAINING, SEGMENTATION

MODALITIES = 8
# Voxels of the registered volumes and of the templates, x, y, z, and of the cropped cases, for patches of 96 voxels.
REGISTERED = (240, 240, 155)
CASE = (144, 176, 144)
CASE_MODALITIES = 4
CLASSES = 3
MASK_BLOCK = 8
MASK_RATE = 0.8


class Pretraining(nn.Module):
    """A network that reconstructs, and templates, with the loss of a batch."""

    def __init__(self, network, registered):
        super().__init__()
        self.network = network
        # From zero the normaliser would divide by 1e-9.
        self.rep_template = nn.Parameter(torch.rand(MODALITIES, *registered))

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
        reconstructed, deepest = self.network(torch.cat([distilled, cross]))
        from_distilled, from_cross = reconstructed.float().chunk(2)
        first, second = (F.normalize(x.float().flatten(1)) for x in deepest.chunk(2))
        logits, own = first @ second.T, torch.arange(len(samples))
        contrast = (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2
        return F.mse_loss(from_distilled, targets), F.mse_loss(from_cross, targets), contrast


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


def step(model, setting, size, batch):
    """One pre-training step: masks, two views of each case, all three losses, gradients, AdamW."""
    network = PRETRAINING[model](setting)
    module = setting.arrange_weights(Pretraining(network, scaled(REGISTERED, size)))
    optimizer = adamw(module, setting)
    cases = [torch.rand(CASE_MODALITIES, *scaled(CASE, size)) for _ in range(batch)]

    def run():
        optimizer.zero_grad()
        with autocast(setting):
            loss = sum(module([draw_sample(case, size) for case in cases]))
        loss.backward()
        optimizer.step()
        return loss.item()

    return run, network


def segmenter(model, setting):
    return setting.arrange_weights(SEGMENTATION[model](setting, CASE_MODALITIES, CLASSES))


def finetune(model, setting, size, batch):
    """One fine-tuning step: two copies of each case, some modalities replaced, losses at each scale, AdamW."""
    module = segmenter(model, setting)
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

    return run, module


def inference(model, setting, size, batch):
    """The logits of one batch of windows."""
    module = segmenter(model, setting).eval()
    windows = torch.rand(batch, CASE_MODALITIES, size, size, size)

    def run():
        with torch.inference_mode(), autocast(setting):
            return module(windows)[0][0].mean().item()

    return run, module


WORKS = {"step": step, "finetune": finetune, "inference": inference}
# The networks that each work can be done with.
MODELS = {"step": list(PRETRAINING), "finetune": list(SEGMENTATION), "inference": list(SEGMENTATION)}


def measure(work, model, setting, size, batch, repetitions):
    """Seconds of each repetition after one that warms up, the peak of memory, and parameters of the network."""
    run, network = WORKS[work](model, SETTINGS[setting], size, batch)
    seconds = []
    for _ in range(repetitions + 1):
        begun = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - begun)
        if not math.isfinite(result):
            sys.exit(f"{work}: the result is not finite")
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return {"seconds": seconds[1:], "peak_memory_bytes": peak_memory_bytes(), "parameters": parameters}


def peak_memory_bytes():
    """None where the system does not tell, as the program itself has it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def main():
    parser = argparse.ArgumentParser(description="The work of `brainmvp bench` in PyTorch.")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--check", metavar="GOLDEN_DIR")
    parser.add_argument("--work", choices=WORKS)
    parser.add_argument("--model", default="uniformer-small")
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
        answer = {"version": torch.__version__, "models": MODELS}
    elif options.check:
        from peer_check import check

        answer = check(options.check)
    elif options.work:
        if options.model not in MODELS[options.work]:
            parser.error(f"--model: {options.work} knows {', '.join(MODELS[options.work])}")
        sizes = (options.size, options.batch, options.repetitions)
        answer = measure(options.work, options.model, options.setting, *sizes)
    else:
        parser.error("give --version, --check or --work")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
