"""A user's folder as a benchmark: pictures, masks and a list of classes."""

from __future__ import annotations

from captionseg.benchmarks.layout import Layout

LAYOUTS = {
    "folder": Layout(
        title="a folder of one's own",
        home="",
        images="images/{}.*",
        masks="masks/{}.png",
        names="classes.txt",
        void=(255, 65535),
        ignore=65535,
        own=True,
        fetch="put pictures into images, a mask of the same name (index or palette PNG; 255 counts "
        "nowhere, or 65535 where there are more than 255 classes, or what --ignore says) for "
        "each into masks, and the names of the classes, one a line from number 0, into "
        "classes.txt",
        source="the folder; a first class named background is one",
    )
}
