"""Says so in a sentence where Python is too old to read the rest of the code. Written for any Python."""

import os
import shutil
import sys

OLDEST = (3, 11)


def require(module):
    """Returns on a Python that can go on; otherwise starts `module` in python3.11, or ends with exit code 2.

    Args:
        module: what was started with -m.
    """
    if sys.version_info >= OLDEST:
        return
    newer = shutil.which("python3.11") if hasattr(shutil, "which") else None  # Python 2 has none
    if newer and os.name == "posix":
        sys.stdout.flush()
        os.execv(newer, [newer, "-m", module] + sys.argv[1:])  # noqa: RUF005
    have = ".".join(str(part) for part in sys.version_info[:3])
    sys.stderr.write("lifemask: Python 3.11 is needed and this is Python " + have + ". Install Python 3.11.\n")
    sys.exit(2)
