"""Cityscapes: 19 classes of streets."""

from __future__ import annotations

from captionseg.benchmarks.layout import Layout
from captionseg.inference.windows import WindowParams

LAYOUTS = {
    "cityscapes": Layout(
        title="Cityscapes",
        home="",
        images="leftImg8bit/val/{}_leftImg8bit.png",
        masks="gtFine/val/{}_gtFine_labelIds.png",
        count=500,
        names="cityscapes.txt",
        rest="ignored",
        windows=WindowParams(1024, 448, 224),
        ids=(7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33),
        fetch="fetch leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip "
        "(cityscapes-dataset.com) and unpack them there",
        source="Cordts et al., CVPR 2016; the 19 classes and their ids as in cityscapesScripts, "
        "helpers/labels.py",
    )
}
