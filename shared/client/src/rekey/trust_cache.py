"""The chain of trust documents, verified from the pinned genesis; and what was seen before, never less of it again."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

from pydantic import ValidationError

from rekey.connection import Connection
from rekey.grouped import Grouped
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import SignedTrust
from rekey_core.errors import AuthorityError, ConfigurationError, SignatureError, TrustError, WrongAuthorError
from rekey_core.trust import Trust

T = TypeVar("T")
_FILE: Final = "seen.json"
GROUP_WAIT_S: Final = 0.005  # how long the first of several keys waits for the others
_HINT: Final = "make room there and let only its owner write, or name another directory as state_dir"

_log = logging.getLogger(__name__)


@dataclass
class Seen:
    """The newest trust document and the newest state of each key that this state directory has met.

    What the directory does not take is known all the same for as long as the process runs, and is tried again at each
    look until there is room.
    """

    path: Path
    trust_n: int = 0
    trust_digest: str = ""
    as_of: dict[str, int] = field(default_factory=dict)
    is_saved: bool = True
    _is_said: bool = field(default=False, init=False, repr=False, compare=False)  # that it could not be saved
    _saving: Grouped[None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._saving = Grouped(self._save_soon)

    @classmethod
    def load(cls, state_dir: Path) -> Seen:
        """What the directory says; empty at first.

        Raises:
            TrustError: the file is damaged.
            ConfigurationError: it cannot be read.
        """
        path = state_dir / _FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            as_of = {str(key): int(sequence) for key, sequence in raw["as_of"].items()}
            return cls(path, int(raw["trust_n"]), str(raw["trust_digest"]), as_of)
        except FileNotFoundError:
            return cls(path)
        except OSError as error:
            raise ConfigurationError(f"state_dir {state_dir}: {error.strerror}", hint=_HINT) from error
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise TrustError(f"{path} is damaged", hint="find out why before removing it") from error

    def save(self) -> None:
        """Write it so that a crash leaves the old or the new file.

        Raises:
            ConfigurationError: the directory does not take it.
        """
        temporary = self.path.with_suffix(f".{os.getpid()}.new")  # several processes may share the directory
        said = {"trust_n": self.trust_n, "trust_digest": self.trust_digest, "as_of": self.as_of}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(said, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            self.is_saved = False
            raise ConfigurationError(f"state_dir {self.path.parent}: {error.strerror}", hint=_HINT) from error
        self.is_saved, self._is_said = True, False

    def try_to_save(self) -> None:
        """Write it, or say once that it is known to this process alone: who protects data goes on when a disk is full."""
        try:
            self.save()
        except ConfigurationError as error:
            if not self._is_said:
                _log.warning(
                    "what was seen is not written down: %s", error, extra={"event": "state-not-saved"}
                )
            self._is_said = True

    def note_trust(self, trust: Trust) -> None:
        """Remember a document, unless it is older than, or another one than, the one seen before: TrustError."""
        if trust.n < self.trust_n:
            raise TrustError(
                f"trust document {trust.n} is the newest on the bus, expected at least {self.trust_n}, seen before",
                hint="the bus was set back or replaced",
            )
        if trust.n == self.trust_n and trust.digest != self.trust_digest:
            raise TrustError(f"trust document {trust.n} is not the one seen before")
        if trust.n > self.trust_n:
            self.trust_n, self.trust_digest, self.is_saved = trust.n, trust.digest, False

    async def note_as_of(self, key: str, sequence: int) -> None:
        """Remember how far the key was seen, and write that down where it can be written.

        Keys that come within GROUP_WAIT_S share one write, or one try.
        """
        if sequence > self.as_of.get(key, 0):
            self.as_of[key], self.is_saved = sequence, False
        if not self.is_saved:
            await self._saving.run()

    async def _save_soon(self) -> None:
        await asyncio.sleep(GROUP_WAIT_S)
        self.try_to_save()


class TrustCache:
    """Who is who, as of the newest verified document."""

    def __init__(self, connection: Connection, env: str, genesis: str, seen: Seen, within_s: float) -> None:
        self._connection = connection
        self._env = env
        self._genesis = genesis
        self._seen = seen
        self._within_s = within_s
        self._trust: Trust | None = None
        self._refreshing = asyncio.Lock()

    @property
    def current(self) -> Trust:
        """The newest verified document.

        Raises:
            TrustError: nothing was loaded yet.
        """
        if self._trust is None:
            raise TrustError("no trust document was loaded yet")
        return self._trust

    async def refresh(self) -> Trust:
        """Read what was added since: one request when there is nothing new.

        Raises:
            TrustError: the documents do not chain from the pinned genesis, or are older than what was seen before.
            UnavailableError: the bus does not answer.
            ConfigurationError: whoever begins cannot write down what it saw; who has begun goes on and says so in the log.
        """
        async with self._refreshing:  # two at once would both add the same document
            trust = self._trust
            added = await self._following(trust.n if trust else 0)
            if trust is None:
                first, added = [signed for signed, _ in added[:1]], added[1:]
                trust = Trust.from_chain(first, genesis=self._genesis, env=self._env)
            for signed, stored_at in added:
                trust = trust.extended(signed, since=stored_at)
            self._seen.note_trust(trust)
            if not self._seen.is_saved:
                save = self._seen.save if self._trust is None else self._seen.try_to_save
                save()
            self._trust = trust
            return trust

    async def fresh(self, use: Callable[[Trust], T]) -> T:
        """``use(current)``; somebody unknown in it makes one refresh and one more try. Raises what ``use`` raises."""
        try:
            return use(self.current)
        except (AuthorityError, WrongAuthorError, SignatureError):
            before = self.current.n
            if (await self.refresh()).n == before:
                raise
            return use(self.current)

    async def _following(self, n: int) -> list[tuple[SignedTrust, datetime]]:
        """The documents after ``n``, and when the log took each."""
        found: list[tuple[SignedTrust, datetime]] = []
        subjects = Subjects(self._env)
        while message := await self._connection.get(Stream.TRUST, subjects.trust(n + 1), self._within_s):
            n += 1
            try:
                found.append((SignedTrust.model_validate_json(message.data), message.stored_at))
            except ValidationError:
                raise TrustError(f"trust document {n} is not a signed trust document") from None
        return found
