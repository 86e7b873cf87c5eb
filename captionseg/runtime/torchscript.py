"""Reads the tensors of a TorchScript archive, such as OpenAI's CLIP, without running code.

`torch.jit.load` compiles and runs code of the archive, and `torch.load(weights_only=True)` refuses
it. The archive is a ZIP: data.pkl describes a tree of modules, and data/N contains the numbers of
its tensors. The description, a pickle, is interpreted here opcode by opcode. Only the few names of
modules and tensors are accepted, and nothing is imported or called.
"""

from __future__ import annotations

import pickletools
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import torch
from torch import Tensor

DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
MOST = 100_000
"""Maximum number of modules of an archive, because a module may contain itself."""


class Name(NamedTuple):
    """The name of a class or a function in the archive; it is never looked up."""

    module: str
    name: str


class Module:
    """A module of the archive: only its attributes."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {}


def is_archive(path: Path) -> bool:
    """Return whether a file is a TorchScript archive: a ZIP of torch with code."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(
            part in name for name in archive.namelist() for part in ("/constants.pkl", "/code/")
        )


def read(path: Path) -> dict[str, Tensor]:
    """Read all tensors of an archive by their dotted names, as in the state dict.

    Raises:
        UnpicklingError: for an archive with anything other than modules and tensors.
        zipfile.BadZipFile, ValueError, KeyError, RuntimeError: for a damaged archive.
    """
    with zipfile.ZipFile(path) as archive:
        name = next((n for n in archive.namelist() if n.endswith("/data.pkl")), "")
        reader = Reader(archive, name.removesuffix("data.pkl"))
        for opcode, argument, _ in pickletools.genops(archive.read(name)):
            reader.step(opcode.name, argument)
        top = reader.stack[-1]
    out: dict[str, Tensor] = {}
    waiting, seen = [("", top)], 0
    while waiting:
        prefix, module = waiting.pop()
        if (seen := seen + 1) > MOST:
            raise ValueError(f"more than {MOST} modules")
        for key, value in module.state.items() if isinstance(module, Module) else ():
            if isinstance(value, Module):
                waiting.append((f"{prefix}{key}.", value))
            elif isinstance(value, Tensor):
                out[f"{prefix}{key}"] = value
    return out


class Reader:
    """Interprets data.pkl opcode by opcode, with values on a stack.

    Args:
        archive: the archive.
        prefix: folder of all its files.
    """

    def __init__(self, archive: zipfile.ZipFile, prefix: str) -> None:
        self.archive, self.prefix = archive, prefix
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[Any, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        """Execute an opcode with its argument.

        Raises:
            UnpicklingError: for an opcode that archives of modules and tensors do not need.
        """
        stack = self.stack
        if code in PLAIN:
            stack.append(PLAIN[code](argument))
        elif code in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = stack[-1]
        elif code in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif code == "BINPERSID":
            stack.append(read_numbers(stack.pop(), self.archive, self.prefix))
        elif code in ("NEWOBJ", "REDUCE", "BUILD"):
            second, first = stack.pop(), stack.pop()
            stack.append(rebuild(code, first, second))
        elif code not in ("PROTO", "FRAME", "STOP"):
            self.gather(code)

    def gather(self, code: str) -> None:
        """Execute an opcode of marks and containers.

        Raises:
            UnpicklingError: for any other opcode.
        """
        if code == "MARK":
            self.marks.append(len(self.stack))
            return
        if code not in ("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "APPENDS", "SETITEMS"):
            raise UnpicklingError(code)
        start = len(self.stack) - int(code[5]) if code[5:] in ("1", "2", "3") else self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        fill_container(code, self.stack, items)


PLAIN: dict[str, Any] = {
    "GLOBAL": lambda a: Name(*a.split(" ", 1)),
    "EMPTY_TUPLE": lambda _: (),
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "NONE": lambda _: None,
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
        lambda a: a,
    ),
}
"""Opcodes that push a value on the stack."""


def fill_container(code: str, stack: list[Any], items: list[Any]) -> None:
    """Push a tuple of items on the stack, or add the items to the list or dict on top of it."""
    if code.startswith("TUPLE"):
        stack.append(tuple(items))
    elif code == "APPENDS":
        stack[-1].extend(items)
    else:
        stack[-1].update(zip(items[::2], items[1::2], strict=True))


def rebuild(code: str, first: Any, second: Any) -> Any:
    """Execute an opcode that calls a function: build a module, a tensor, a list or a dict.

    Raises:
        UnpicklingError: for any other function.
    """
    if code == "BUILD" and isinstance(first, Module) and isinstance(second, dict):
        first.state = second
        return first
    if code == "NEWOBJ" and isinstance(first, Name) and first.module.split(".")[0] == "__torch__":
        return Module()
    if code == "REDUCE" and first == Name("torch._utils", "_rebuild_tensor_v2"):
        row, offset, size, stride = second[:4]
        return torch.as_strided(row, size, stride, offset).clone()
    if code == "REDUCE" and first == Name("collections", "OrderedDict"):
        return {}
    if code == "REDUCE" and isinstance(first, Name) and first.module == "torch.jit._pickle":
        return second[0]  # (list or dict, its type)
    raise UnpicklingError(str(first))


def read_numbers(pid: Any, archive: zipfile.ZipFile, prefix: str) -> Tensor:
    """Read the storage of a tensor as a tensor [count].

    Args:
        pid: ("storage", class, file, device, count).
        archive: the archive.
        prefix: folder of all its files.

    Raises:
        UnpicklingError: for an unknown class of storage.
    """
    _, kind, key, _, count = pid
    if not isinstance(kind, Name) or kind.module != "torch" or kind.name not in DTYPES:
        raise UnpicklingError(str(kind))
    dtype = DTYPES[kind.name]
    data = bytearray(archive.read(f"{prefix}data/{key}"))
    return (
        torch.frombuffer(data, dtype=dtype, count=count) if count else torch.empty(0, dtype=dtype)
    )
