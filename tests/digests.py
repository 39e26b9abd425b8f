"""Digests of what the programs compute: equal bits before and after a change of form.

    python -m tests.digests record FILE      # before the change
    python -m tests.digests compare FILE     # after it, on the same machine; names what differs

Each case is a command line as a user types it, and every number in the files that it writes:
latents, weights, points, pictures. Two machines or versions of torch may differ in the last bits.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

ROOT = Path(__file__).resolve().parent.parent
PICTURE = "toycar.png"  # drawn by `make_picture` into the folder in which the commands run

SMALL_ENCODER = (
    "--model.architecture.channel_base 128 --model.architecture.channel_max 16"
    " --model.architecture.map_channels 8"
    " --model.architecture.head_features 16 --model.architecture.width 16"
)
EVERYTHING = (
    "--model.weights.adv_image 0.1 --model.discriminators.r1_interval 2"
    " --model.weights.adv_latent 0.1 --model.discriminators.latent_lr 1e-3"
    " --model.discriminators.latent_r1_interval 3 --model.weights.delta 2e-4"
    " --model.weights.w_norm 0.005 --model.weights.nscd 0.5"
    " --model.schedule.synthetic_share 0.3 --model.mirror true"
)
ENCODER_CLASS = "framework.training.encoder.module.EncoderTraining"
FIT = "--run.wandb disabled --trainer.accelerator cpu"

# name -> command lines, run one after the other in a folder of their own; OUT is where they write.
CASES: dict[str, list[str]] = {
    "generate": ["edit.py generate --model toycars64 --seeds 1-3 --out OUT/g"],
    "drag a roof": [
        'edit.py drag --model vehicles64 --seed 30 --points "40,13:46,16" --steps 25 --no-video'
        " --wandb disabled --out OUT/d",
        "edit.py drag --edit OUT/d/edit.safetensors --steps 5 --no-video --wandb disabled"
        " --out OUT/on",
    ],
    "drag with a mask, as published": [
        'edit.py drag --model toycars64 --seed 8 --points "48,20:51,20;20,44:22,44" --steps 12'
        " --mask MASK --preset draggan --space w --no-video --wandb disabled --out OUT/d"
    ],
    "invert": [
        f"edit.py invert {PICTURE} --model toycars64 --refine-steps 12 --tune-steps 6"
        " --wandb disabled --out OUT/i",
        'edit.py drag --image OUT/i --points "40,20:43,20" --steps 6 --no-video --wandb disabled'
        " --out OUT/d",
    ],
    "train a generator": [
        "train.py fit --config configs/train/stylegan2/debug_cpu.yaml"
        " --run.dir OUT/run --run.kimg 0.04"
        " --run.tick_kimg 0.02 --model.augment ada --model.augmentation.ada_p 0.4"
        f" --model.regularization.pl_weight 2 {FIT}",
        "train.py fit --config configs/train/stylegan2/debug_cpu.yaml"
        " --run.dir OUT/run --run.kimg 0.06"
        " --run.tick_kimg 0.02 --model.augment ada --model.augmentation.ada_p 0.4"
        f" --model.regularization.pl_weight 2 {FIT}",
    ],
    "train an encoder": [
        f"train.py fit --model {ENCODER_CLASS} --model.generator toycars64 {SMALL_ENCODER}"
        f" {EVERYTHING} --data.source toycars:40 --data.size 64 --data.batch_size 4"
        f" --data.held_out 0.3 --run.dir OUT/run --run.kimg 0.012 --run.tick_kimg 0.004 {FIT}"
    ],
    "export": [
        "edit.py export toycars64 --to rosinality --out OUT/toycars.pt",
        "edit.py import OUT/toycars.pt --out OUT/back",
    ],
}


def make_picture(folder: Path) -> None:
    """Draw what the cases take: a photograph of sorts, and a mask of the model's size."""
    across, down = np.meshgrid(np.arange(96), np.arange(80))
    waves = [np.sin(across / 9 + k) * np.cos(down / (7 + k)) for k in range(3)]
    pixels = (127.5 + 100 * np.stack(waves, axis=-1)).astype(np.uint8)
    Image.fromarray(pixels).save(folder / PICTURE)
    mask = np.zeros((64, 64), np.uint8)
    mask[12:, 10:56] = 255
    Image.fromarray(mask).save(folder / "mask.png")


def digests_of(case: str, folder: Path) -> dict[str, str]:
    """Run a case in `folder` and digest every tensor and picture that it leaves."""
    make_picture(folder)
    for command in CASES[case]:
        words = command.replace("OUT", str(folder / "out")).replace(
            "MASK", str(folder / "mask.png")
        )
        run(words.replace(PICTURE, str(folder / PICTURE)))
    return dict(sorted(contents(folder / "out")))


def run(command: str) -> None:
    """Run a command line of the project, one thread, nothing sent anywhere."""
    import shlex

    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, *shlex.split(command)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{command}\n{done.stdout}{done.stderr}")


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and digest of every tensor and picture below a folder, whatever its files are called."""
    for file in sorted(folder.rglob("*")):
        name = str(file.relative_to(folder))
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                for key in opened.keys():
                    yield f"{name}:{key}", digest(opened.get_tensor(key))
        elif file.suffix in (".ckpt", ".pt"):
            stored = torch.load(file, map_location="cpu", weights_only=True)
            for key, tensor in tensors_in(stored):
                yield f"{name}:{key}", digest(tensor)
        elif file.suffix == ".png":
            yield name, digest(torch.from_numpy(np.array(Image.open(file))))


def tensors_in(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in nested containers with the way to it."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}.{key}")
    elif isinstance(value, (list, tuple)):
        for key, item in enumerate(value):
            yield from tensors_in(item, f"{name}.{key}")


def digest(tensor: torch.Tensor) -> str:
    """SHA-256 of a tensor's kind, shape and bytes, shortened."""
    data = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    data.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return data.hexdigest()[:16]


def all_digests(cases: list[str]) -> dict[str, dict[str, str]]:
    """The digests of several cases, each in a folder that is removed afterwards."""
    result = {}
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            result[case] = digests_of(case, Path(folder))
        print(f"{case}: {len(result[case])} tensors and pictures", flush=True)
    return result


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Names that are missing, new, or have other bits."""
    names = sorted(before.keys() | after.keys())
    return [name for name in names if before.get(name) != after.get(name)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--cases", nargs="*", default=list(CASES), choices=list(CASES))
    options = parser.parse_args()
    now = all_digests(options.cases)
    if options.what == "record":
        options.file.write_text(json.dumps(now, indent=1))
        return
    before = json.loads(options.file.read_text())
    different = {case: differences(before[case], now[case]) for case in options.cases}
    for case, names in different.items():
        print(f"{case}: " + (f"{len(names)} differ, such as {names[:4]}" if names else "equal"))
    sys.exit(any(different.values()))


if __name__ == "__main__":
    main()
