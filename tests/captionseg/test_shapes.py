"""Shapes that signatures name are checked while tests run."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator

import jaxtyping
import numpy as np
import pytest
import torch

from captionseg import metrics
from captionseg.encoders.alignment import Alignment
from captionseg.losses.contrastive import contrastive_loss
from captionseg.model_inputs import Inputs
from captionseg.modeling.layers.transformer import SelfAttention
from tests.conftest import CHECKED

ARRAY = re.compile(r"\w+\[(np\.ndarray|(torch\.)?Tensor), ")


def modules() -> Iterator[str]:
    """All that are checked, with those inside of packages."""
    for name in CHECKED:
        yield name
        path = getattr(importlib.import_module(name), "__path__", ())
        yield from (module.name for module in pkgutil.iter_modules(path, f"{name}."))


def functions(holder: object) -> Iterator[object]:
    """Those that a module or a class defines itself, methods too."""
    home = getattr(holder, "__module__", None) or holder.__name__
    for value in vars(holder).values():
        value = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if getattr(value, "__module__", None) == home:
            if inspect.isclass(value):
                yield from functions(value)
            elif hasattr(value, "__annotations__"):
                yield inspect.unwrap(value)


@pytest.mark.parametrize("name", list(modules()))
def test_every_shape_can_be_read(name):
    """One that cannot be evaluated would be taken for anything, and nobody would hear of it."""
    for function in functions(importlib.import_module(name)):
        for hint in filter(ARRAY.search, map(str, function.__annotations__.values())):
            eval(hint, function.__globals__)


def test_an_argument_of_another_shape_fails():
    one, other = torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError, match="candidate"):
        contrastive_loss(one, other.T, other)


def test_an_argument_of_another_type_fails():
    with pytest.raises(jaxtyping.TypeCheckError, match="predicted"):
        metrics.areas(np.zeros((2, 2)), np.zeros((2, 2), np.uint8), 3)


def test_a_method_is_checked_too():
    with pytest.raises(jaxtyping.TypeCheckError, match="mask"):
        SelfAttention(4, 2)(torch.zeros(1, 5, 4), torch.ones(1, 4, dtype=torch.bool))


def test_a_dataclass_is_checked_too():
    vector = np.zeros(3, np.float32)
    with pytest.raises(jaxtyping.TypeCheckError, match="weight"):
        Alignment(vector, vector, np.zeros((2, 4), np.float32))


def test_records_are_of_one_batch():
    regions, mask = torch.zeros(2, 5, 3), torch.ones(2, 5, dtype=torch.bool)
    labels = torch.zeros(2, 4, 4, dtype=torch.uint8)
    assert Inputs(regions, mask, labels, (4, 4)).region_mask is mask
    with pytest.raises(jaxtyping.TypeCheckError, match="region_mask"):
        Inputs(regions, mask[:, :4], labels, (4, 4))
    with pytest.raises(jaxtyping.TypeCheckError, match="labels"):
        Inputs(regions, mask, labels[:1], (4, 4))


def test_a_result_of_another_shape_fails(monkeypatch):
    monkeypatch.setattr(metrics.np, "stack", lambda rows: np.zeros((2, 3), np.int64))
    with pytest.raises(jaxtyping.TypeCheckError, match="return"):
        metrics.areas(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8), 3)


def test_nothing_is_checked_outside_tests():
    """A wrong shape goes as far as it did without annotations, and beartype is not imported."""
    code = (
        "import sys, numpy as np\n"
        "from captionseg.metrics import boundary\n"
        "boundary(np.zeros((2, 2, 2)))\n"
        "assert 'beartype' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
