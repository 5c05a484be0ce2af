"""Who holds a lease: a process of a machine, of which may be known that it is no more."""

from __future__ import annotations

import os
import socket
import uuid


def new_owner() -> str:
    """A name for this process, and for one opening of a file by it."""
    return f"{machine()}:{os.getpid()}:{uuid.uuid4().hex}"


def machine() -> str:
    """Where process numbers mean the same: a host, or a container on it."""
    try:
        space = os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link into the kernel, not a file to follow
    except OSError:
        space = 0
    return f"{socket.gethostname()}/{space}"


def is_dead(owner: str) -> bool:
    """Whether a lease's owner is known to have died: a process of this machine that is no more.

    A number that another process bears by now only means that the lease is waited out.
    """
    its_machine, number, _ = owner.rsplit(":", 2)
    if os.name != "posix" or its_machine != machine():
        return False
    try:
        os.kill(int(number), 0)
    except OSError as error:
        return isinstance(error, ProcessLookupError)  # that we may not signal it means that it lives
    return False
