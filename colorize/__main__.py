"""`python -m colorize`, the same as the command `colorize`."""

import sys

from colorize.cli import main

sys.exit(main())
