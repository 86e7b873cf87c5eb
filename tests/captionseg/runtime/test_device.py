import pytest
import torch

from captionseg.records import UserError
from captionseg.runtime.device import Runtime, detect


def test_auto_takes_what_there_is(monkeypatch):
    for available, device in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda a=available: a)
        assert detect("auto", "bf16") == Runtime(device, "bf16")
    assert detect("cuda:1").device == "cuda:1"
    assert detect("cpu").device == "cpu"


def test_a_gpu_that_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(
        UserError, match="device 'cuda:0': no CUDA GPU is visible; use device auto or cpu"
    ):
        detect("cuda:0")


def test_a_device_that_nobody_knows_is_one_line():
    with pytest.raises(UserError, match="device 'gpu'"):
        detect("gpu")


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)],
)
def test_matrix_products_run_in_the_precision(precision, dtype):
    a = torch.ones(2, 2)
    with Runtime("cpu", precision).autocast():
        assert (a @ a).dtype == dtype
    assert (a @ a).dtype == torch.float32


def test_prepared_modules_are_in_evaluation_mode():
    module = Runtime().prepare(torch.nn.Conv2d(3, 4, 3))
    assert not module.training
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert Runtime().to(torch.ones(1)).device.type == "cpu"


@pytest.mark.parametrize("device", ["meta", "mps", "xpu:0", "tpu"])
def test_a_kind_of_device_that_nothing_runs_on_is_one_line(device):
    with pytest.raises(UserError, match="no such device"):
        detect(device)


def test_a_gpu_beyond_the_last_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert detect("cuda:1").device == "cuda:1"
    with pytest.raises(UserError, match=r"'cuda:2': no such GPU; the last is cuda:1"):
        detect("cuda:2")
