"""The frozen encoder as a part of a model that is neither saved, trained nor synchronised with
it."""

from __future__ import annotations

from typing import Generic, TypeVar

from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


class Attached(Generic[M]):
    """A frozen module beside its model's own; it comes to the device of whatever it is used on.

    Args:
        module: frozen here.
    """

    def __init__(self, module: M) -> None:
        self.module: M = module.eval().requires_grad_(False)

    def on(self, tensor: Tensor) -> M:
        """The module on the device of a tensor."""
        return self.module.to(tensor.device)
