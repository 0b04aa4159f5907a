"""Times PyTorch eager with the original scOT: Poseidon-T on 128x128 fields, a training step of batch 4 and inference of batch 1.

    python3 scot_step.py POSEIDON_FOLDER [--threads 2] [--seconds 10]

POSEIDON_FOLDER is a checkout of github.com/camlab-ethz/poseidon; the environment needs torch, transformers 4.35.2 and accelerate.
Prints one JSON object: samples a second (median over steps), CPU seconds of all threads per sample, and peak bytes above what the process held before the first step.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

CONFIG = dict(image_size=128, patch_size=4, num_channels=4, num_out_channels=4, embed_dim=48, depths=(4, 4, 4, 4), num_heads=(3, 6, 12, 24),
              skip_connections=(2, 2, 2, 0), window_size=16, mlp_ratio=4.0, qkv_bias=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
              drop_path_rate=0.0, hidden_act="gelu", use_absolute_embeddings=False, initializer_range=0.02, layer_norm_eps=1e-5, p=1,
              channel_slice_list_normalized_loss=[0, 1, 3, 4], residual_model="convnext", use_conditioning=True, learn_residual=False)


def resident_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def rates(step, batch, seconds):
    """Samples a second (the median over steps, after two that warm up), and CPU seconds of all threads per sample."""
    step(), step()
    durations, start, cpu_start = [], time.perf_counter(), time.process_time()
    while time.perf_counter() - start < seconds or len(durations) < 3:
        begin = time.perf_counter()
        step()
        durations.append(time.perf_counter() - begin)
    cpu = (time.process_time() - cpu_start) / (batch * len(durations))
    return {"samples_per_second": batch / statistics.median(durations), "cpu_seconds_per_sample": cpu}


def measure(kind, arguments):
    sys.path.insert(0, arguments.poseidon)
    import torch
    from scOT.model import ScOT, ScOTConfig

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    model = ScOT(ScOTConfig(**CONFIG))
    batch = 4 if kind == "training" else 1
    fields, labels, times = torch.randn(batch, 4, 128, 128), torch.randn(batch, 4, 128, 128), torch.rand(batch)
    before = resident_bytes()
    if kind == "training":
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def step():
            optimizer.zero_grad()
            model(pixel_values=fields, time=times, labels=labels).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
    else:
        model.eval()

        def step():
            with torch.no_grad():
                model(pixel_values=fields, time=times)
    return {**rates(step, batch, arguments.seconds), "peak_bytes": resident_bytes() - before, "process_bytes": resident_bytes(), "batch": batch}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poseidon", help="folder of the original's source")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to repeat each step")
    parser.add_argument("--kind", choices=("training", "inference"), help="measure this one alone, in this process")
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(measure(arguments.kind, arguments)))
        return
    # One process each, so that the peak memory of one does not hide the other's.
    result = {"threads": arguments.threads}
    for kind in ("training", "inference"):
        command = [sys.executable, __file__, *sys.argv[1:], "--kind", kind]
        result[kind] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
