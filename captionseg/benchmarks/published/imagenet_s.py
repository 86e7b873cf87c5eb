"""ImageNet-S: 50 and 300 classes of ImageNet with masks, and background."""

from __future__ import annotations

from dataclasses import replace

from captionseg.benchmarks.layout import Layout

S50 = Layout(
    title="ImageNet-S-50",
    home="ImageNetS50",
    images="validation/{}.JPEG",
    masks="validation-segmentation/{}.png",
    count=752,
    names="imagenet_s50.txt",
    background=True,
    void=(1000,),
    rgb=True,
    ignore=1000,
    threshold=0.95,
    fetch="make it from ImageNet's validation pictures and ImageNetS50's masks "
    "(github.com/LUSSeg/ImageNet-S)",
    source="Gao et al., TPAMI 2022; the raw value is R + 256 G, 0 is what no class names, 1000 "
    "counts nowhere",
)

LAYOUTS = {
    "imagenet_s50": S50,
    "imagenet_s300": replace(
        S50,
        title="ImageNet-S-300",
        home="ImageNetS300",
        names="imagenet_s300.txt",
        count=4097,
        threshold=0.75,
        fetch=S50.fetch.replace("S50", "S300"),
    ),
}
