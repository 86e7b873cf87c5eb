"""Before anything is imported: one thread. Arrays in tests are so small that threads only wait for each other."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
