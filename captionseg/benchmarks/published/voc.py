"""Pascal VOC 2012: 20 things, with and without background."""

from __future__ import annotations

from dataclasses import replace

from captionseg.benchmarks.layout import Layout

VOC = Layout(
    title="Pascal VOC 2012",
    home="VOCdevkit/VOC2012",
    images="JPEGImages/{}.jpg",
    masks="SegmentationClass/{}.png",
    split="ImageSets/Segmentation/val.txt",
    count=1449,
    names="pascal_voc.txt",
    background=True,
    ids=tuple(range(21)),
    threshold=0.95,
    fetch="fetch VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and unpack "
    "it there",
    source="Everingham et al., VOC 2012 development kit; 255 marks borders of objects",
)

LAYOUTS = {
    "voc": VOC,
    "voc20": replace(
        VOC,
        title="Pascal VOC 2012 without background",
        background=False,
        ids=tuple(range(1, 21)),
        void=(0, 255),
        threshold=None,
    ),
}
