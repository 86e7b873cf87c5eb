"""The benchmarks of the papers, each as a Layout, and the layout of any folder of one's own.

Class names, short sides, windows and thresholds are those of GroupViT's released evaluator and CoCu's configurations
(names of MMSegmentation, some of them renamed there: pottedplant -> plant, tvmonitor -> monitor, diningtable -> table;
aeroplane -> airplane in Pascal Context only). TCL and CoDe keep MMSegmentation's own names and see every benchmark by
448, 448, 224: give `--windows 448,448,224` to compare with them.
"""

from __future__ import annotations

from dataclasses import replace

from captionseg.benchmarks.layout import Layout
from captionseg.inference.windows import WindowParams
from captionseg.records import UserError

_VOC = Layout(
    title="Pascal VOC 2012", home="VOCdevkit/VOC2012",
    images="JPEGImages/{}.jpg", masks="SegmentationClass/{}.png", split="ImageSets/Segmentation/val.txt", count=1449,
    names="pascal_voc.txt", background=True, ids=tuple(range(21)), threshold=0.95,
    fetch="fetch VOCtrainval_11-May-2012.tar (host.robots.ox.ac.uk/pascal/VOC/voc2012) and unpack it there",
    source="Everingham et al., VOC 2012 development kit; 255 marks borders of objects",
)  # fmt: skip

# Of the 459 labels of the archive the 59 most frequent, in the order of their numbers, which is alphabetical
_CONTEXT_IDS = (2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113, 115, 144,
                158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324, 326, 347, 349, 354, 355,
                360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458)  # fmt: skip
_CONTEXT = Layout(
    title="Pascal Context", home="VOCdevkit/VOC2010",
    images="JPEGImages/{}.jpg", masks="trainval/{}.mat", split="ImageSets/Main/val.txt", count=5105,
    names="pascal_context.txt", ids=_CONTEXT_IDS, void=(0,), rest="ignored",
    fetch="fetch VOCtrainval_03-May-2010.tar (host.robots.ox.ac.uk/pascal/VOC/voc2010) and unpack it there, and "
          "trainval.tar.gz (cs.stanford.edu/~roozbeh/pascal-context), to be unpacked in VOC2010",
    source="Mottaghi et al., CVPR 2014, 59 of the 459 labels; their numbers as in MMSegmentation's converter",
)  # fmt: skip

# Raw values are COCO's ids less one; these ids name no class
_COCO_GAPS = {11, 25, 28, 29, 44, 65, 67, 68, 70, 82, 90}
_STUFF_IDS = tuple(value for value in range(182) if value not in _COCO_GAPS)
_STUFF = Layout(
    title="COCO-Stuff 164k", home="",
    images="images/val2017/{}.jpg", masks="annotations/val2017/{}.png", count=5000,
    names="coco_stuff.txt", ids=_STUFF_IDS, windows=WindowParams(512, 224, 112),
    fetch="fetch val2017.zip (images.cocodataset.org/zips), to be unpacked in images, and "
          "stuffthingmaps_trainval2017.zip (calvin.inf.ed.ac.uk/wp-content/uploads/data/cocostuffdataset), to be "
          "unpacked in annotations",
    source="Caesar et al., CVPR 2018, 80 things and 91 kinds of stuff; 255 is unlabelled",
)  # fmt: skip

_IMAGENET_S = Layout(
    title="ImageNet-S-50", home="ImageNetS50",
    images="validation/{}.JPEG", masks="validation-segmentation/{}.png", count=752,
    names="imagenet_s50.txt", background=True, void=(1000,), rgb=True, ignore=1000, threshold=0.95,
    fetch="make it from ImageNet's validation pictures and ImageNetS50's masks (github.com/LUSSeg/ImageNet-S)",
    source="Gao et al., TPAMI 2022; the raw value is R + 256 G, 0 is what no class names, 1000 counts nowhere",
)  # fmt: skip

