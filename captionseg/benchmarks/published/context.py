"""Pascal Context: 59 classes with and without background, and all 459 labels."""

from __future__ import annotations

from dataclasses import replace

from captionseg.benchmarks.layout import Layout

# Of the 459 labels of the archive the 59 most frequent, in the order of their numbers, which is
# alphabetical
IDS = (
    2,
    9,
    18,
    19,
    22,
    23,
    25,
    31,
    33,
    34,
    44,
    45,
    46,
    59,
    65,
    68,
    72,
    80,
    85,
    98,
    104,
    105,
    113,
    115,
    144,
    158,
    159,
    162,
    187,
    189,
    207,
    220,
    232,
    258,
    259,
    260,
    284,
    295,
    296,
    308,
    324,
    326,
    347,
    349,
    354,
    355,
    360,
    366,
    368,
    397,
    415,
    416,
    420,
    424,
    427,
    440,
    445,
    454,
    458,
)

CONTEXT = Layout(
    title="Pascal Context",
    home="VOCdevkit/VOC2010",
    images="JPEGImages/{}.jpg",
    masks="trainval/{}.mat",
    split="ImageSets/Main/val.txt",
    count=5105,
    names="pascal_context.txt",
    ids=IDS,
    void=(0,),
    rest="ignored",
    fetch="fetch VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010) and unpack "
    "it there, and trainval.tar.gz (cs.stanford.edu/~roozbeh/pascal-context), to be unpacked "
    "in VOC2010",
    source="Mottaghi et al., CVPR 2014, 59 of the 459 labels; their numbers as in MMSegmentation's "
    "converter",
)

LAYOUTS = {
    "context": replace(
        CONTEXT,
        title="Pascal Context with background",
        background=True,
        ids=(0, *IDS),
        void=(),
        rest="background",
        threshold=0.35,
    ),
    "context59": CONTEXT,
    "context459": replace(
        CONTEXT,
        title="Pascal Context, all labels",
        names="labels.txt",
        ids=tuple(range(1, 460)),
        rest="refused",
        ignore=65535,
        source="Mottaghi et al., CVPR 2014",
        fetch=f"{CONTEXT.fetch}, with labels.txt beside it",
    ),
}
