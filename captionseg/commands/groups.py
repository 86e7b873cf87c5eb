"""`captionseg groups picture.jpg --model models/groupvit`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, add_device, make_command


@make_command("groups", "which group of a grouping model took which part of a picture")
@click.argument("picture", type=PATH)
@click.option(
    "--model",
    required=True,
    metavar="FOLDER",
    help="folder of a trained groupvit or ovsegmentor, or of a GroupViT of transformers",
)
@click.option(
    "--labels",
    help="words, separated by commas, of which each group is given the one that fits it best "
    "(default: the concepts of the model's training, if they are known)",
)
@click.option(
    "-o", "--out", type=PATH, help="picture to write (default: PICTURE_groups.png in this folder)"
)
@add_device
def command(picture: Path, model: str, labels: str | None, out: Path | None, device: str) -> None:
    """Draw the groups of each stage of a grouping model over a PICTURE, which it sees whole, and
    print the share of each group of the last stage with the word that fits it best.
    """
    from captionseg.runtime.start_up import collect_nothing

    with collect_nothing():
        import numpy as np

        from captionseg.api.group_pictures import draw_groups
        from captionseg.api.model import load
        from captionseg.api.pictures import read
        from captionseg.inference.groups import find_groups, name_groups
        from captionseg.records import UserError
        from captionseg.reporting.overlay import check_writable, write_picture
        from captionseg.text.typed_labels import read_labels

    words = read_labels(labels) if labels is not None else []
    out = out or Path(f"{picture.stem}_groups.png")
    check_writable(out)
    if out.exists() and picture.exists() and out.samefile(picture):
        raise UserError(f"{picture}: is the input picture; choose another file")
    image = read(picture).image
    loaded = load(model, device=device)
    groups = find_groups(loaded.predictor, image)
    words = words or loaded.concepts
    named = name_groups(loaded.predictor, groups, words) if words else []
    names = [name for name, _ in named]
    drawn = draw_groups(image, groups.stages, groups.counts, names)
    write_picture(np.asarray(drawn), out)
    shares = np.bincount(groups.stages[-1].ravel(), minlength=groups.counts[-1])
    for group in np.argsort(-shares, kind="stable").tolist():
        word = f"  {named[group][0]} {named[group][1]:.2f}" if named else ""
        print(f"group {group:<3} {100 * shares[group] / image[..., 0].size:5.1f} %{word}")
    print(out)
