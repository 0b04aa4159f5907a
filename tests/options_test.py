#!/usr/bin/env python3
"""The program without gRPC and without MPI still builds and says what it lacks.

A second build would cost minutes. Only objects whose sources or headers ask for the two options can differ, so only those are compiled
anew, and linked with the others from the build at hand. What must not be there is not linked: a use of gRPC or MPI that is left over is an
undefined symbol. The dependencies are the build's own (ninja -t deps), so no list has to be kept.

Usage: options_test.py SOURCE BUILD WORK CMAKE [-DNAME=VALUE ...]
"""

import os
import pathlib
import subprocess
import sys

MARKS = (b"TRIDENT_WITH_MPI", b"TRIDENT_WITH_GRPC")
ABSENT = ("libgrpc", "libprotobuf", "libprometheus", "libmpi", "trident_rpc", "trident_protocol")


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, text=True, stdout=subprocess.PIPE, **options).stdout


def affected_objects(source, build):
    """Objects of the libraries and the program that depend on a file of ours that mentions one of the options."""
    answers = {}

    def asks(path):
        if path not in answers:
            answers[path] = path.is_relative_to(source) and not path.is_relative_to(build) and any(m in path.read_bytes() for m in MARKS)
        return answers[path]

    objects, current = [], None
    for line in run("ninja", "-C", build, "-n", "-t", "deps").splitlines():  # -n: the log of dependencies is not written to
        if line and not line[0].isspace():
            current = line.split(":")[0]
        elif line.strip() and asks(pathlib.Path(os.path.normpath(build / line.strip()))) and current not in objects:
            objects.append(current)
    return [name for name in objects if not name.startswith(("tests/", "perf/", "rpc/"))]


def link(build, work, objects):
    """Links as the second build would, with the first one's archives for all that did not change."""
    command = run("ninja", "-C", work, "-t", "commands", "bin/trident").splitlines()[-1]
    words = command.split()
    assert not any(absent in word for word in words for absent in ABSENT), command
    for i, word in enumerate(words):
        if word.endswith(".a") and not word.startswith("/"):
            words[i] = f"'{build / word}'"
        elif word.endswith("trident.dir/main.cpp.o"):
            words[i] = " ".join([f"'{build / word}'", *objects])
    (work / "bin").mkdir(exist_ok=True)
    run("sh", "-c", " ".join(words), cwd=work)
    return work / "bin" / "trident"


def main():
    source, build, work = (pathlib.Path(argument).resolve() for argument in sys.argv[1:4])
    cmake, options = sys.argv[4], sys.argv[5:]
    run(cmake, "-S", source, "-B", work, "-G", "Ninja", "-DTRIDENT_MPI=OFF", "-DTRIDENT_GRPC=OFF", "-DTRIDENT_TESTS=OFF", *options)
    objects = affected_objects(source, build)
    assert any("session.cpp" in name for name in objects) and any("predict.cpp" in name for name in objects), objects
    run("ninja", "-C", work, *objects)
    program = link(build, work, objects)

    fields = source / "tests/golden/scot/hugging_face/tensors.safetensors"
    assert run(program, "--version").strip(), "--version prints nothing"
    assert "serve" not in [line.split()[0] for line in run(program, "--help").splitlines() if line.startswith("  ")], "serve is offered"
    for arguments, environment, message in (
        (("predict", "--server", "here:1", "--model", "m", "--input", fields, "--output", work / "output.h5"), {}, "this build has no gRPC"),
        (("inspect", "x"), {"SLURM_STEP_NUM_TASKS": "2"}, "this build has no MPI"),
    ):
        failed = subprocess.run([program, *arguments], capture_output=True, text=True, env={**os.environ, **environment})
        assert failed.returncode == 1 and message in failed.stderr, failed.stderr
    print(f"compiled {len(objects)} objects anew: {' '.join(objects)}")


if __name__ == "__main__":
    main()
