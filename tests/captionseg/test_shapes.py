"""Shapes that signatures name are checked while tests run."""

import subprocess
import sys

import jaxtyping
import numpy as np
import pytest
import torch

from captionseg import metrics
from captionseg.encoders.alignment import Alignment
from captionseg.losses.contrastive import contrastive
from captionseg.modeling.layers.transformer import SelfAttention


def test_an_argument_of_another_shape_fails():
    one, other = torch.zeros(2, 3), torch.zeros(3, 2, dtype=torch.bool)
    with pytest.raises(jaxtyping.TypeCheckError, match="candidate"):
        contrastive(one, other.T, other)


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
