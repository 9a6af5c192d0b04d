"""Says so in a sentence where Python is too old to read the rest of the code. Written for any Python."""

import os
import shutil
import sys

OLDEST = (3, 11)
NEWER = ("python3.11", "python3.12", "python3.13", "python3.14")


def require(module):
    """Returns on a Python that can go on; otherwise starts `module` in a newer one, or ends with exit code 2.

    Args:
        module: what was started with -m.
    """
    if sys.version_info >= OLDEST:
        return
    which = getattr(shutil, "which", lambda name: None)  # Python 2 has none
    newer = next((found for found in map(which, NEWER) if found), None)
    if newer and os.name == "posix":
        sys.stdout.flush()
        os.execv(newer, [newer, "-m", module] + sys.argv[1:])  # noqa: RUF005
    have = ".".join(str(part) for part in sys.version_info[:3])
    sys.stderr.write("lifemask: Python 3.11 is needed, or 3.12 to 3.14. This is Python " + have + ". Install one.\n")
    sys.exit(2)
