"""Small trees in the official layout of every published benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coco
from scipy.io import savemat

SIZE = (12, 16)  # height, width of every picture
VOC, CONTEXT, COCO = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010", ""


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Noise, of a fixed seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(
        path
    )


def mask(path: Path, raw: np.ndarray, how: str = "P") -> None:
    """A mask file: palette (P) or index (L) PNG, R + 256 G (RGB), 16 bits (tif), or .mat."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if how == "mat":
        savemat(path, {"LabelMap": raw.astype(np.uint16)})
    elif how == "RGB":
        Image.fromarray(np.stack([raw % 256, raw // 256, 0 * raw], -1).astype(np.uint8)).save(path)
    elif how == "tif":
        Image.fromarray(raw.astype(np.uint16)).save(path)
    else:
        image = Image.fromarray(raw.astype(np.uint8))
        if how == "P":
            image.putpalette(
                np.random.default_rng(1).integers(0, 255, 768, dtype=np.uint8).tobytes()
            )
        image.save(path)


# benchmark: home, picture, mask, kind of mask, list of the split
FILES = {
    "voc": (
        VOC,
        "JPEGImages/{}.jpg",
        "SegmentationClass/{}.png",
        "P",
        "ImageSets/Segmentation/val.txt",
    ),
    "context": (CONTEXT, "JPEGImages/{}.jpg", "trainval/{}.mat", "mat", "ImageSets/Main/val.txt"),
    "coco_stuff": (COCO, "images/val2017/{}.jpg", "annotations/val2017/{}.png", "L", ""),
    "cityscapes": (
        "",
        "leftImg8bit/val/bonn/{}_leftImg8bit.png",
        "gtFine/val/bonn/{}_gtFine_labelIds.png",
        "L",
        "",
    ),
    "ade20k": (
        "ADEChallengeData2016",
        "images/validation/{}.jpg",
        "annotations/validation/{}.png",
        "L",
        "",
    ),
    "ade20k_full": (
        "ADE20K_2021_17_01",
        "images_detectron2/validation/{}.jpg",
        "annotations_detectron2/validation/{}.tif",
        "tif",
        "",
    ),
    "imagenet_s50": (
        "ImageNetS50",
        "validation/n01/{}.JPEG",
        "validation-segmentation/n01/{}.png",
        "RGB",
        "",
    ),
    "imagenet_s300": (
        "ImageNetS300",
        "validation/n01/{}.JPEG",
        "validation-segmentation/n01/{}.png",
        "RGB",
        "",
    ),
    "folder": ("", "images/{}.webp", "masks/{}.png", "P", ""),
}
FILES |= {
    "voc20": FILES["voc"],
    "context59": FILES["context"],
    "context459": FILES["context"],
    "coco_object": FILES["coco_stuff"],
}


def write_tree(root: Path, name: str, raws: list[np.ndarray]) -> Path:
    """A benchmark's folder with one picture for each array of raw values, and the files beside
    them.
    """
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


def write_imagenet(root: Path, labels: list[int]) -> Path:
    """1000 folders of classes, and a picture for each label."""
    for number in range(1000):
        (root / "val" / f"n{number:08d}").mkdir(parents=True)
    for number, label in enumerate(labels):
        picture(root / "val" / f"n{label:08d}" / f"ILSVRC2012_val_{number:08d}.JPEG")
    return root


def write_coco(path: Path, names: list[str], pictures: list[list[tuple[int, object]]]) -> None:
    """COCO's JSON: names of categories, and of each picture the category and segmentation of its
    instances.
    """
    annotations = [
        {
            "id": 1,
            "image_id": image,
            "category_id": category,
            "segmentation": segmentation,
            "iscrowd": 0,
        }
        for image, rows in enumerate(pictures)
        for category, segmentation in rows
    ]
    height, width = SIZE
    images = [
        {"id": n, "file_name": f"n01_{n}.JPEG", "height": height, "width": width}
        for n in range(len(pictures))
    ]
    categories = [
        {"id": n, "name": name, "supercategory": name.split()[0]} for n, name in enumerate(names)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )


def rle(mask: np.ndarray, *, compressed: bool = True) -> dict:
    """Run lengths of bool [H, W]."""
    if compressed:
        found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": [int(n) for n in found["size"]], "counts": found["counts"].decode()}
    flat = np.concatenate([[False], mask.T.ravel(), [not mask.T.ravel()[-1]]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(mask.shape), "counts": np.diff(np.concatenate([[0], edges])).tolist()}


def write_parts(root: Path) -> Path:
    """Two pictures: left half a quadruped's head, right half its body, as run lengths of both kinds
    and polygons.
    """
    height, width = SIZE
    left = np.zeros(SIZE, bool)
    left[:, : width // 2] = True
    box = [width // 2, 0, width, 0, width, height, width // 2, height]
    write_coco(
        root / "annotations" / "val" / "val.json",
        ["Quadruped Head", "Quadruped Body", "Car Tier"],
        [[(0, rle(left)), (1, [box])], [(0, rle(left, compressed=False)), (1, rle(~left))]],
    )
    for number in range(2):
        picture(root / "images" / "val" / f"n01_{number}.JPEG")
    return root


def write_own(root: Path, world) -> Path:
    """The data of a run, where a checkout has them."""
    (root / "data").mkdir(parents=True)
    for name in ("pairs", "truth", "features", "index", "regions"):
        (root / "data" / name).symlink_to(getattr(world, name))
    return root
