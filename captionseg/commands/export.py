"""`captionseg export models/cocu-mil --to onnx`."""

from __future__ import annotations

from pathlib import Path

import click

from captionseg.commands.options import PATH, make_command


@make_command("export", "write a model as ONNX, or as a folder for a hub of models")
@click.argument("model", type=PATH)
@click.option(
    "--to",
    type=click.Choice(["onnx", "hub"]),
    required=True,
    help="onnx: pixels to scores of classes, with their embeddings as an input; hub: safetensors, "
    "config and card",
)
@click.option(
    "-o",
    "--out",
    type=PATH,
    help="file or, for a hub, empty folder to write (default: NAME.onnx or NAME-hub)",
)
@click.option(
    "--labels",
    default="",
    help="onnx: labels, separated by commas, whose embeddings are written to NAME.labels.npz",
)
@click.option(
    "--check",
    type=PATH,
    multiple=True,
    metavar="PICTURE",
    help="onnx: a file, or a folder of which ten are taken, that has to get the same labels by "
    "onnxruntime as by the model; may be given several times. Labels are --labels, or the first "
    "concepts of its training",
)
@click.option(
    "--license",
    "licence",
    default="",
    metavar="ID",
    help="hub: licence of the weights, for the card",
)
def command(
    model: Path, *, to: str, out: Path | None, labels: str, check: tuple[Path, ...], licence: str
) -> None:
    """Write a trained model for other programs.

    MODEL is the folder of a trained recipe. ONNX needs `pip install 'captionseg[export]'`.
    """
    from captionseg.text.typed_labels import read_labels

    name = model.absolute().name
    if to == "hub":
        from captionseg.inference.hub_folder import export_hub

        print(export_hub(model, out or Path(f"{name}-hub"), licence=licence))
        return
    from captionseg.inference.onnx_export import export_onnx

    lines = export_onnx(
        model,
        out or Path(f"{name}.onnx"),
        labels=read_labels(labels) if labels else [],
        pictures=list(check),
    )
    print("\n".join(lines))
