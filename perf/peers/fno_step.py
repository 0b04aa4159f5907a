"""Times a training step of neuraloperator's FNO and TFNO: the work of perf/fno_step.cpp.

    fno_step.py CASE [SECONDS]       CASE: darcy_fno, darcy_tfno, large_fno or large_tfno; OMP_NUM_THREADS sets the threads

Prints one JSON object: seconds of a step (median), CPU seconds of all threads (the least of all steps), and the peak bytes of the process.
"""
import json
import os
import resource
import statistics
import sys
import time

import torch
from neuralop.losses import H1Loss
from neuralop.models import FNO, TFNO
from neuralop.training import AdamW

SIZES = {"darcy": dict(n_modes=(16, 16), hidden_channels=24, batch=8, points=16), "large": dict(n_modes=(64, 64), hidden_channels=64, batch=2, points=128)}


def main():
    name = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 5.0
    size, kind = name.split("_")
    sizes = dict(SIZES[size])
    batch, points = sizes.pop("batch"), sizes.pop("points")
    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = {"fno": FNO, "tfno": TFNO}[kind](in_channels=1, out_channels=1, **sizes)
    x, y = torch.randn(2, batch, 1, points, points)
    loss, optimizer = H1Loss(d=2), AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)

    def step():
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()

    step(), step()
    durations, cpu, start = [], [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(durations) < 3:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        step()
        durations.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    print(json.dumps({"case": name, "threads": threads, "seconds_per_step": statistics.median(durations), "cpu_seconds_per_step": min(cpu),
                      "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}))


if __name__ == "__main__":
    main()
