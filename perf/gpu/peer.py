"""Times PyTorch on a GPU with the original scOT: the work of scot_step --device cuda.

    python3 peer.py POSEIDON_FOLDER [--models T,B,L] [--batches 16,64] [--seconds 3] [--device cuda]

Eager f32, and the best that PyTorch offers: bf16 autocast, scaled-dot-product attention in the windows, and the blocks compiled, each kind once
as PyTorch advises for repeated layers (a whole model of 64 blocks would take minutes). POSEIDON_FOLDER is a checkout of
github.com/camlab-ethz/poseidon; the environment needs torch, numpy and transformers 4.35.2, which pack_peer.sh can bring. Prints one JSON object
a line as soon as it is measured, so that what was measured is there when the time is up.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings

WIDTHS = {"T": (48, (4, 4, 4, 4)), "B": (96, (8, 8, 8, 8)), "L": (192, (8, 8, 8, 8))}


def config_of(size):
    width, depths = WIDTHS[size]
    return dict(image_size=128, patch_size=4, num_channels=4, num_out_channels=4, embed_dim=width, depths=depths, num_heads=(3, 6, 12, 24),
                skip_connections=(2, 2, 2, 0), window_size=16, mlp_ratio=4.0, qkv_bias=True, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0, drop_path_rate=0.0, hidden_act="gelu", use_absolute_embeddings=False, initializer_range=0.02,
                layer_norm_eps=1e-5, p=1, channel_slice_list_normalized_loss=[0, 1, 3, 4], residual_model="convnext", use_conditioning=True,
                learn_residual=False)


def fused_attention(torch):
    """Swin v2's windows by scaled-dot-product attention: cosine similarity, scale and bias go into queries, keys and mask."""

    def forward(self, hidden_states, attention_mask=None, head_mask=None, output_attentions=False):
        batch, tokens, width = hidden_states.shape
        query, key, value = (self.transpose_for_scores(part(hidden_states)) for part in (self.query, self.key, self.value))
        scale = torch.clamp(self.logit_scale, max=4.605170185988092).exp()
        query = torch.nn.functional.normalize(query, dim=-1) * scale
        key = torch.nn.functional.normalize(key, dim=-1)
        table = self.continuous_position_bias_mlp(self.relative_coords_table).view(-1, self.num_attention_heads)
        bias = table[self.relative_position_index.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1)
        mask = 16 * torch.sigmoid(bias).unsqueeze(0)
        if attention_mask is not None:  # added twice by the original
            windows = attention_mask.shape[0]
            mask = mask + 2 * attention_mask.unsqueeze(1).repeat(batch // windows, 1, 1, 1)
        out = torch.nn.functional.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value, mask.to(value.dtype), scale=1.0)
        return (out.transpose(1, 2).reshape(batch, tokens, width),)

    return forward


def compile_blocks(torch, model):
    from scOT.model import ConvNeXtBlock, ScOTLayer

    for module in model.modules():
        if isinstance(module, (ScOTLayer, ConvNeXtBlock)):
            module.compile(dynamic=False)


class Clock:
    def __init__(self, torch, device):
        self.torch, self.on_gpu = torch, device == "cuda"

    def wait(self):
        if self.on_gpu:
            self.torch.cuda.synchronize()

    def median_seconds(self, step, seconds):
        for _ in range(3):
            step()
        self.wait()
        durations, start = [], time.perf_counter()
        while time.perf_counter() - start < seconds or len(durations) < 3:
            begin = time.perf_counter()
            step()
            self.wait()
            durations.append(time.perf_counter() - begin)
        return statistics.median(durations)


class Peer:
    """One size of model, eager in f32 or fast."""

    def __init__(self, torch, size, fast, device, seconds):
        from scOT.model import ScOT, ScOTConfig

        self.torch, self.size, self.fast, self.device, self.seconds = torch, size, fast, device, seconds
        self.clock = Clock(torch, device)
        torch.manual_seed(0)
        self.model = ScOT(ScOTConfig(**config_of(size))).to(device)
        if fast:
            with torch.no_grad(), self.autocast():  # blocks keep masks from the first call on: compiled before, they would be compiled twice
                self.model(**self.fields(1))
            compile_blocks(torch, self.model)

    def row(self, kind, batch):
        return {"model": self.size, "how": "compiled bf16" if self.fast else "eager f32", "kind": kind, "batch": batch}

    def autocast(self):
        return self.torch.autocast(self.device, self.torch.bfloat16, enabled=self.fast)

    def fields(self, batch):
        new = lambda *shape: self.torch.randn(*shape, device=self.device)
        return {"pixel_values": new(batch, 4, 128, 128), "time": self.torch.rand(batch, device=self.device), "labels": new(batch, 4, 128, 128)}

    def training(self, batch):
        torch, model = self.torch, self.model
        fields = self.fields(batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=self.fast)
        model.train()

        def step():
            optimizer.zero_grad()
            with self.autocast():
                loss = model(**fields).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()

        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        median = self.clock.median_seconds(step, self.seconds)
        total = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() if self.device == "cuda" else 0
        model.zero_grad()
        return self.row("training", batch) | {"samples_per_second": batch / median, "peak_bytes": peak, "wall_seconds": total}

    def inference(self):
        fields = self.fields(1)
        del fields["labels"]
        self.model.eval()

        def step():
            with self.torch.no_grad(), self.autocast():
                self.model(**fields)

        return self.row("inference", 1) | {"seconds": self.clock.median_seconds(step, self.seconds / 2)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poseidon", help="folder of the original's source")
    parser.add_argument("--models", default="T,B,L")
    parser.add_argument("--batches", default="16,64")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.poseidon)
    warnings.filterwarnings("ignore")
    # The original's transformers refuses newer tokenizers, and imports JAX, where they are installed; it needs neither.
    sys.modules["tokenizers"] = None
    os.environ["USE_FLAX"] = os.environ["USE_TF"] = "0"
    import torch
    import transformers.models.swinv2.modeling_swinv2 as swin

    eager_attention = swin.Swinv2SelfAttention.forward
    torch._dynamo.config.cache_size_limit = 64  # kinds of blocks: levels, shifts, training or not, batches
    on_gpu = arguments.device == "cuda"
    say = lambda row: print(json.dumps(row), flush=True)
    say({"torch": torch.__version__, "device": torch.cuda.get_device_name() if on_gpu else "cpu"})
    for size in arguments.models.split(","):
        for fast in (False, True):
            swin.Swinv2SelfAttention.forward = fused_attention(torch) if fast else eager_attention
            try:  # what fails, for want of memory or in the compiler, says so, and the rest goes on
                peer = Peer(torch, size, fast, arguments.device, arguments.seconds)
                for batch in (int(batch) for batch in arguments.batches.split(",")):
                    say(peer.training(batch))
                say(peer.inference())
            except Exception as error:
                say({"model": size, "how": "compiled bf16" if fast else "eager f32", "error": str(error)[:300]})
            peer = None
            torch._dynamo.reset()
            if on_gpu:
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
