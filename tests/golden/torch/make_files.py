"""Writes the files of this folder with PyTorch 2.15: python make_files.py. Values are aranges, so that tests know them."""

import collections
import os
import pathlib
import zipfile

import torch

here = pathlib.Path(__file__).parent


class Command:
    def __reduce__(self):
        return os.system, ("echo executed",)


base = torch.arange(24, dtype=torch.float32)
tied = torch.arange(4, dtype=torch.float32)
values = collections.OrderedDict(
    column_major=base.reshape(4, 6).t(),  # (6, 4), strides (1, 6)
    offset=base[10:14],
    every_third=base[1::3],
    repeated=torch.tensor([7.0]).expand(3),
    first_name=tied,
    second_name=tied,
    parameter=torch.nn.Parameter(torch.tensor([1.5, -2.5])),
    scalar=torch.tensor(0.1, dtype=torch.float64),
    none=torch.empty(0, 3),
    flags=torch.tensor([True, False, True]),
    half=torch.tensor([0.5, -65504.0, 2.0**-24], dtype=torch.float16),
    brain=torch.tensor([1.0, -3.0], dtype=torch.bfloat16),
    long=torch.tensor([-(2**40), 3]),
    int=torch.tensor([-5, 6], dtype=torch.int32),
    complex=torch.tensor([1 + 2j, 3 - 4j], dtype=torch.complex64),
    byte=torch.tensor([1, 255], dtype=torch.uint8),
    nested={"list": [torch.tensor([1.0]), torch.tensor([2.0])], "text": "passed over", "number": 1.5, "big": -(2**62)},
)
values._metadata = {"": {"version": 1}}
torch.save(values, here / "views.pt")
torch.save(values, here / "protocol_4.pt", pickle_protocol=4)
torch.save({"a": base}, here / "legacy.pt", _use_new_zipfile_serialization=False)
torch.save({"a": base, "command": Command()}, here / "command.pt")
torch.save({"a": torch.tensor([1 + 2j]).conj()}, here / "conjugate.pt")
torch.jit.script(torch.nn.Linear(1, 1)).save(here / "script.pt")
with zipfile.ZipFile(here / "views.pt") as stored, zipfile.ZipFile(here / "deflated.pt", "w", zipfile.ZIP_DEFLATED) as deflated:
    for name in stored.namelist():
        deflated.writestr(zipfile.ZipInfo(name), stored.read(name), compress_type=zipfile.ZIP_DEFLATED)
zipfile.ZIP64_LIMIT = 8  # bytes: everything longer takes the Zip64 records
with zipfile.ZipFile(here / "views.pt") as stored, zipfile.ZipFile(here / "zip64.pt", "w") as large:
    for name in stored.namelist():
        large.writestr(zipfile.ZipInfo(name), stored.read(name))
