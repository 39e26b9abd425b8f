"""How long a real-size model file takes to open, next to reading and copying its bytes.

    python benchmarks/load_model.py                 # writes three files of about 350 MB
    python benchmarks/load_model.py --resolution 1024 --repeat 9

Files are written to a temporary folder and read from the page cache: disks are not measured. The
floor is the least work possible: reading the file into fresh memory once and copying it once. Each
round opens every file once, so that a busy machine disturbs all equally; medians are printed.
Memory is the growth of a separate process that opens the file, over the file's size.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--resolution",
        type=int,
        default=256,
        help="side of the pictures, which sets the size of the files",
    )
    add("--repeat", type=int, default=5)
    add("--threads", type=int, default=1)
    add("--json", action="store_true", help="end with one line of JSON")
    add("--open", help=argparse.SUPPRESS)  # run in a separate process, to measure its memory
    return parser.parse_args()


def make_files(folder: Path, resolution: int) -> dict[str, Path]:
    """Write the same random networks in three formats, about 350 MB each."""
    import torch

    from framework.formats import save_model_folder
    from framework.formats.export import export_networks
    from framework.models.stylegan2 import Discriminator, Generator

    torch.manual_seed(0)
    generator, trained = Generator(resolution), Generator(resolution)
    discriminator = Discriminator(resolution)
    files = {"NVIDIA .pkl": folder / "stylegan2.pkl", "rosinality .pt": folder / "model.pt"}
    export_networks(generator, discriminator, "nvidia", files["NVIDIA .pkl"], trained)
    export_networks(generator, discriminator, "rosinality", files["rosinality .pt"])
    state = torch.load(files["rosinality .pt"], weights_only=True)
    state["g"] = {name: tensor.clone() for name, tensor in state["g_ema"].items()}  # as in training
    torch.save(state, files["rosinality .pt"])
    # The folder's generator is smaller: it is one network, and the other files have three.
    save_model_folder(folder / "model", generator, discriminator)
    return files | {"model folder": folder / "model"}


def size_bytes(path: Path) -> int:
    """Size in bytes of a file, or of the generator in a model folder."""
    return (path / "generator.safetensors" if path.is_dir() else path).stat().st_size


def read_and_copy(path: Path) -> None:
    """Read the bytes into fresh memory and copy them: the floor."""
    import torch

    file = path / "generator.safetensors" if path.is_dir() else path
    content = torch.empty(file.stat().st_size, dtype=torch.uint8)
    with open(file, "rb", buffering=0) as opened:
        filled = 0
        while filled < len(content):
            filled += opened.readinto(memoryview(content.numpy())[filled:])
    content.clone()


def seconds(action: Callable[[Path], object], path: Path) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    action(path)
    return time.perf_counter() - start


def growth_mib(path: Path) -> float:
    """Peak memory that a fresh process needs to open the file, beyond its imports."""
    command = [sys.executable, __file__, "--open", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout)


def open_here(path: str) -> None:
    """Open the file and print the growth of this process's peak memory in MiB (Linux)."""
    from framework.formats import load_generator
    from framework.ops.memory import tune_malloc

    tune_malloc()
    load_generator("toycars64")  # imports and builds what is needed on first use
    before = resident_kib("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    load_generator(path)
    print((resident_kib("VmHWM") - before) / 1024)


def resident_kib(name: str) -> int:
    """Read a number of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def main() -> None:
    """Measure and print a Markdown table."""
    args = arguments()
    if args.open:
        open_here(args.open)
        return
    import torch

    from framework.formats import load_discriminator, load_generator
    from framework.machine import processor
    from framework.ops.memory import tune_malloc

    tune_malloc()
    torch.set_num_threads(args.threads)
    actions = {"floor": read_and_copy, "generator": load_generator, "D": load_discriminator}
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), args.resolution)
        times: dict[tuple[str, str], list[float]] = {}
        for _ in range(args.repeat + 1):  # the first round warms up
            for name, path in files.items():
                for action, call in actions.items():
                    times.setdefault((name, action), []).append(seconds(call, path))
        memory = {name: growth_mib(path) for name, path in files.items()}
        sizes = {name: size_bytes(path) / 2**20 for name, path in files.items()}
    medians = {key: statistics.median(values[1:]) for key, values in times.items()}
    print(f"{processor()}, {os.cpu_count()} cores, {args.threads} "
          f"thread(s), torch {torch.__version__}, median of {args.repeat} rounds")  # fmt: skip
    print("\n| file | MiB | read + copy s | generator s | ratio | discriminator s | peak / size |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    rows = []
    for name in files:
        floor, generator, opponent = (medians[name, action] for action in actions)
        rows.append(
            {"file": name, "mib": sizes[name], "floor_sec": floor, "generator_sec": generator,
             "discriminator_sec": opponent, "peak_ratio": memory[name] / sizes[name]}
        )  # fmt: skip
        numbers = (floor, generator, generator / floor, opponent, rows[-1]["peak_ratio"])
        cells = [f"{sizes[name]:.0f}", *(f"{number:.3f}" for number in numbers)]
        print(f"| {name} | {' | '.join(cells)} |")
    if args.json:
        print(json.dumps({"torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    main()
