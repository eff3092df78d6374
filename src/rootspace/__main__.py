"""`python -m rootspace` is the command `rootspace`."""

import sys

from rootspace.cli import main

if __name__ == "__main__":
    sys.exit(main())
