"""Trains neuraloperator's FNO or TFNO by its Darcy recipe, and writes what `trident` needs to do the same from the same weights.

    darcy_recipe.py DATA OUT [--model fno|tfno] [--seed N] [--epochs N]

DATA holds darcy_train_16.pt, darcy_test_16.pt and darcy_test_32.pt. OUT gets start/ (a model directory with the initial weights), the data as
HDF5, run.yaml and result.json: the test errors, relative L2 and H1, means over samples, at 16x16 and 32x32 points, and the seconds of an epoch.
Then: trident train OUT/run.yaml; trident evaluate --model OUT/run/model --data OUT/run.yaml [data.validation[0].path=darcy_test_32.h5] [training.loss=lp].
"""
import argparse
import json
import pathlib
import time

import h5py
import torch
from neuralop.losses import H1Loss, LpLoss
from neuralop.models import FNO, TFNO
from neuralop.training import AdamW
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--model", choices=["fno", "tfno"], default="fno")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--epochs", type=int, default=300)
options = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(options.seed)

fields = {}
options.out.mkdir(parents=True, exist_ok=True)
for name in ("darcy_train_16", "darcy_test_16", "darcy_test_32"):
    stored = torch.load(options.data / f"{name}.pt")
    fields[name] = tuple(stored[key].float().unsqueeze(1).contiguous() for key in ("x", "y"))
    with h5py.File(options.out / f"{name}.h5", "w") as file:
        file["x"], file["y"] = (field[:, 0].numpy() for field in fields[name])

sizes = dict(n_modes=[16, 16], in_channels=1, out_channels=1, hidden_channels=24)
model = (TFNO if options.model == "tfno" else FNO)(**sizes)
start = options.out / "start"
start.mkdir(exist_ok=True)
(start / "config.json").write_text(json.dumps({"type": options.model, **sizes}))
save_file({name: value.contiguous() for name, value in model.state_dict().items() if name != "_metadata"}, start / "model.safetensors")
entry = "input: x, output: y, input_channels: [a], channels: [u]"
(options.out / "run.yaml").write_text(f"""output: run
model: {{from: start}}
data:
  train: [{{path: darcy_train_16.h5, {entry}}}]
  validation: [{{path: darcy_test_16.h5, {entry}}}]
  shuffle: false
training:
  global_batch_size: 8
  epochs: {options.epochs}
  optimizer: neuralop_adamw
  learning_rate: 5.0e-3
  weight_decay: 1.0e-4
  max_grad_norm: null
  lr_scheduler: step
  schedule_unit: epoch
  step_size: 60
  gamma: 0.5
  loss: h1
evaluation: {{batch_size: 50}}
""")

h1, l2 = H1Loss(d=2), LpLoss(d=2, p=2)
optimizer = AdamW(model.parameters(), lr=5e-3, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=60, gamma=0.5)
x, y = fields["darcy_train_16"]
seconds = []
for epoch in range(options.epochs):
    begin = time.perf_counter()
    for first in range(0, len(x), 8):
        optimizer.zero_grad()
        loss = h1(model(x[first:first + 8]), y[first:first + 8])
        loss.backward()
        optimizer.step()
    scheduler.step()
    seconds.append(time.perf_counter() - begin)
result = {"seconds_per_epoch": sorted(seconds)[len(seconds) // 2]}
with torch.no_grad():
    for points in (16, 32):
        x, y = fields[f"darcy_test_{points}"]
        result |= {f"{name}_{points}": loss(model(x), y).item() / len(x) for name, loss in (("l2", l2), ("h1", h1))}
(options.out / "result.json").write_text(json.dumps(result, indent=1))
print(json.dumps(result))
