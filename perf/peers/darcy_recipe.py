"""Trains neuraloperator's FNO, TFNO or MG-TFNO by its Darcy recipe, and writes what `trident` needs to do the same from the same weights.

    darcy_recipe.py DATA OUT [--model fno|tfno] [--levels L] [--padding F] [--normalize] [--seed N] [--epochs N]

DATA holds one darcy_train_N and one or more darcy_test_N, N points per side, as .pt (neuraloperator's own) or .h5 (`trident generate Darcy`). With
--levels the model sees 2^L x 2^L patches of each field by neuraloperator's MultigridPatching2D, in one process; --normalize: fields are normalised
by its UnitGaussianNormalizer. Its data processors decide in which units losses are. The rate is halved four times. OUT gets start/ (a model directory with the initial weights), the data as HDF5, run.yaml and result.json: the first and the last loss, the test errors, relative L2
and H1, means over samples, and the seconds of an epoch.
Then: trident train OUT/run.yaml; trident evaluate --model OUT/run/model --data OUT/run.yaml [data.validation[0].path=darcy_test_32.h5] [training.loss=lp].
"""
import argparse
import json
import pathlib
import time

import h5py
import torch
from neuralop.data.transforms.data_processors import DefaultDataProcessor, MGPatchingDataProcessor
from neuralop.data.transforms.normalizers import UnitGaussianNormalizer
from neuralop.losses import H1Loss, LpLoss
from neuralop.models import FNO, TFNO
from neuralop.training import AdamW
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("data", type=pathlib.Path)
parser.add_argument("out", type=pathlib.Path)
parser.add_argument("--model", choices=["fno", "tfno"], default="fno")
parser.add_argument("--levels", type=int, default=0)
parser.add_argument("--padding", type=float, default=0.0, help="of the field's points, on each side of a patch")
parser.add_argument("--normalize", action="store_true")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--epochs", type=int, default=300)
options = parser.parse_args()
torch.set_num_threads(1)
torch.manual_seed(options.seed)


def read(path):
    """Fields (sample, 1, y, x)."""
    if path.suffix == ".pt":
        stored = torch.load(path)
        return tuple(stored[key].float().unsqueeze(1).contiguous() for key in ("x", "y"))
    with h5py.File(path) as file:
        return tuple(torch.from_numpy(file[key][()]).unsqueeze(1) for key in ("x", "y"))


fields = {}
options.out.mkdir(parents=True, exist_ok=True)
for path in sorted(options.data.glob("darcy_t*_*.*")):
    fields[path.stem] = read(path)
    with h5py.File(options.out / f"{path.stem}.h5", "w") as file:
        file["x"], file["y"] = (field[:, 0].numpy() for field in fields[path.stem])
train, *others = (name for name in fields if "train" in name)
assert not others, "several training sets"
tests = [name for name in fields if "test" in name]

sizes = dict(n_modes=[16, 16], out_channels=1, hidden_channels=24)
model = (TFNO if options.model == "tfno" else FNO)(in_channels=1 + options.levels, **sizes)
normalizers = []
for field in fields[train]:
    normalizers.append(UnitGaussianNormalizer(dim=[0, 2, 3]) if options.normalize else None)
    if options.normalize:
        normalizers[-1].fit(field)
if options.levels:
    processor = MGPatchingDataProcessor(model, options.levels, options.padding, stitching=True, in_normalizer=normalizers[0], out_normalizer=normalizers[1])
else:
    processor = DefaultDataProcessor(*normalizers).wrap(model)
start = options.out / "start"
start.mkdir(exist_ok=True)
config = {"type": options.model, "in_channels": 1, **sizes}
if options.levels:
    config |= {"type": "mg_tfno", "factorization": model.factorization, "rank": model.rank, "levels": options.levels, "padding_fraction": options.padding}
(start / "config.json").write_text(json.dumps(config))
save_file({name: value.contiguous() for name, value in model.state_dict().items() if name != "_metadata"}, start / "model.safetensors")
halving = max(1, options.epochs // 5)
entry = "input: x, output: y, input_channels: [a], channels: [u]"
(options.out / "run.yaml").write_text(f"""output: run
model: {{from: start}}
data:
  train: [{{path: {train}.h5, {entry}}}]
  validation: [{{path: {tests[0]}.h5, {entry}}}]
  shuffle: false
  normalization: {"fitted" if options.normalize else "given"}
training:
  global_batch_size: 8
  epochs: {options.epochs}
  optimizer: neuralop_adamw
  learning_rate: 5.0e-3
  weight_decay: 1.0e-4
  max_grad_norm: null
  lr_scheduler: step
  schedule_unit: epoch
  step_size: {halving}
  gamma: 0.5
  loss: h1
  loss_units: {"physical" if options.levels else "normalized"}
evaluation: {{batch_size: 50, units: physical}}
""")

h1, l2 = H1Loss(d=2), LpLoss(d=2, p=2)
optimizer = AdamW(model.parameters(), lr=5e-3, weight_decay=1e-4)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=halving, gamma=0.5)


def error(norm, x, y):
    data = processor.preprocess({"x": x, "y": y})
    output, data = processor.postprocess(model(data["x"]), data)
    return norm(output, data["y"])


x, y = fields[train]
losses = []
seconds = []
for epoch in range(options.epochs):
    begin = time.perf_counter()
    for first in range(0, len(x), 8):
        optimizer.zero_grad()
        loss = error(h1, x[first:first + 8], y[first:first + 8])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    scheduler.step()
    seconds.append(time.perf_counter() - begin)
result = {"first_loss": losses[0], "last_loss": losses[-1], "seconds_per_epoch": sorted(seconds)[len(seconds) // 2]}
processor.eval()
with torch.no_grad():
    for test in tests:
        x, y = fields[test]
        points = test.rpartition("_")[2]
        result |= {f"{name}_{points}": error(norm, x, y).item() / len(x) for name, norm in (("l2", l2), ("h1", h1))}
(options.out / "result.json").write_text(json.dumps(result, indent=1))
print(json.dumps(result))
