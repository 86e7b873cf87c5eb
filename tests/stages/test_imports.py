"""What stages and the command line do not import: it would cost each of their processes seconds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys

def read(stage):
    params, names = Params("params.yaml"), import_stage(stage).PARAMS
    for name in names:
        if "{" not in name:
            params.value(name) if "." in name else getattr(params, name)

def check(what, *absent):
    loaded = sorted(set(absent) & set(sys.modules))
    assert not loaded, f"{what} imports {loaded}"

PICTURES = "matplotlib", "jinja2"
HEAVY = "aiohttp", "great_expectations", "lightning", "mlflow", "open_clip", "pandas", "ray"
TORCH = "sympy", "timm", "torch._dynamo", "torchvision", "transformers"
from captionseg import cli
check("the command line", "torch", "numpy", *PICTURES, *HEAVY)
from stages.run import Params, import_stage
for stage in ("caption", "download", "regions"):
    read(stage)
    check(stage, "scipy", "torch", *PICTURES, *HEAVY, *TORCH)
for stage in ("index", "curate", "segment_text", "evaluate"):
    read(stage)
    check(stage, *PICTURES, *HEAVY, *TORCH)
import captionseg.inference.predictor, captionseg.reporting.overlay
from captionseg.encoders.lite0_minilm import load_image_tower, load_text_tower
load_image_tower(), load_text_tower()
check("segment, with the default encoder", *PICTURES, *HEAVY, *TORCH)
for stage in ("compare", "report"):
    read(stage)
    check(stage, *HEAVY, *TORCH)
"""


def test_processes_import_no_library_that_they_have_no_use_for():
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr.strip().splitlines()[-1]
