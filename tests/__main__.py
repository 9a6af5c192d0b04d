"""`python3 -m tests`: makes the test environment and Blender's, then runs pytest with the arguments given.

Without arguments the whole suite runs, a process for each core, the tests of a file in the same process.
"""

import os
import sys

from backend.python_version import require

BLENDER_SETS = ("blender", "blender-4.2", "blender-5.0")
MOST_PROCESSES = 4  # of 3 GB each
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments):
    """Returns pytest's exit code."""
    from backend import start

    start.inside("tests", "tests", arguments)
    for name in BLENDER_SETS:
        start.ensure(name)
    os.chdir(start.ROOT)
    os.environ["LIFEMASK_ALL_TESTS"] = "1"  # an environment that is missing from here on is a failure, not a skip

    import pytest

    return int(pytest.main(arguments or whole_suite(os.cpu_count() or 1)))


def whole_suite(cores):
    """Arguments for pytest that run everything on so many cores; libraries get the threads that are left for them."""
    processes = min(cores, MOST_PROCESSES)
    if processes == 1:
        return []
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(cores // processes))
    return ["-n", str(processes), "--dist", "loadfile"]


if __name__ == "__main__":
    require("tests")
    from backend.cli import run_command

    sys.exit(run_command(lambda: main(sys.argv[1:]), "tests"))
