"""`python -m captionseg.shipped`: packs the best model of the run in this folder."""

import sys

from captionseg.shipped.packing import main
from captionseg.terminal import guarded

if __name__ == "__main__":
    sys.exit(guarded(main))
