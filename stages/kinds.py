"""What the keyword arguments of a stage's main are annotated with, beside str: paths that it reads
or writes.

Out is written in the work folder and moved into place at the end. Persistent is written in place
and never emptied (`persist` in dvc.yaml): for what is too dear to make twice, by stages that say
there themselves what is finished.

Renewed is an Out whose earlier version stays (`persist` too) until the new one is moved into its
place, for stages that take over parts of it; a main with an argument `earlier` is told where it
lies.

Note is written in place too, and neither DVC nor git knows it: what differs from run to run, such
as seconds. No stage reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import NewType

In = NewType("In", Path)
Out = NewType("Out", Path)
Persistent = NewType("Persistent", Path)
Renewed = NewType("Renewed", Path)
Note = NewType("Note", Path)
