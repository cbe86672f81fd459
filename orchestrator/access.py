"""Who may write where: a storage that a group shares, and the one line for whoever may not."""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainers.errors import UserError

DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}

SHARED_BITS = stat.S_ISGID | stat.S_IWGRP
"""Of the mode of a folder that belongs to a group: what is made in it is of the group, and its members may write."""

GROUP_BITS = 0o070

PROBED = ("", "artifacts", "artifacts/*", "partial", "sweeps", "leaderboard", "leaderboard/*", "fingerprints", "pinned",
          "quarantine")  # fmt: skip
"""Folders below a storage that every run writes to, whoever made them."""

_own_umask: list[int] = []
"""The umask that this process was started with, once it has been changed."""


def is_shared(folder: Path) -> bool:
    """Whether the mode of a folder says that a group writes there."""
    return folder.stat().st_mode & SHARED_BITS == SHARED_BITS


def write_for_group(storage: Path) -> None:
    """Let what this process makes from now on be writable by the group, where the storage is a group's.

    The folder's own bits decide, or where the storage is still to be made those of the folder around it; the group
    itself is the file system's to hand on (setgid). An ordinary storage changes nothing.
    """
    if is_shared(_nearest(storage)):
        before = os.umask(0o077)
        os.umask(before & ~GROUP_BITS)
        if not _own_umask:
            _own_umask.append(before)


@contextmanager
def own_umask() -> Iterator[None]:
    """As this process was started: for what lies outside of the storage, such as Ray's sockets."""
    if not _own_umask:
        yield
        return
    shared = os.umask(_own_umask[0])
    try:
        yield
    finally:
        os.umask(shared)


def require_access(storage: Path) -> None:
    """Refuse a storage with a folder that every run writes to and this user cannot.

    Raises:
        UserError: with the folder and the command that cures it.
    """
    for pattern in PROBED:
        for folder in sorted(storage.glob(pattern)) if pattern else [storage]:
            is_ours = folder.is_dir() and not folder.name.startswith(".")
            if is_ours and not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                raise UserError(no_access(folder, storage))


def unshared(storage: Path) -> Iterator[tuple[Path, str, str]]:
    """Of each folder of a storage, what keeps this user, or its group, from writing in it: where, why, and the cure.

    Nothing for whoever only reads in the storage.
    """
    if not os.access(storage, os.W_OK, effective_ids=True):
        return
    for top in [storage, *sorted(path for path in storage.glob("[!.]*") if path.is_dir())]:
        closed = [(folder, why) for folder in _folders(top, storage) if (why := _why_closed(folder, storage))]
        if closed:
            folder, why = closed[0]
            more = f", and {len(closed) - 1} more folders below {top}" if len(closed) > 1 else ""
            group = storage.stat().st_gid if is_shared(storage) else os.getegid()
            yield folder, why + more, share_command(folder if len(closed) == 1 else top, group)


def _folders(top: Path, storage: Path) -> Iterator[Path]:
    """``top`` and, unless it is the storage itself, all folders below it that others may have to write in."""
    yield top
    if top != storage and top.name != "quarantine":
        for parent, names, _ in os.walk(top):
            names[:] = [name for name in names if not name.startswith(".")]
            published = top.name == "artifacts" and Path(parent).parent == top
            yield from () if published else (Path(parent) / name for name in names)
            names[:] = [] if published else names


def _why_closed(folder: Path, storage: Path) -> str | None:
    try:
        mode, group = folder.stat().st_mode, folder.stat().st_gid
    except FileNotFoundError:  # Its owner is done with it.
        return None
    if is_shared(storage) and (mode & SHARED_BITS != SHARED_BITS or group != storage.stat().st_gid):
        name = _name(grp.getgrgid, storage.stat().st_gid)
        return f"the group {name} of the storage cannot write here ({stat.filemode(mode)})"
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        return f"{_name(pwd.getpwuid, os.geteuid())} cannot write here ({stat.filemode(mode)})"
    return None


def is_denied(error: BaseException, storage: Path | None = None) -> bool:
    """Whether an error says that a file (below ``storage``, where one is given) may not be read or written."""
    if not isinstance(error, OSError) or error.errno not in DENIED or error.filename is None:
        return False
    return storage is None or denied_path(error).resolve().is_relative_to(storage.resolve())


def denied_path(error: BaseException) -> Path:
    """The file that an error of ``is_denied`` names."""
    return Path(os.fsdecode(getattr(error, "filename", ".")))


def no_access(path: Path, storage: Path | None = None) -> str:
    """One line: who may not use which folder or file, whose it is, and the command that cures it."""
    refused = _refusing(path)
    status, user = refused.stat(), _name(pwd.getpwuid, os.geteuid())
    if os.statvfs(refused).f_flag & os.ST_RDONLY:
        return f"{path} lies on a read-only file system; give --storage a folder that you can write to"
    owner, group = _name(pwd.getpwuid, status.st_uid), _name(grp.getgrgid, status.st_gid)
    mine = {os.getegid(), *os.getgroups()}
    wanted = status.st_gid if status.st_gid in mine else os.getegid()
    if storage is not None and is_shared(storage):
        wanted = storage.stat().st_gid
    return (
        f"{user} may not use {refused} ({owner}:{group}, {stat.filemode(status.st_mode)}): let {owner} give "
        f"`{share_command(refused, wanted)}`, or use another --storage"
    )


def share_command(folder: Path, group: int) -> str:
    """The command by which the owner of ``folder`` shares it with a group (a number)."""
    name = _name(grp.getgrgid, group)
    return f"chgrp -R {name} {folder} && chmod -R g+rwX {folder} && find {folder} -type d -exec chmod g+s {{}} +"


def _refusing(path: Path) -> Path:
    """What stands in the way: the nearest existing of ``path`` and the folders around it that cannot be written."""
    existing = [one for one in (path, *path.parents) if _exists(one)]
    return next((one for one in existing if not os.access(one, os.W_OK, effective_ids=True)), existing[0])


def _nearest(path: Path) -> Path:
    return next(one for one in (path, *path.resolve().parents) if _exists(one))


def _exists(path: Path) -> bool:
    try:
        path.stat()
    except OSError:
        return False
    return True


def _name(of: Callable[[int], Sequence[Any]], number: int) -> str:
    """The name of a user or group, or its number where it has none here."""
    try:
        return str(of(number)[0])
    except KeyError:
        return str(number)
