"""COCO-Stuff 164k, 80 things and 91 kinds of stuff, and COCO-Object, the things with everything
else as background.
"""

from __future__ import annotations

from dataclasses import replace

from captionseg.benchmarks.layout import Layout
from captionseg.inference.windows import WindowParams

# Raw values are COCO's ids less one; these ids name no class
GAPS = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
IDS = tuple(value for value in range(182) if value not in GAPS)

STUFF = Layout(
    title="COCO-Stuff 164k",
    home="",
    images="images/val2017/{}.jpg",
    masks="annotations/val2017/{}.png",
    count=5000,
    names="coco_stuff.txt",
    ids=IDS,
    windows=WindowParams(512, 224, 112),
    fetch="fetch val2017.zip (images.cocodataset.org/zips), to be unpacked in images, and "
    "stuffthingmaps_trainval2017.zip "
    "(calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset), to be unpacked in "
    "annotations",
    source="Caesar et al., CVPR 2018, 80 things and 91 kinds of stuff; 255 is unlabelled",
)

LAYOUTS = {
    "coco_object": replace(
        STUFF,
        title="COCO-Object",
        names="coco_object.txt",
        background=True,
        ids=(-1, *IDS[:80]),
        void=(),
        rest="background",
        threshold=0.95,
        windows=WindowParams(448, 448, 224),
        source="GroupViT's evaluator: stuff and unlabelled pixels are background, none is ignored",
    ),
    "coco_stuff": STUFF,
}
