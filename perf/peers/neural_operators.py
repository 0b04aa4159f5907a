"""FNO, TFNO and MG-TFNO side by side with neuraloperator: the table of perf/README.md, in at most 5 minutes on a quiet machine.

    OMP_NUM_THREADS is set for each row; run it with an interpreter that has neuraloperator:
    python perf/peers/neural_operators.py [--programs build/release/perf] [--seconds 8]

Each row runs perf/fno_step and perf/peers/fno_step.py one after the other, alone in their processes; MG-TFNO runs on one rank and on two, one
thread each, and has no peer. Last comes the share of the limit that the spectral convolution reaches (spectral_conv_perf). Prints Markdown.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

STEPS_OF_EPOCH = 125  # 1000 samples, batch 8
ROWS = [("FNO, Darcy epoch", "darcy_fno", 1, STEPS_OF_EPOCH, []), ("TFNO, Darcy epoch", "darcy_tfno", 1, STEPS_OF_EPOCH, []),
        ("FNO, 64 modes, 128x128, step", "large_fno", 2, 1, []),
        ("the same with training.activation_checkpointing here", "large_fno", 2, 1, ["--recompute"]),
        ("TFNO, 64 modes, 128x128, step", "large_tfno", 2, 1, [])]


def measured(command, threads):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads))
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=pathlib.Path, default=pathlib.Path("build/release/perf"))
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to repeat each step")
    options = parser.parse_args()
    ours, peer = str(options.programs / "fno_step"), str(pathlib.Path(__file__).with_name("fno_step.py"))
    seconds = str(options.seconds)

    print("| work | threads | Trident | neuraloperator | times faster | by processor time | peak of the process | share of neuraloperator's |")
    print("|---|---|---|---|---|---|---|---|")
    peers = {}
    for name, case, threads, steps, flags in ROWS:
        here = measured([ours, case, seconds, *flags], threads)
        if case not in peers:
            peers[case] = measured([sys.executable, peer, case, seconds], threads)
        there = peers[case]
        time, other = (steps * result["seconds_per_step"] for result in (here, there))
        print(f"| {name} | {threads} | {time:.3f} s | {other:.3f} s | {other / time:.2f} | {there['cpu_seconds_per_step'] / here['cpu_seconds_per_step']:.2f} | "
              f"{here['process_bytes'] / 2**20:.0f} MiB | {here['process_bytes'] / there['process_bytes']:.2f} |", flush=True)

    one = measured([ours, "mg_tfno", seconds], 1)
    two = measured(["mpirun", "--allow-run-as-root", "-n", "2", ours, "mg_tfno", seconds], 1)
    print(f"\nMG-TFNO, 4 patches, one thread a rank: {one['seconds_per_step']:.3f} s a step on one rank, {two['seconds_per_step']:.3f} s on two: "
          f"efficiency {one['seconds_per_step'] / (2 * two['seconds_per_step']):.2f}\n", flush=True)
    subprocess.run([str(options.programs / "spectral_conv_perf"), "--benchmark_min_time=0.5"], check=True, env=dict(os.environ, OMP_NUM_THREADS="1"))


if __name__ == "__main__":
    main()
