"""The joint image-text space of an index, saved for later stages."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from captionseg.encoders.alignment import Alignment
from captionseg.encoders.dense_head import DenseHead, build_alignment_head
from captionseg.encoders.encoder import Encoder, ReducibleEncoder, normalise
from captionseg.encoders.reduction import ReducedEncoder, Reduction
from captionseg.grids import MEAN, STD
from captionseg.records import Sigmoid, UserError, one_line
from captionseg.runtime.device import detect
from captionseg.runtime.params import Precision
from captionseg.runtime.weights import check_finite
from captionseg.storage.reading import read_json
from captionseg.storage.writing import write_json, write_tensors
from captionseg.typed import build

ENCODER = "encoder.json"


class PictureEncoder:
    """Encodes pictures with a frozen encoder, for models that run it.

    Args:
        towers: `towers` of the encoder.
        image: maps its pooled features to the joint space; None if they lie in it.
    """

    def __init__(
        self, towers: Callable[[Tensor], tuple[Tensor, Tensor]], image: DenseHead | None
    ) -> None:
        self.towers, self.image = towers, image

    def dense(self, image: Tensor) -> Tensor:
        """Return dense features [B, h, w, F] of normalised pictures [B, 3, H, W], see Inputs."""
        with torch.no_grad():
            return self.towers(denormalise(image))[1].float()

    def embed(self, image: Tensor) -> Tensor:
        """Embed normalised pictures [B, 3, H, W]: [B, D], not normalised, with gradients."""
        pooled = self.towers(denormalise(image))[0]
        return pooled if self.image is None else self.image.to(pooled.device)(pooled)


def denormalise(image: Tensor) -> Tensor:
    """Convert pictures [B, 3, H, W] normalised by ImageNet's mean and deviation to 0..255."""
    mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (MEAN, STD))
    return 255.0 * (image * std + mean)


