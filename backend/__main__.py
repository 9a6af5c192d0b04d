"""`python3 -m backend`: see backend/cli.py."""

import sys

from backend.python_version import require

if __name__ == "__main__":
    require("backend")
    from backend.cli import main

    sys.exit(main(sys.argv[1:]))
