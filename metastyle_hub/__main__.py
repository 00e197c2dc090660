"""`python -m metastyle_hub` is the `metastyle` command."""

import sys

from metastyle_hub.cli import main

if __name__ == "__main__":
    sys.exit(main())
