"""What the keyword arguments of a stage's main are annotated with, beside str: paths that it reads or writes."""

from __future__ import annotations

from pathlib import Path
from typing import NewType

In = NewType("In", Path)
Out = NewType("Out", Path)
