"""The outputs of a stage: only one run writes them at a time, and they appear together when it
succeeds.
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
PATIENCE = 1.0  # seconds between checks of a lock's holder
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP)


@contextlib.contextmanager
def lock_outputs(
    paths: Sequence[Path], *, root: Path, say: Callable[[str], None]
) -> Iterator[Callable[[], None]]:
    """Lock outputs for this process, whatever the params of other runs; wait until they are free.

    Each output has a kernel lock (flock) on a file in .work/locks, which is released when its
    process dies. There is no time limit, because a stage may run for days; the holder is printed.

    Args:
        paths: outputs, as given to the stage.
        root: root of the repository.
        say: called once per holder that is waited for, and if the file system has no locks.

    Yields:
        a function to call before outputs are moved into place; it checks that the locks still
        exist.

    Raises:
        UserError: by the yielded function, if the locks were deleted.
    """
    names = sorted({name_lock(path, root) for path in paths})
    with contextlib.ExitStack() as stack:
        files = []
        for name in names:
            file = root / LOCKS / f"{name}.lock"
            if stack.enter_context(hold_file(file, say)):
                files.append((file, _identity(file)))

        def sure() -> None:
            if lost := [file for file, known in files if _identity(file) != known]:
                raise UserError(
                    f"{lost[0]}: the lock of this run was deleted while it ran, so another run may "
                    "have started; no output was written, run it again"
                )

        yield sure


def name_lock(path: Path, root: Path) -> str:
    """Return the name of an output's lock; it does not depend on spelling or the checkout's
    place.
    """
    # The output itself is not resolved: it may be a link of DVC's, which will be replaced.
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
def hold_file(
    file: Path, say: Callable[[str], None], *, why: str = "writes the same outputs"
) -> Iterator[bool]:
    """Hold a lock, which is released if this process dies; yields False if the file system has no
    locks.

    Args:
        file: the lock; a file next to it names the holder.
        say: called once per holder that is waited for.
        why: what the holder does.
    """
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
                say(f"waiting for {holder}, which {why}; Ctrl-C stops waiting")
                announced = holder
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in NO_LOCKS:
                raise
            say(f"{file.parent}: this file system has no locks; make sure that no stage runs twice")
            yield False
            return
    try:
        with contextlib.suppress(OSError):  # a full disk; the note is only informative
            note.write_text(json.dumps(_describe_process()), encoding="utf-8")
        yield True
    finally:
        note.unlink(missing_ok=True)
        lock.release()


def _describe_process() -> str:
    """Describe this process."""
    words = [Path(word).name if n == 0 else word for n, word in enumerate(sys.argv[:2])]
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"{shlex.join(words)} (pid {os.getpid()} on {socket.gethostname()}, since {since})"


def _read_holder(note: Path) -> str:
    try:
        return str(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return "another run"


def move(source: Path, target: Path) -> None:
    """Move one output; see `move_all`."""
    move_all({source: target})


def move_all(outputs: Mapping[Path, Path]) -> None:
    """Rename outputs into place and replace existing ones; from another disk, via copies next to
    the targets.

    Everything that takes time or space happens before the first rename: a run that is killed or
    runs out of space leaves all old outputs, except during a few renames.

    Args:
        outputs: source -> target.

    Raises:
        RuntimeError: if the stage did not write an output, which is a bug.
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
    """Return the output, or a copy of it on the target's disk."""
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
    """Delete partial files of killed runs next to an output; the caller must hold its lock."""
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
