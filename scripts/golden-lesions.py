#!/usr/bin/env python3
"""Reference numbers of lesion-wise scores for crates/brainmvp-golden/files.

    git clone https://github.com/rachitsaluja/BraTS-2023-Metrics
    pip install -r BraTS-2023-Metrics/requirements.txt      # needs Python 3.9
    python3 scripts/golden-lesions.py BraTS-2023-Metrics FOLDER

The numbers are those of the program that the BraTS 2023 challenges published, run on label maps of balls. The file says where
the balls are, so that it needs no images.
"""

import json
import random
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

sys.path.insert(0, sys.argv[1])
from brats_2023_metrics.surface_distance import brats_metrics  # noqa: E402

CHALLENGES = ["GLI", "SSA", "MEN", "PED", "MET"]
SPACINGS = [[1, 1, 1], [0.75, 0.75, 3.0], [1.1, 0.8, 2.5]]


def tumour(draw, shape, small):
    """Balls, each a centre, a squared radius and a label: oedema, enhancing and necrosis inside one another."""
    centre = [draw.randrange(2, n - 2) for n in shape]
    radius = draw.choice([1, 2]) if small else draw.randrange(3, 9)
    balls = [[*centre, radius**2, 2]]
    for label in [3, 1]:
        radius -= draw.randrange(1, 4)
        if radius > 0:
            balls.append([*[c + draw.randrange(-1, 2) for c in centre], radius**2, label])
    return balls


def moved(draw, balls):
    step = [draw.randrange(-2, 3) for _ in range(3)]
    return [[*[c + s for c, s in zip(ball, step)], max(0, ball[3] + draw.randrange(-3, 4)), ball[4]] for ball in balls]


def labels(shape, balls):
    """Later balls are painted over earlier ones."""
    grid = np.indices(shape)
    voxels = np.zeros(shape, np.uint8)
    for x, y, z, squared, label in balls:
        voxels[(grid[0] - x) ** 2 + (grid[1] - y) ** 2 + (grid[2] - z) ** 2 <= squared] = label
    return voxels


def case(number):
    draw = random.Random(number)
    shape = [draw.randrange(32, 49) for _ in range(3)]
    truth, prediction = [], []
    for _ in range(draw.randrange(0, 6)):
        balls = tumour(draw, shape, draw.random() < 0.4)
        truth += balls
        if draw.random() < 0.7:
            prediction += moved(draw, balls)
    for _ in range(draw.choice([0, 0, 1, 2])):
        prediction += tumour(draw, shape, True)
    if number % 4 == 0:
        # Rough surfaces: crumbs, on and beside the tumours of both.
        for balls in [truth, prediction]:
            for _ in range(200):
                centre = draw.choice(truth)[:3] if truth else [n // 2 for n in shape]
                balls.append([*[c + draw.randrange(-4, 5) for c in centre], draw.randrange(0, 2), draw.randrange(0, 4)])
    spacing = SPACINGS[number // len(CHALLENGES) % len(SPACINGS)]
    challenge = CHALLENGES[number % len(CHALLENGES)]
    return {"challenge": challenge, "shape": shape, "spacing": spacing, "truth": truth, "prediction": prediction}


def scores(one):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name in ["prediction", "truth"]:
            affine = np.diag([*one["spacing"], 1])
            paths.append(f"{folder}/{name}.nii.gz")
            nib.save(nib.Nifti1Image(labels(one["shape"], one[name]), affine), paths[-1])
        return brats_metrics.get_lesion_wise_results(*paths, f"BraTS-{one['challenge']}").set_index("Labels")


def main():
    cases = [case(number) for number in range(60)]
    for one in cases:
        one["regions"] = {
            region: {
                "tp": int(row["Num_TP"]),
                "fn": int(row["Num_FN"]),
                "fp": int(row["Num_FP"]),
                "dice": float(row["Lesion_Wise_Score_Dice"]),
                "hd95": float(row["Lesion_Wise_Score_HD95"]),
            }
            for region, row in scores(one).iterrows()
        }
    text = ",\n".join(json.dumps(one) for one in cases)
    Path(sys.argv[2], "metrics_lesions.json").write_text(f"[\n{text}\n]\n")


main()
