"""``python -m ilo.cli``: the command line."""

import sys

from ilo.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
