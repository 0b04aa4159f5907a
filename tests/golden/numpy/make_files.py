"""Writes the files of this folder with NumPy: python make_files.py."""

import pathlib

import numpy

here = pathlib.Path(__file__).parent
values = numpy.arange(6, dtype=numpy.float32).reshape(2, 3)
numpy.save(here / "rows.npy", values)
numpy.save(here / "columns.npy", numpy.asfortranarray(values.astype(numpy.float64)))
arrays = {"x": values, "n": numpy.array([7, -8]), "flags": numpy.array([True, False])}
numpy.savez(here / "stored.npz", **arrays)
numpy.savez_compressed(here / "deflated.npz", **arrays)
