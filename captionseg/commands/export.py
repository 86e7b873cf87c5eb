"""`captionseg export models/cocu-mil --to onnx`."""

from __future__ import annotations

import argparse
from pathlib import Path


def add(commands: argparse._SubParsersAction) -> None:
    """Add `export` and its arguments."""
    one = commands.add_parser(
        "export",
        help="write a model as ONNX, or as a folder for a hub of models",
        description=run.__doc__,
    )
    one.add_argument("model", type=Path, help="folder of a trained recipe")
    one.add_argument(
        "--to",
        choices=["onnx", "hub"],
        required=True,
        help="onnx: pixels to scores of classes, with their embeddings as an input; hub: "
        "safetensors, config and card",
    )
    one.add_argument(
        "--out",
        type=Path,
        help="file or, for a hub, empty folder to write (default: NAME.onnx or NAME-hub)",
    )
    one.add_argument(
        "--labels",
        default="",
        help="onnx: labels, separated by commas, whose embeddings are written to NAME.labels.npz",
    )
    one.add_argument(
        "--check",
        type=Path,
        nargs="+",
        default=[],
        metavar="PICTURE",
        help="onnx: files, or folders of which ten are taken, that have to get the same labels by "
        "onnxruntime as by the model; --labels, or the first concepts of its training",
    )
    one.add_argument(
        "--license", default="", metavar="ID", help="hub: licence of the weights, for the card"
    )
    one.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> None:
    """Write a trained model for other programs. ONNX needs `pip install 'captionseg[export]'`."""
    from captionseg.text.typed_labels import read_labels

    name = arguments.model.absolute().name
    if arguments.to == "hub":
        from captionseg.inference.hub_folder import export_hub

        out = arguments.out or Path(f"{name}-hub")
        print(export_hub(arguments.model, out, licence=arguments.license))
        return
    from captionseg.inference.onnx_export import export_onnx

    lines = export_onnx(
        arguments.model,
        arguments.out or Path(f"{name}.onnx"),
        labels=read_labels(arguments.labels) if arguments.labels else [],
        pictures=arguments.check,
    )
    print("\n".join(lines))
