"""Two processes that train together, by gloo on the CPU, against one with the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

SCRIPT = '''
import sys
from pathlib import Path
import numpy as np
import torch
from safetensors.torch import save_file
from captionseg.encoders.dense_head import HeadConfig
from captionseg.modeling.layers.grounder import GrounderConfig
from captionseg.modeling.tcl import Tcl, TclConfig
from captionseg.modeling.segmenter import Reads
from captionseg.training import PretrainParams
from captionseg.training.curve import Curve
from captionseg.training.fit import fit
from captionseg.training.loader import TrainingSet

out, devices = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
class Rows:
    def __init__(self, array): self.array, self.shape = array, array.shape
    def __getitem__(self, rows): return self.array[rows]
count, width, text = 32, 6, 5
caption = rng.standard_normal((count, text)).astype(np.float16)
concepts = np.arange(count)[:, None]
data = TrainingSet(
    np.arange(count), Rows(np.zeros((count, 1, 4), np.float16)), np.ones(count), caption,
    [str(c) for c in range(count)], rng.standard_normal((count, text)).astype(np.float32), concepts,
    np.ones((count, 1)), np.full((count, 1), -1), concepts, concepts,
    dense=Rows(rng.standard_normal((count, 3, 3, width)).astype(np.float16)), reads=Reads(dense=True))
torch.manual_seed(0)
config = TclConfig(GrounderConfig(HeadConfig(width, text, hidden=7), dropout=0.0), noise=0.0, bias=0.0, late_from=0.5)
model = Tcl(config)
for parameter in model.parameters():
    parameter.data += 0.1 * torch.randn_like(parameter)
model.frozen.load_state_dict(model.grounder.head.state_dict())
first = {k: v.clone() for k, v in model.state_dict().items()}
states = []
params = PretrainParams(epochs=2, batch=16 // devices, learning_rate=1e-2, device="cpu", devices=devices)
rank = int(__import__("os").environ.get("LOCAL_RANK", 0))
def score(model):
    states.append({k: v.clone() for k, v in model.state_dict().items()})
    return float(len(states))
fit(model, data, params, seed=0, score=score, curve=Curve(out / f"{rank}.csv", 0, lambda *_: None), work=out / "work")
for name, state in (("first", first), ("half", states[0]), ("last", states[1])):
    save_file({k: v.contiguous() for k, v in state.items()}, out / f"{name}_{rank}.safetensors")
'''


def run(folder: Path, devices: int) -> None:
    folder.mkdir()
    script = folder / "train.py"
    script.write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run([sys.executable, str(script), str(folder), str(devices)], env=environment, text=True,
                          capture_output=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]


def state(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_a_part_that_trains_late_is_the_same_on_every_rank(tmp_path):
    """The copied block rests in the first epoch and trains in the second; two ranks end where one process does."""
    run(tmp_path / "two", 2)
    run(tmp_path / "one", 1)
    first, half = (state(tmp_path / "one" / f"{name}_0.safetensors") for name in ("first", "half"))
    late = [k for k in first if k.startswith("grounder.head.block")]
    assert len(late) == 12
    assert all(torch.equal(first[k], half[k]) for k in late)
    assert not torch.equal(first["grounder.head.weight"], half["grounder.head.weight"])
    alone = state(tmp_path / "one" / "last_0.safetensors")
    assert all(not torch.equal(half[k], alone[k]) for k in late)
    ranks = [state(tmp_path / "two" / f"last_{rank}.safetensors") for rank in range(2)]
    for key, value in alone.items():
        assert torch.equal(ranks[0][key], ranks[1][key]), key
        torch.testing.assert_close(ranks[0][key], value, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k}: {m}")
