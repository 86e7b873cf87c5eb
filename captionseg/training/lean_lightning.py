"""What training takes of Lightning, imported without the packages that Lightning does not need.

Lightning imports torchmetrics, and torchmetrics imports transformers, torchvision, matplotlib and
scipy.signal wherever they are installed, for metrics that nothing here computes. That was half of
the time that a training process took to start. So they are hidden while it looks for them.

Every other module of the package imports Lightning's names from here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from lightning_utilities.core import imports

HIDDEN = ("matplotlib", "scipy", "torchvision", "transformers")


@contextmanager
def hide_packages(names: tuple[str, ...]) -> Iterator[None]:
    """Inside, lightning_utilities takes these packages for not installed. Who asked it then keeps
    the answer; the packages themselves can be imported as before.
    """
    check, available = imports.RequirementCache._check_requirement, imports.package_available

    def check_requirement(cache: imports.RequirementCache) -> None:
        if imports.Requirement(cache.requirement or "").name in names:
            cache.available, cache.message = False, "hidden"
        else:
            check(cache)

    def package_available(name: str) -> bool:
        return name not in names and available(name)

    with (
        patch.object(imports.RequirementCache, "_check_requirement", check_requirement),
        patch.object(imports, "package_available", package_available),
    ):
        yield


with hide_packages(HIDDEN):
    from lightning import LightningModule, Trainer, seed_everything
    from lightning.fabric.plugins import TorchCheckpointIO
    from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

__all__ = [
    "Callback",
    "DDPStrategy",
    "LightningEnvironment",
    "LightningModule",
    "ModelParallelStrategy",
    "TorchCheckpointIO",
    "TorchElasticEnvironment",
    "Trainer",
    "seed_everything",
]