@dataclass(frozen=True)
class TextSpace:
    """An encoder with its alignments.

    Attributes:
        encoder: the frozen encoder.
        image: maps pooled features to the joint space; None for an aligned encoder.
        dense: maps dense features to the joint space; None for an aligned encoder.
    """

    encoder: Encoder
    image: Alignment | None
    dense: Alignment | None

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Embed T texts: [T, D] float32, L2-normalised."""
        return self.encoder.text(texts)

    def project_pooled(self, pooled: np.ndarray) -> np.ndarray:
        """Map pooled features [.., P] to [.., D] float32, L2-normalised."""
        return self.image(pooled) if self.image else normalise(pooled)

    def project_dense(self, dense: np.ndarray) -> np.ndarray:
        """Map dense features [.., F] to [.., D] float32, L2-normalised."""
        if self.dense:
            return self.dense(dense)
        with torch.inference_mode():
            head, features = self.head(), torch.from_numpy(np.asarray(dense, np.float32))
            return normalise(head(features.to(head.weight.device)).cpu().numpy())

    def head(self) -> DenseHead:
        """Return the map of `project_dense` as a module, without normalisation."""
        if self.dense:
            return build_alignment_head(
                *(
                    torch.from_numpy(a)
                    for a in (self.dense.mean, self.dense.scale, self.dense.weight)
                )
            )
        assert self.encoder.head is not None, (
            "an encoder that is not aligned has its alignment in `dense`"
        )
        return self.encoder.head

    def build_picture_encoder(self) -> PictureEncoder:
        """Build the encoder of pictures for models that run the frozen encoder."""
        image = self.image and build_alignment_head(
            *(torch.from_numpy(a) for a in dataclasses.astuple(self.image))
        )
        return PictureEncoder(self.encoder.towers, image)

    def save(self, folder: Path, *, encoder: str, params: dict, precision: str) -> None:
        """Write encoder.json and alignment.safetensors; with the reduction, `load` needs no more.

        Args:
            folder: folder, created if needed.
            encoder: key of ENCODERS.
            params: fields of its params.
            precision: precision of the image tower.
        """
        folder.mkdir(parents=True, exist_ok=True)
        config = {"encoder": encoder, "params": params, "precision": precision}
        if learnt := find_sigmoid(self.encoder):
            config["sigmoid"] = learnt._asdict()
        write_json(config, folder / ENCODER)
        tensors = {
            f"{head}.{name}": np.ascontiguousarray(value)
            for head, alignment in (("image", self.image), ("dense", self.dense))
            if alignment
            for name, value in dataclasses.asdict(alignment).items()
        }
        write_tensors(tensors, folder / "alignment.safetensors")

    @staticmethod
    def load(folder: Path, *, device: str = "auto") -> TextSpace:
        """Load a space that `save` wrote, on a device.

        Raises:
            UserError: if the folder has none.
        """
        try:
            encoder = load_encoder(folder, device=device)
            tensors = load_file(folder / "alignment.safetensors")
            check_finite(
                {name: torch.from_numpy(array) for name, array in tensors.items()},
                folder / "alignment.safetensors",
            )
            heads = {
                head: {k.split(".")[1]: v for k, v in tensors.items() if k.startswith(head)}
                for head in ("image", "dense")
            }
            image, dense = (Alignment(**heads[h]) if heads[h] else None for h in ("image", "dense"))
        except OSError:
            raise UserError(f"{folder}: no encoder saved there; {advise(folder)}") from None
        except (ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            raise UserError(
                f"{folder}: not an encoder of this version ({one_line(error)}); {advise(folder)}"
            ) from None
        return TextSpace(encoder, image, dense)


def load_encoder(
    folder: Path, *, device: str = "auto", precision: Precision | None = None
) -> Encoder:
    """Load the encoder of a folder, with its reduction if it has one.

    Args:
        folder: its folder.
        device: auto, cpu, cuda or cuda:N.
        precision: precision of the image tower; None takes the saved one.

    Raises:
        UserError: if the folder has none.
    """
    from captionseg.encoders.encoders import ENCODERS

    wrong = f"{folder}: not an encoder of this version"
    try:
        config = json.loads((folder / ENCODER).read_text(encoding="utf-8"))
        params = build(ENCODERS[config["encoder"]], config["params"], "params")
        saved = build(Precision, config["precision"], "precision")
    except OSError:
        raise UserError(f"{folder}: no encoder saved there; {advise(folder)}") from None
    except (ValueError, KeyError, TypeError, UserError) as error:
        raise UserError(f"{wrong} ({one_line(error)}); {advise(folder)}") from None
    try:
        reduction = Reduction.load(folder)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"{wrong} ({one_line(error)}); {advise(folder)}") from None
    runtime = detect(device, precision or saved)
    encoder: ReducibleEncoder = params.build(runtime)
    return ReducedEncoder(encoder, reduction) if reduction else encoder


def find_sigmoid(encoder: Encoder) -> Sigmoid | None:
    """Return the scale and bias that an encoder was trained with, if it has any."""
    inner = encoder.encoder if isinstance(encoder, ReducedEncoder) else encoder
    return getattr(inner, "sigmoid", None)


def load_sigmoid(folder: Path) -> Sigmoid | None:
    """Load the scale and bias that `TextSpace.save` wrote; None if the encoder has none.

    Raises:
        UserError: for a file of another version.
    """
    if not (folder / ENCODER).exists():
        return None
    learnt = read_json(folder / ENCODER).get("sigmoid")
    try:
        return learnt and Sigmoid(float(learnt["scale"]), float(learnt["bias"]))
    except (KeyError, TypeError, ValueError):
        raise UserError(
            f"{folder / ENCODER}: sigmoid is {learnt!r}, not a scale and a bias; {advise(folder)}"
        ) from None


def advise(folder: Path) -> str:
    """Return the advice for a missing encoder, for an error message."""
    if folder.name == "encoder" and (folder.parent / "config.json").exists():
        return "name the recipe's folder, models/RECIPE, which training gave a copy of it"
    return "run `dvc repro index`"
