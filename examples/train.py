"""Train a small StyleGAN2 on toy cars for a minute; its snapshot works in the other examples.

    python examples/train.py runs/first
    python examples/generate.py runs/first/network-000002

Two thousand pictures give coloured blobs; `configs/train/stylegan2/toycars64.yaml` is a whole run.
Anything else on the command line is passed on: `--data.source my_pictures --run.kimg 100`.
"""

import sys

from framework.cli.train import main

SETTINGS = [
    *("--config", "configs/train/stylegan2/toycars64.yaml"),
    *("--data.source", "toycars:2000"),
    *("--run.kimg", "2"),
    *("--run.tick_kimg", "0.5"),
    *("--run.snapshot_kimg", "2"),
]

if __name__ == "__main__":
    folder, *more = sys.argv[1:] or ["runs/first"]
    sys.argv[1:] = ["fit", *SETTINGS, "--run.dir", folder, *more]
    sys.exit(main())
