"""Writes spectral_resample.txt with the original scOT (camlab-ethz/poseidon, PyTorch 2.15, seed 0): python make_spectral_resample.py POSEIDON_FOLDER

Each case is three lines: "batch channels rows new_rows", the fields, and the resampled fields, in f64.
"""
import sys

import torch

sys.path.insert(0, sys.argv[1])
from scOT.model import ScOT  # noqa: E402

torch.manual_seed(0)
with open("spectral_resample.txt", "w") as file:
    for rows, new_rows in [(6, 4), (8, 4), (9, 4), (4, 8), (4, 6), (5, 9)]:
        x = torch.randn(1, 2, rows, rows, dtype=torch.float64)
        resample = ScOT._downsample if new_rows < rows else ScOT._upsample
        y = resample(None, x, new_rows)
        assert y.shape[-1] == new_rows
        print(1, 2, rows, new_rows, file=file)
        for tensor in (x, y):
            print(*(repr(number) for number in tensor.flatten().tolist()), file=file)
