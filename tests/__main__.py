"""`python3 -m tests`: makes the test environment and Blender's, then runs pytest with the arguments given."""

import os
import sys

from backend.python_version import require

BLENDER_SETS = ("blender", "blender-4.2", "blender-5.0")


def main(arguments):
    """Returns pytest's exit code."""
    from backend import start

    start.inside("tests", "tests", arguments)
    for name in BLENDER_SETS:
        start.ensure(name)
    os.chdir(start.ROOT)
    os.environ["LIFEMASK_ALL_TESTS"] = "1"  # an environment that is missing from here on is a failure, not a skip

    import pytest

    return int(pytest.main(arguments))


if __name__ == "__main__":
    require("tests")
    from backend.cli import run_command

    sys.exit(run_command(lambda: main(sys.argv[1:]), "tests"))
