"""Give a finished file its name if nothing has that name yet: the first of several writers wins, on any file system.

A hard link does it in one call. Where the file system refuses links (FAT, many SMB and FUSE mounts), renaming a folder
decides instead: a rename never replaces a folder that has something in it, on any file system. Of all writers one
moves its folder to the *claim*, ``.NAME.claim/``, and what lies there is what the file will hold: whoever finds a claim
and no file moves its content into place, so that a writer killed in between holds nobody up and loses nothing.
"""

import errno
import os
import shutil
import uuid
from pathlib import Path

NO_HARD_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
"""What a file system answers that has no hard links, or none for this file."""

TAKEN = {errno.EEXIST, errno.ENOTEMPTY}


def place(aside: Path, path: Path) -> bool:
    """Give the file ``aside`` the name ``path``, in the same folder, if it is free; whether this call did.

    ``aside`` may be left behind.
    """
    try:
        os.link(aside, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        return _place_by_claim(aside, path)
    return True


def _place_by_claim(aside: Path, path: Path) -> bool:
    """The same without links."""
    if path.exists():
        return False
    token, claim = uuid.uuid4().hex, path.with_name(f".{path.name}.claim")
    mine = path.with_name(f".{token}.aside")
    mine.mkdir()
    aside.rename(mine / token)
    while not _claim(mine, claim):
        if _settle(claim, path):
            shutil.rmtree(mine, ignore_errors=True)
            return False
    # Unless somebody was faster, with a claim that is gone again: nobody settles two claims on one name.
    won = not path.exists() or _settled(claim, token).exists()
    while won and not _settle(claim, path):
        pass
    shutil.rmtree(claim, ignore_errors=True)
    return won


def _claim(mine: Path, claim: Path) -> bool:
    """Make the folder ``mine`` the claim, unless there is one."""
    try:
        mine.rename(claim)
    except OSError as error:
        if error.errno not in TAKEN:
            raise
        return False
    return True


def _settle(claim: Path, path: Path) -> bool:
    """Make the claim's content the file; whether the file exists now.

    The order matters: what was read before the file was seen to be absent is of the first claim, since a claim is only
    removed once the file exists. Whoever settles a claim renames its content, so that its owner knows it has won.
    """
    copy = path.with_name(f".{uuid.uuid4().hex}.aside")
    try:
        content = next(claim.iterdir())
        with copy.open("wb") as file:
            file.write(content.read_bytes())
            file.flush()
            os.fsync(file.fileno())
        if not path.exists():
            content.rename(_settled(claim, content.stem))
            copy.replace(path)
    except (FileNotFoundError, StopIteration):  # Another one settles or removes it at this moment.
        return path.exists()
    finally:
        copy.unlink(missing_ok=True)
    return True


def _settled(claim: Path, token: str) -> Path:
    return claim / f"{token}.settled"
