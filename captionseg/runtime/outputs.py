"""The outputs of a stage: one run at a time writes them, and they appear together when it has ended
well.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from captionseg.records import UserError

LOCKS = Path(".work", "locks")
PATIENCE = 1.0  # seconds between two looks at who has a lock
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def lock_outputs(
    paths: Sequence[Path], *, root: Path, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """These outputs for this process alone, whatever params another run of their stage has; waits
    until they are.

    A lock is the kernel's (flock), of a file in .work/locks for each output: that of a process
    which died, in whatever way, is free at once. The wait has no end of its own, for a stage may
    run for days; whoever waits says for whom.

    Args:
        paths: outputs, as the stage was told them.
        root: of the repository.
        say: is told, once for each holder that is waited for, who that is; and if there are no
            locks here.

    Yields:
        to be called before anything is moved into place: makes sure that the locks are still there.

    Raises:
        UserError: from what is yielded, if somebody deleted them.
    """
    names = sorted({name_lock(path, root) for path in paths})
    with contextlib.ExitStack() as stack:
        files = []
        for name in names:
            file = root / LOCKS / f"{name}.lock"
            if stack.enter_context(_lock_file(file, say)):
                files.append((file, _identity(file)))

        def sure() -> None:
            if lost := [file for file, known in files if _identity(file) != known]:
                raise UserError(
                    f"{lost[0]}: the lock of this run was deleted while it ran, so another run may "
                    "have started; no output was written, run it again"
                )

        yield sure


def name_lock(path: Path, root: Path) -> str:
    """Of an output, however it is spelt and wherever the checkout is moved to."""
    # Not what the output itself may be a link to: that is replaced, and DVC links to a place of
    # each content.
    place = os.path.relpath(
        os.path.join(os.path.realpath(path.parent), path.name), os.path.realpath(root)
    )
    return f"{Path(place).name}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}"


def _identity(file: Path) -> tuple[int, int] | None:
    try:
        status = file.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _lock_file(file: Path, say: Callable[[str], None]) -> Iterator[bool]:
    """A lock; False where the file system has none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lock, note, announced = (
        FileLock(file, fallback_to_soft=False),
        file.with_suffix(".holder"),
        None,
    )
    while True:
        try:
            lock.acquire(timeout=PATIENCE if announced else 0, poll_interval=0.1)
            break
        except Timeout:
            if (holder := _read_holder(note)) != announced:
                say(f"waiting for {holder}, which writes the same outputs; Ctrl-C stops waiting")
                announced = holder
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            say(f"{file.parent}: this file system has no locks; make sure that no stage runs twice")
            yield False
            return
    try:
        with contextlib.suppress(OSError):  # a full disk: it says who waits for whom, no more
            note.write_text(json.dumps(_describe_process()), encoding="utf-8")
        yield True
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _describe_process() -> str:
    """This process, in words."""
    words = [Path(word).name if n == 0 else word for n, word in enumerate(sys.argv[:2])]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"{shlex.join(words)} (pid {os.getpid()} on {socket.gethostname()}, since {since})"


def _read_holder(note: Path) -> str:
    try:
        return str(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return "another run"


def move(source: Path, target: Path) -> None:
    """One output, see `move_all`."""
    move_all({source: target})


def move_all(outputs: Mapping[Path, Path]) -> None:
    """Rename outputs into place, over what is there; from another disk, by way of copies beside
    their places.

    Whatever takes time or room comes before the first of them is in place: a run that is killed or
    finds no room leaves all of what was there, but for the moment that a few renames take.

    Args:
        outputs: where each one lies -> where it goes.

    Raises:
        RuntimeError: if the stage left one out, which is a mistake of ours.
    """
    for source, target in outputs.items():
        if not source.exists():
            raise RuntimeError(f"the stage ended without writing {target}")
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
    copies: list[Path] = []
    renamed: list[tuple[Path, Path]] = []
    try:
        near = [_copy_near(source, target, copies) for source, target in outputs.items()]
        for part, target in zip(near, outputs.values(), strict=True):
            if os.path.lexists(target):
                _rename(target, _name_part(target, "old"), renamed)
            _rename(part, target, renamed)
    except BaseException:
        for before, now in reversed(renamed):
            os.rename(now, before)
        for part in copies:
            _remove(part)
        raise
    for source, target in outputs.items():
        _remove(_name_part(target, "old"))
        _remove(source)  # where it was copied; after a rename there is none


def _copy_near(source: Path, target: Path, copies: list[Path]) -> Path:
    """The output, or its copy, on the disk that it goes to."""
    if source.stat().st_dev == target.parent.stat().st_dev:
        return source
    part = _name_part(target, "new")
    copies.append(part)
    if source.is_dir():
        shutil.copytree(source, part, symlinks=True)
    else:
        shutil.copy2(source, part)
    return part


def _rename(before: Path, now: Path, renamed: list[tuple[Path, Path]]) -> None:
    os.rename(before, now)
    renamed.append((before, now))


def _name_part(target: Path, what: str) -> Path:
    return target.with_name(f".{target.name}.{os.getpid()}.{what}.part")


def _sweep(target: Path) -> None:
    """Delete what runs that were killed left beside an output; nobody else may be writing it."""
    ours = re.compile(rf"\.{re.escape(target.name)}\.\d+(\.new|\.old)?\.part")
    for entry in [*target.parent.iterdir()]:
        if ours.fullmatch(entry.name):
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
