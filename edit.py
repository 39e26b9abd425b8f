#!/usr/bin/env python
"""Edit pictures with a trained generator: `python edit.py --help`."""

import sys

from framework.cli.edit import main

if __name__ == "__main__":
    sys.exit(main())
