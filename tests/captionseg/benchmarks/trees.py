"""Small trees in the official layout of every published benchmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

SIZE = (12, 16)  # height, width of every picture
VOC, CONTEXT, COCO = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010", ""


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Noise, of a fixed seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def mask(path: Path, raw: np.ndarray, how: str = "P") -> None:
    """A mask file: palette (P) or index (L) PNG, R + 256 G (RGB), or .mat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "mat":
        savemat(path, {"LabelMap": raw.astype(np.uint16)})
    elif how == "RGB":
        Image.fromarray(np.stack([raw % 256, raw // 256, 0 * raw], -1).astype(np.uint8)).save(path)
    else:
        image = Image.fromarray(raw.astype(np.uint8))
        if how == "P":
            image.putpalette(np.random.default_rng(1).integers(0, 255, 768, dtype=np.uint8).tobytes())
        image.save(path)


# benchmark: home, picture, mask, kind of mask, list of the split
FILES = {
    "voc": (VOC, "JPEGImages/{}.jpg", "SegmentationClass/{}.png", "P", "ImageSets/Segmentation/val.txt"),
    "context": (CONTEXT, "JPEGImages/{}.jpg", "trainval/{}.mat", "mat", "ImageSets/Main/val.txt"),
    "coco_stuff": (COCO, "images/val2017/{}.jpg", "annotations/val2017/{}.png", "L", ""),
    "cityscapes": ("", "leftImg8bit/val/bonn/{}_leftImg8bit.png", "gtFine/val/bonn/{}_gtFine_labelIds.png", "L", ""),
    "ade20k": ("ADEChallengeData2016", "images/validation/{}.jpg", "annotations/validation/{}.png", "L", ""),
    "imagenet_s50": ("ImageNetS50", "validation/n01/{}.JPEG", "validation-segmentation/n01/{}.png", "RGB", ""),
    "imagenet_s300": ("ImageNetS300", "validation/n01/{}.JPEG", "validation-segmentation/n01/{}.png", "RGB", ""),
    "folder": ("", "images/{}.webp", "masks/{}.png", "P", ""),
}
FILES |= {"voc20": FILES["voc"], "context59": FILES["context"], "context459": FILES["context"],
          "coco_object": FILES["coco_stuff"]}  # fmt: skip


def write_tree(root: Path, name: str, raws: list[np.ndarray]) -> Path:
    """A benchmark's folder with one picture for each array of raw values, and the files beside them."""
    home, pictures, masks, how, split = FILES[name]
    for number, raw in enumerate(raws):
        picture(root / home / pictures.format(f"p_{number}"), raw.shape)
        mask(root / home / masks.format(f"p_{number}"), raw, how)
    if split:
        (root / home / split).parent.mkdir(parents=True, exist_ok=True)
        (root / home / split).write_text("".join(f"p_{number}\n" for number in range(len(raws))))
    if name == "context459":
        (root / home / "labels.txt").write_text("".join(f"{n}: thing {n}\n" for n in range(1, 460)))
    if name == "folder":
        (root / "classes.txt").write_text("dog\ncat\ngrass\n")
    return root
