"""Annotations for the path arguments of a stage's main; other arguments are str.

In is read. Out is written in the work folder and moved into place at the end. Persistent is written
in place and never emptied (`persist` in dvc.yaml): for results that are too expensive to make
twice, in stages that record what is finished. Note is also written in place, but tracked by neither
DVC nor git: for what differs between runs, such as seconds. No stage reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NewType

In = NewType("In", Path)
Out = NewType("Out", Path)
Persistent = NewType("Persistent", Path)
Note = NewType("Note", Path)
