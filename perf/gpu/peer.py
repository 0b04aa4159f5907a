"""Times PyTorch on a GPU with the original scOT: the work of scot_step --device cuda.

    python3 peer.py POSEIDON_FOLDER [--models T,B,L] [--batch 16] [--seconds 3]

Eager f32, and the best that PyTorch offers: torch.compile with bf16 autocast and scaled-dot-product attention in the windows. POSEIDON_FOLDER
is a checkout of github.com/camlab-ethz/poseidon; the environment needs torch, transformers 4.35.2 and accelerate. Prints one JSON object.
"""

import argparse
import json
import statistics
import sys
import time

WIDTHS = {"T": (48, (4, 4, 4, 4)), "B": (96, (8, 8, 8, 8)), "L": (192, (8, 8, 8, 8))}


def config_of(size):
    width, depths = WIDTHS[size]
    return dict(image_size=128, patch_size=4, num_channels=4, num_out_channels=4, embed_dim=width, depths=depths, num_heads=(3, 6, 12, 24),
                skip_connections=(2, 2, 2, 0), window_size=16, mlp_ratio=4.0, qkv_bias=True, hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0, drop_path_rate=0.0, hidden_act="gelu", use_absolute_embeddings=False, initializer_range=0.02,
                layer_norm_eps=1e-5, p=1, channel_slice_list_normalized_loss=[0, 1, 3, 4], residual_model="convnext", use_conditioning=True,
                learn_residual=False)


def use_fused_attention(torch):
    """Puts scaled-dot-product attention into Swin v2's windows: cosine similarity, scale and bias go into queries, keys and mask."""
    import transformers.models.swinv2.modeling_swinv2 as swin

    def forward(self, hidden_states, attention_mask=None, head_mask=None, output_attentions=False):
        batch, tokens, width = hidden_states.shape
        query, key, value = (self.transpose_for_scores(part(hidden_states)) for part in (self.query, self.key, self.value))
        scale = torch.clamp(self.logit_scale, max=4.605170185988092).exp()
        query = torch.nn.functional.normalize(query, dim=-1) * scale
        key = torch.nn.functional.normalize(key, dim=-1)
        table = self.continuous_position_bias_mlp(self.relative_coords_table).view(-1, self.num_attention_heads)
        bias = table[self.relative_position_index.view(-1)].view(tokens, tokens, -1).permute(2, 0, 1)
        mask = 16 * torch.sigmoid(bias).unsqueeze(0)
        if attention_mask is not None:
            windows = attention_mask.shape[0]
            mask = mask + attention_mask.unsqueeze(1).repeat(batch // windows, 1, 1, 1)
        out = torch.nn.functional.scaled_dot_product_attention(query.to(value.dtype), key.to(value.dtype), value, mask.to(value.dtype), scale=1.0)
        return (out.transpose(1, 2).reshape(batch, tokens, width),)

    swin.Swinv2SelfAttention.forward = forward


def median_seconds(torch, step, seconds):
    for _ in range(3):
        step()
    torch.cuda.synchronize()
    durations, start = [], time.perf_counter()
    while time.perf_counter() - start < seconds or len(durations) < 3:
        begin = time.perf_counter()
        step()
        torch.cuda.synchronize()
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations)


def measure(torch, size, batch, seconds, fast):
    from scOT.model import ScOT, ScOTConfig

    torch.manual_seed(0)
    model = ScOT(ScOTConfig(**config_of(size))).cuda()
    fields, labels, times = torch.randn(batch, 4, 128, 128).cuda(), torch.randn(batch, 4, 128, 128).cuda(), torch.rand(batch).cuda()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fast)
    compute = torch.compile(model) if fast else model

    def cast():
        return torch.autocast("cuda", torch.bfloat16, enabled=fast)

    def train():
        optimizer.zero_grad()
        with cast():
            loss = compute(pixel_values=fields, time=times, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()

    def infer():
        with torch.no_grad(), cast():
            compute(pixel_values=fields[:1], time=times[:1])

    torch.cuda.reset_peak_memory_stats()
    training = median_seconds(torch, train, seconds)
    peak = torch.cuda.max_memory_allocated()
    model.eval()
    latency = median_seconds(torch, infer, seconds / 2)
    return {"training_samples_per_second": batch / training, "peak_bytes": peak, "inference_seconds": latency, "batch": batch}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("poseidon", help="folder of the original's source")
    parser.add_argument("--models", default="T,B,L")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.poseidon)
    import torch

    result = {"torch": torch.__version__, "device": torch.cuda.get_device_name()}
    for size in arguments.models.split(","):
        result[f"{size}_eager_f32"] = measure(torch, size, arguments.batch, arguments.seconds, False)
    use_fused_attention(torch)
    for size in arguments.models.split(","):
        try:
            result[f"{size}_compiled_bf16"] = measure(torch, size, arguments.batch, arguments.seconds, True)
        except Exception as error:  # a compiler that fails says so in the result, and the rest goes on
            result[f"{size}_compiled_bf16"] = {"error": str(error)[:300]}
        torch._dynamo.reset()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
