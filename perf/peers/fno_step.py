"""Times a training step of neuraloperator's FNO and TFNO: the work of perf/fno_step.cpp.

    fno_step.py CASE [SECONDS] [--cuda] [--compiled]    CASE: darcy_fno, darcy_tfno, large_fno or large_tfno; OMP_NUM_THREADS sets the threads

Prints one JSON object: seconds of a step (median), CPU seconds of all threads (the least of all steps), and the peak bytes of the process; on a
GPU those of its memory that tensors took. --compiled: the model through torch.compile. What neuraloperator hardly needs (scipy and more) need
not be installed.
"""
import argparse
import importlib.abc
import importlib.machinery
import json
import os
import resource
import statistics
import sys
import time
import types
import warnings

SIZES = {"darcy": dict(n_modes=(16, 16), hidden_channels=24, batch=8, points=16), "large": dict(n_modes=(64, 64), hidden_channels=64, batch=2, points=128)}


def root_between(function, low, high):
    """Of a function that changes its sign, as scipy.optimize.brentq: how tltorch finds the ranks of a factorisation."""
    rises = function(high) > 0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if (function(middle) > 0) == rises else (middle, high)
    return high


class Hollow(types.ModuleType):
    """A module that has every name, as a class of nothing."""

    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return root_between if name == "brentq" else type(name, (), {})


class Hollows(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Stands in for packages that are imported and, but for brentq, not used, where they are not installed."""

    def find_spec(self, name, path=None, target=None):
        wanted = name.split(".")[0] in ("h5py", "matplotlib", "scipy", "torch_harmonics", "wandb")
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if wanted else None

    def create_module(self, spec):
        return Hollow(spec.name)

    def exec_module(self, module):
        pass


def training_step(torch, name, device, compiled):
    from neuralop.losses import H1Loss
    from neuralop.models import FNO, TFNO
    from neuralop.training import AdamW

    size, kind = name.split("_")
    sizes = dict(SIZES[size])
    batch, points = sizes.pop("batch"), sizes.pop("points")
    torch.manual_seed(0)
    model = {"fno": FNO, "tfno": TFNO}[kind](in_channels=1, out_channels=1, **sizes).to(device)
    x, y = torch.randn(2, batch, 1, points, points, device=device)
    loss, optimizer = H1Loss(d=2), AdamW(model.parameters(), lr=1e-4, weight_decay=1e-4)
    forward = torch.compile(model) if compiled else model

    def step():
        optimizer.zero_grad()
        loss(forward(x), y).backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return step


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=[f"{size}_{kind}" for size in SIZES for kind in ("fno", "tfno")])
    parser.add_argument("seconds", nargs="?", type=float, default=5.0)
    parser.add_argument("--cuda", action="store_true")
    parser.add_argument("--compiled", action="store_true")
    options = parser.parse_args()
    sys.meta_path.append(Hollows())
    warnings.filterwarnings("ignore")
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count()))
    torch.set_num_threads(threads)
    step = training_step(torch, options.case, "cuda" if options.cuda else "cpu", options.compiled)
    for _ in range(3):
        step()
    durations, cpu, start = [], [], time.perf_counter()
    while time.perf_counter() - start < options.seconds or len(durations) < 3:
        begin, cpu_begin = time.perf_counter(), time.process_time()
        step()
        durations.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - cpu_begin)
    result = {"case": options.case, "threads": threads, "seconds_per_step": statistics.median(durations), "cpu_seconds_per_step": min(cpu),
              "process_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    if options.cuda:
        result["device_bytes"] = torch.cuda.max_memory_allocated()
    if options.cuda or options.compiled:
        result["how"] = "compiled" if options.compiled else "eager"
    print(json.dumps(result))


if __name__ == "__main__":
    main()
