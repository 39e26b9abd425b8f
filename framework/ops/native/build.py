"""Compile one library in a process of its own: `python build.py '{"name": ..., "sources": ...}'`.

It has its own process because a compiler that hangs can then be ended, and because what
`torch.utils.cpp_extension` changes in its process stays there.
"""

import json
import sys

from torch.utils.cpp_extension import load

if __name__ == "__main__":
    try:
        load(**json.loads(sys.argv[1]), is_python_module=False, verbose=False)
    except (RuntimeError, OSError) as error:  # a compiler's messages; no ninja
        sys.exit(str(error))
