"""Any folder of one's own: pictures, masks and a list of classes."""

from __future__ import annotations

from captionseg.benchmarks.layout import Layout

LAYOUTS = {
    "folder": Layout(
        title="a folder of one's own", home="", images="images/{}.*", masks="masks/{}.png", names="classes.txt",
        ignore=65535,  # so that there may be more than 255 classes
        fetch="put pictures into images, a mask of the same name (index or palette PNG, 255 counts nowhere) for each "
              "into masks, and the names of the classes, one a line from number 0, into classes.txt",
        source="the folder; a first class named background is one",
    ),
}  # fmt: skip
