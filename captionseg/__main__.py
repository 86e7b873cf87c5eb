"""python -m captionseg: the command line."""

import sys

from captionseg.cli import main

sys.exit(main())
