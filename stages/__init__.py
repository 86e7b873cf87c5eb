"""The stages, one file each. This module runs before any of them imports numpy or torch.

OpenMP threads must yield their cores while they wait: on a busy machine spinning threads make a
training step three times as slow. Workers and other ranks inherit the setting.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
