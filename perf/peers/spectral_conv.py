"""neuraloperator's SpectralConv on the sizes of spectral_conv_perf: seconds of processor time on one thread, which a busy machine disturbs less
than the clock. Use: OMP_NUM_THREADS=1 python spectral_conv.py"""
import time

import torch
from neuralop.layers.spectral_convolution import SpectralConv


def microseconds(work, repeats):
    work()
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        for _ in range(repeats):
            work()
        best = min(best, (time.process_time() - start) / repeats)
    return 1e6 * best


torch.set_num_threads(1)
for batch, channels, points, modes in ((2, 64, 128, 64), (8, 24, 16, 16)):
    for factorization in (None, "tucker"):
        layer = SpectralConv(channels, channels, (modes, modes), factorization=factorization, rank=0.1, implementation="factorized")
        x = torch.full((batch, channels, points, points), 0.5)

        def forward():
            with torch.no_grad():
                layer(x)

        def both():
            y = layer(x.clone().requires_grad_(True))
            y.backward(y.detach())

        repeats = 2 if points > 100 else 50
        print(f"batch {batch} channels {channels} points {points} modes {modes} {factorization or 'dense'}: forward "
              f"{microseconds(forward, repeats):.0f} us, with backward {microseconds(both, repeats):.0f} us")
