"""One supervisor per state directory; the kernel takes the lock back when its process dies."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from rekey_local.errors import LocalError, RunningError
from rekey_local.layout import Layout, private_directory


@contextmanager
def exclusively(layout: Layout) -> Iterator[None]:
    """Hold the state directory.

    Raises:
        RunningError: another process holds it; names its pid.
        LocalError: it cannot be a directory of ours.
    """
    try:
        private_directory(layout.root)
        held = layout.lock.open("a+")
    except OSError as error:
        message = f"{layout.root} cannot be used: {error.strerror}"
        raise LocalError(message, hint="give another directory with --state") from error
    with held as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            message = f"{layout.root} is in use by process {file.read().strip() or 'unknown'}"
            raise RunningError(
                message, hint="stop it with Ctrl-C, or give another directory with --state"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def forget(layout: Layout) -> None:
    """Delete everything but the lock, which must be held."""
    for entry in layout.root.iterdir():
        if entry == layout.lock:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


@contextmanager
def one_after_the_other(layout: Layout) -> Iterator[None]:
    """Whoever changes who is who waits for the one before: each trust document stands on the one before."""
    with (layout.enrolment / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