PUBLISHED: dict[str, Layout] = {
    "voc": _VOC,
    "voc20": replace(_VOC, title="Pascal VOC 2012 without background", background=False, ids=tuple(range(1, 21)),
                     void=(0, 255), threshold=None),
    "context": replace(_CONTEXT, title="Pascal Context with background", background=True, ids=(0, *_CONTEXT_IDS),
                       void=(), rest="background", threshold=0.35),
    "context59": _CONTEXT,
    "context459": replace(_CONTEXT, title="Pascal Context, all labels", names="labels.txt", ids=tuple(range(1, 460)),
                          rest="refused", ignore=65535, source="Mottaghi et al., CVPR 2014",
                          fetch=f"{_CONTEXT.fetch}, with labels.txt beside it"),
    "coco_object": replace(_STUFF, title="COCO-Object", names="coco_object.txt", background=True,
                           ids=(-1, *_STUFF_IDS[:80]), void=(), rest="background", threshold=0.95,
                           windows=WindowParams(448, 448, 224),
                           source="GroupViT's evaluator: stuff and unlabelled pixels are background, none is ignored"),
    "coco_stuff": _STUFF,
    "cityscapes": Layout(
        title="Cityscapes", home="",
        images="leftImg8bit/val/{}_leftImg8bit.png", masks="gtFine/val/{}_gtFine_labelIds.png", count=500,
        names="cityscapes.txt", rest="ignored", windows=WindowParams(1024, 448, 224),
        ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
        fetch="fetch leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip (cityscapes-dataset.com) and unpack them "
              "there",
        source="Cordts et al., CVPR 2016; the 19 classes and their ids as in cityscapesScripts, helpers/labels.py",
    ),
    "ade20k": Layout(
        title="ADE20K", home="ADEChallengeData2016",
        images="images/validation/{}.jpg", masks="annotations/validation/{}.png", count=2000,
        names="ade20k.txt", ids=tuple(range(1, 151)), void=(0,), windows=WindowParams(512, 224, 112),
        fetch="fetch ADEChallengeData2016.zip (data.csail.mit.edu/places/ADEchallenge) and unpack it there",
        source="Zhou et al., CVPR 2017, scene parsing benchmark: 150 classes from 1, 0 is what none of them names",
    ),
    "imagenet_s50": _IMAGENET_S,
    "imagenet_s300": replace(_IMAGENET_S, title="ImageNet-S-300", home="ImageNetS300", names="imagenet_s300.txt",
                             count=4097, threshold=0.75, fetch=_IMAGENET_S.fetch.replace("S50", "S300")),
    "folder": Layout(
        title="a folder of one's own", home="", images="images/{}.*", masks="masks/{}.png", names="classes.txt",
        ignore=65535,  # so that there may be more than 255 classes
        fetch="put pictures into images, a mask of the same name (index or palette PNG, 255 counts nowhere) for each "
              "into masks, and the names of the classes, one a line from number 0, into classes.txt",
        source="the folder; a first class named background is one",
    ),
}  # fmt: skip
"""Name on the command line -> where its files lie and what they mean."""


def published(name: str) -> Layout:
    """The layout of a name.

    Raises:
        UserError: for one that is not in PUBLISHED.
    """
    if name not in PUBLISHED:
        raise UserError(f"--benchmark: {name!r} is not valid (valid: {', '.join(PUBLISHED)})")
    return PUBLISHED[name]


def windows_of(layout: Layout, text: str | None) -> WindowParams:
    """The layout's windows, or those of a text such as 448,448,224.

    Raises:
        UserError: for any other text.
    """
    if text is None:
        return layout.windows
    try:
        short_side, crop, stride = (int(part) for part in text.split(","))
        if min(short_side, crop, stride) < 1:
            raise ValueError
    except ValueError:
        raise UserError(f"--windows: {text!r} is not SHORT,CROP,STRIDE in pixels, such as 448,448,224") from None
    return WindowParams(short_side, crop, stride)


def background_of(layout: Layout, text: str | None) -> float | None:
    """The score of the background: a number, `published`, or None for no text.

    Raises:
        UserError: for any other text, and where none was published.
    """
    if text is None:
        return None
    if text == "published":
        if layout.threshold is None:
            raise UserError(f"--background published: none was for {layout.title}; give a number, or leave it out")
        return layout.threshold
    try:
        return float(text)
    except ValueError:
        raise UserError(f"--background: {text!r} is neither a number nor `published`") from None
