"""Stages, each a file. What is said here comes before any of them imports numpy or torch.

Threads of OpenMP that wait for one another give up their cores: on a machine that has other work to
do they would spin, and a step of training take three times as long. Workers and further ranks
inherit it.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
