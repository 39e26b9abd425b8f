#!/usr/bin/env python
"""Train StyleGAN2 on your own pictures: `python train.py fit --help`."""

import sys

from framework.cli.start import train as main

if __name__ == "__main__":
    sys.exit(main())
