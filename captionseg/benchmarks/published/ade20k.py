"""ADE20K: the 150 classes of scene parsing, and 847 of the full annotation."""

from __future__ import annotations

from captionseg.benchmarks.layout import Layout
from captionseg.inference.windows import WindowParams

LAYOUTS = {
    "ade20k": Layout(
        title="ADE20K",
        home="ADEChallengeData2016",
        images="images/validation/{}.jpg",
        masks="annotations/validation/{}.png",
        count=2000,
        names="ade20k.txt",
        ids=tuple(range(1, 151)),
        void=(0,),
        windows=WindowParams(512, 224, 112),
        fetch="fetch ADEChallengeData2016.zip (data.csail.mit.edu/places/ADEchallenge) and unpack "
        "it there",
        source="Zhou et al., CVPR 2017, scene parsing benchmark: 150 classes from 1, 0 is what "
        "none "
        "of them names",
    ),
    "ade20k_full": Layout(
        title="ADE20K, full annotation",
        home="ADE20K_2021_17_01",
        images="images_detectron2/validation/{}.jpg",
        masks="annotations_detectron2/validation/{}.tif",
        count=2000,
        names="ade20k_full.txt",
        void=(65535,),
        ignore=65535,
        windows=WindowParams(512, 224, 112),
        fetch="fetch ADE20K_2021_17_01.zip (groups.csail.mit.edu/vision/datasets/ADE20K), unpack "
        "it there and run MaskFormer's datasets/prepare_ade20k_full_sem_seg.py over it",
        source="Zhou et al., CVPR 2017; 847 classes, their order and masks of 16 bits as that "
        "script leaves them, pictures with short sides of at most 512; first synonyms as "
        "names, all of them where two are alike",
    ),
}
