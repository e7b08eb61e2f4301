"""The work of `brainmvp bench preprocess` in MONAI, to be measured beside it.

    peer_monai.py --version
    peer_monai.py --work preprocess --file t1.nii.gz --repetitions 5 --threads 2 [--ours prepared.nii]

The answer is one line of JSON on standard output. With the volume that brainmvp made of the same file it has the
part of the voxels that are alike.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")

try:
    import monai
    import nibabel
    import numpy as np
    import torch
    from monai import transforms
except ImportError as error:
    sys.exit(f"missing package: {error.name}; pip install torch monai nibabel")

# Of values in [0, 1].
ALIKE = 1e-3


def preparation():
    return transforms.Compose(
        [
            transforms.LoadImaged("image", ensure_channel_first=True),
            transforms.Orientationd("image", axcodes="RAS"),
            transforms.Spacingd("image", pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
            transforms.ScaleIntensityRangePercentilesd("image", 1, 99, 0, 1, clip=True),
            transforms.CropForegroundd("image", source_key="image"),
        ]
    )


def measure(file, repetitions, ours):
    """Seconds of each repetition after one that warms up, and the process's peak of resident memory."""
    prepare = preparation()
    seconds = []
    for _ in range(repetitions + 1):
        begun = time.perf_counter()
        prepared = prepare({"image": file})["image"]
        seconds.append(time.perf_counter() - begun)
    answer = {"seconds": seconds[1:], "peak_memory_bytes": peak_memory_bytes()}
    if ours:
        ours = nibabel.load(ours)
        answer["voxels_alike"] = alike(prepared[0].numpy(), prepared.affine.numpy(), ours)
    return answer


def alike(theirs, affine, ours):
    """The part of the voxels that are alike, in the box around both: what was cropped away counts as 0.

    A foreground that ends in rounding errors is cropped a voxel earlier or later.
    """
    between = np.linalg.inv(ours.affine) @ affine
    start = np.rint(between[:3, 3]).astype(int)
    if np.abs(between[:3, :3] - np.eye(3)).max() > ALIKE or np.abs(between[:3, 3] - start).max() > ALIKE:
        sys.exit("its volume lies on another grid than ours")
    low = np.minimum(start, 0)
    high = np.maximum(start + theirs.shape, ours.shape)
    both = np.zeros((2, *(high - low)), np.float32)
    for box, volume, first in ((both[0], theirs, start - low), (both[1], np.asarray(ours.dataobj), -low)):
        box[tuple(slice(f, f + n) for f, n in zip(first, volume.shape))] = volume
    return float((np.abs(both[0] - both[1]) <= ALIKE).mean())


def peak_memory_bytes():
    """None where the system does not tell, as the program itself has it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), None)


def main():
    parser = argparse.ArgumentParser(description="The work of `brainmvp bench preprocess` in MONAI.")
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--work", choices=["preprocess"])
    parser.add_argument("--file")
    parser.add_argument("--ours")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int)
    options = parser.parse_known_args()[0]
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.version:
        answer = {"version": monai.__version__}
    elif options.work and options.file:
        answer = measure(options.file, options.repetitions, options.ours)
    else:
        parser.error("give --version, or --work and --file")
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
