"""The command line as `python -m captionseg`."""

import sys

from captionseg.cli import main

sys.exit(main())
