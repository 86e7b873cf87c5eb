"""Training starts without packages that it does not use, and they can still be imported."""

import subprocess
import sys

import pytest
from lightning_utilities.core import imports

from captionseg.training.lean_lightning import HIDDEN, hide_packages

START = """
import sys
import captionseg.training.fit
loaded = {"matplotlib", "scipy.signal", "torchvision", "transformers"} & set(sys.modules)
assert not loaded, loaded
import torchvision, transformers
"""


def test_training_loads_none_of_them_and_they_can_be_imported_afterwards():
    subprocess.run([sys.executable, "-c", START], check=True, timeout=300)


@pytest.mark.parametrize("name", HIDDEN)
def test_a_package_is_hidden_inside_alone(name):
    with hide_packages(HIDDEN):
        assert not imports.RequirementCache(f"{name}>=0.1")
        assert not imports.package_available(name)
        assert imports.RequirementCache("numpy>=1.0")
        assert imports.package_available("numpy")
    assert imports.RequirementCache(f"{name}>=0.1")
    assert imports.package_available(name)
