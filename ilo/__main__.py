"""``python -m ilo``: the command line."""

import sys

from ilo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
