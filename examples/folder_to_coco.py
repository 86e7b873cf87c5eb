"""Segments all pictures of a folder and writes their masks as one file of COCO's JSON.

    python examples/folder_to_coco.py pictures masks.json zebra grass sky

One picture is in memory at a time. Its file can be read by pycocotools, FiftyOne or CVAT.
"""

import json
import sys
from pathlib import Path

import captionseg

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


def main(folder: str, out: str, *labels: str) -> None:
    """Segment a folder.

    Args:
        folder: that holds pictures.
        out: file to write.
        labels: words.
    """
    pictures = [p for p in sorted(Path(folder).iterdir()) if p.suffix.lower() in SUFFIXES]
    model = captionseg.load()
    data = captionseg.to_coco(model.stream(pictures, labels))
    Path(out).write_text(json.dumps(data), encoding="utf-8")
    print(f"{out}: {len(data['images'])} pictures, {len(data['annotations'])} masks")


if __name__ == "__main__":
    main(*sys.argv[1:])
