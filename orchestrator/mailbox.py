"""What lies between the owner of a worker group and its ranks: one job at a time, what becomes of it, its stop flag.

An asynchronous actor beside the owner; this file knows nothing of Ray. A rank that tells progress waits until the owner
has dealt with it, so no checkpoint ever lies beyond a verdict that is not recorded yet.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple


class Letter(NamedTuple):
    """Something that the group tells its owner."""

    kind: str
    """``event``; ``ready`` (all ranks took the job); ``broke`` (rank → error); ``leaving``; ``outcome``."""
    content: Any = None


class Mailbox:
    """One owner, who puts jobs and takes letters, and the ranks of one group after the other."""

    def __init__(self) -> None:
        self._changed = asyncio.Condition()
        self._number = 0
        self._job: Any = None
        """``None`` when the newest job is over."""
        self._letters: list[Letter] = []
        self._sent = self._handled = self._taken = 0
        self._stop = 0
        self._closed = self._handed_out = False

    async def put(self, job: Any) -> int:
        """The owner hands out a job; its number, from 1."""
        self._number += 1
        self._job, self._stop, self._handed_out = job, 0, False
        self._letters, self._handled, self._taken = [], self._sent, self._sent
        await self._notify()
        return self._number

    async def get(self, after: int) -> tuple[int, Any] | None:
        """A rank waits for a job later than ``after``; ``None`` when the owner needs the group no more."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._closed or (self._job is not None and self._number > after))
            self._handed_out = True
            return None if self._closed else (self._number, self._job)

    async def tell(self, number: int, letter: Letter, *, wait: bool = False) -> int:
        """A rank sends a letter about a job; ``wait`` until it is dealt with. The code with which to stop, or 0."""
        if number != self._number or self._job is None:
            return 1
        if letter.kind == "outcome":
            self._job = None
        await self._send(letter)
        if wait:
            mine = self._sent
            async with self._changed:
                await self._changed.wait_for(
                    lambda: self._handled >= mine or self._stop or self._job is None or number != self._number
                )
        return self._stop if number == self._number and self._job is not None else 1

    async def broke(self, errors: dict[int, str]) -> None:
        """The group has lost ranks, or they ended with errors; it is being built anew."""
        if self._job is None or not self._handed_out:  # It broke over an earlier job.
            return
        await self._send(Letter("broke", errors))
        if self._stop:  # Nobody is left to end the job.
            self._job = None
            await self._send(Letter("outcome"))

    async def take(self, seconds: float) -> list[Letter]:
        """The owner waits so long for letters; those that it took before are dealt with."""
        self._handled = self._taken
        await self._notify()
        async with self._changed:
            try:
                await asyncio.wait_for(self._changed.wait_for(lambda: bool(self._letters)), seconds)
            except TimeoutError:
                return []
            letters, self._letters = self._letters, []
            self._taken = self._sent
            return letters

    async def stop(self, code: int) -> None:
        """The owner wants the job to end at its next report."""
        self._stop = code
        await self._notify()

    async def abandon(self) -> None:
        """The owner gives the job up: no group gets it again."""
        self._job = None
        await self._notify()

    async def close(self) -> None:
        """The ranks may go."""
        self._closed = True
        await self._notify()

    async def _send(self, letter: Letter) -> None:
        self._letters.append(letter)
        self._sent += 1
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
