"""`python3 -m training`: see training/cli.py."""

import sys

from backend.python_version import require

if __name__ == "__main__":
    require("training")
    from training.cli import main

    sys.exit(main(sys.argv[1:]))
