"""What Ray and multiprocessing take for granted of a machine, and job schedulers do not grant: short paths, a home."""

import os
import secrets
import socket
import sys
import tempfile
from pathlib import Path

from trainers.errors import UserError

SOCKET_PATH_BYTES = 107
"""What Linux takes as the path of a socket."""
RAY_SOCKET = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.000"
"""The longest path of Ray's below its temporary folder."""
SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - only looked at where the user's own is too long
ANSWER_SECONDS = 5.0


def ensure_short_temporary_folder() -> None:
    """Let sockets lie in a folder whose path is short enough for them; where that changes anything, say so.

    Raises:
        UserError: there is none.
    """
    for variable in ("RAY_TMPDIR", "TMPDIR"):  # In the order in which Ray looks at them.
        given = os.environ.get(variable, "")
        if len(os.fsencode(given)) + len(RAY_SOCKET) <= SOCKET_PATH_BYTES:
            continue
        short = next((folder for folder in SHORT_FOLDERS if os.access(folder, os.W_OK | os.X_OK)), None)
        if short is None:
            raise UserError(
                f"{variable}={given} is too long for sockets ({SOCKET_PATH_BYTES} bytes with Ray's own folders), and "
                f"none of {', '.join(SHORT_FOLDERS)} can be written to; give {variable} a folder of at most "
                f"{SOCKET_PATH_BYTES - len(RAY_SOCKET)} characters"
            )
        os.environ[variable] = short
        tempfile.tempdir = None  # Python remembers the first answer.
        sys.stderr.write(f"note: {variable} is too long for sockets, {short} is used in its place\n")


def ensure_token() -> None:
    """Give a cluster of our own a token of its own where Ray could not keep one in the home folder."""
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    try:
        folder = Path.home() / ".ray"
        folder.mkdir(parents=True, exist_ok=True)
        is_kept = (folder / "auth_token").is_file() or os.access(folder, os.W_OK | os.X_OK)
    except (OSError, RuntimeError):  # No home that can be written to, or none at all.
        is_kept = False
    if not is_kept:
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def require_answer(address: str) -> None:
    """Ask whether anything listens at a cluster's address: Ray itself would try for minutes without a word.

    Raises:
        UserError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # ``auto``: Ray finds a cluster of this machine, or says at once that there is none.
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address} ({error}); unset RAY_ADDRESS to use this machine alone, or "
            "give it the address of a cluster that runs"
        ) from error
