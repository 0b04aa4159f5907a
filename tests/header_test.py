#!/usr/bin/env python3
"""Every public header compiles alone, those of CUDA's own sources excepted: header_test.py SOURCE_DIR COMPILER."""
import concurrent.futures
import os
import pathlib
import subprocess
import sys

FOLDERS = ["runtime", "parallel", "models", "checkpoint", "rpc", "launch"]


def errors_of(compiler, root, header):
    command = [compiler, "-std=c++20", "-fopenmp", "-march=native", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", f"-I{root}", "-include", header, "-x", "c++", "/dev/null"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True).stderr


def main():
    root, compiler = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    headers = sorted(str(path.relative_to(root)) for folder in FOLDERS for path in (root / folder).rglob("*.h")
                     if "\n#include <cuda" not in path.read_text())
    if not headers:
        sys.exit(f"{root}: no headers found")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        results = pool.map(lambda header: errors_of(compiler, root, header), headers)
        failures = [f"{header} does not compile alone:\n{text}" for header, text in zip(headers, results) if text]
    print("\n".join(failures) or f"{len(headers)} headers compile alone")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
