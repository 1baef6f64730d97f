"""The chain of trust documents as the bus holds it, verified from the pinned genesis, never shorter than seen before."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import ValidationError

from rekey_core.authority import Stream
from rekey_core.contracts import SignedTrust
from rekey_core.errors import AuthorityError, ConfigurationError, SignatureError, TrustError, WrongAuthorError
from rekey_core.trust import Trust

if TYPE_CHECKING:
    from rekey_runtime.bus import Bus

T = TypeVar("T")
_HINT: Final = "make room there and let only the service write, or name another directory as state_dir"
_DAMAGED: Final = "find out why before removing it: it keeps a bus that was set back from being believed"

_log = logging.getLogger(__name__)


class TrustStore:
    """Who is who, as of the newest verified document.

    A service that has begun follows a new document even when its state directory does not take it: whom that document leaves
    out must not be believed for as long as a disk is full (decision 0084).
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._trust: Trust | None = None
        self._refreshing = asyncio.Lock()
        self._is_saved = True

    @property
    def current(self) -> Trust:
        """The newest verified trust document's view.

        Raises:
            TrustError: nothing was loaded yet.
        """
        if self._trust is None:
            raise TrustError("no trust document was loaded yet")
        return self._trust

    async def load(self) -> Trust:
        """Read the whole chain and verify it from the pinned genesis.

        Raises:
            TrustError: it does not chain, or is shorter or another one than this service has seen before.
            ConfigurationError: what was seen before cannot be read, or this one not be written down.
        """
        settings = self._bus.settings
        found = await self._following(0)
        genesis = [signed for signed, _ in found[:1]]
        trust = Trust.from_chain(genesis, genesis=settings.trust_genesis, env=settings.env)
        for signed, stored_at in found[1:]:
            trust = trust.extended(signed, since=stored_at)
        seen_n, seen_digest = _seen(self._path)
        if trust.n < seen_n:
            raise TrustError(
                f"trust document {trust.n} is the newest on the bus, expected at least {seen_n}, seen before",
                hint="the bus was set back or replaced; restore its streams before starting services",
            )
        if trust.n == seen_n and trust.digest != seen_digest:
            raise TrustError(f"trust document {trust.n} is not the one seen before")
        self._save(trust)
        self._trust = trust
        return trust

    async def refresh(self) -> Trust:
        """Read what was added since. Cheap: one request when there is nothing new.

        Raises:
            TrustError: an added document is not signed by a quorum of the one before.
        """
        async with self._refreshing:  # two at once would both add the same document
            if self._trust is None:
                return await self.load()
            trust = self._trust
            added = await self._following(trust.n)
            for signed, stored_at in added:
                trust = trust.extended(signed, since=stored_at)
            if added or not self._is_saved:
                self._trust = trust
                self._try_to_save(trust)
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
        while (message := await self._bus.get(Stream.TRUST, self._bus.subjects.trust(n + 1))) is not None:
            n += 1
            try:
                found.append((SignedTrust.model_validate_json(message.data), message.stored_at))
            except ValidationError:
                raise TrustError(f"trust document {n} is not a signed trust document") from None
        return found

    @property
    def _path(self) -> Path:
        return self._bus.settings.state_dir / "trust-seen.json"

    def _try_to_save(self, trust: Trust) -> None:
        was_saved = self._is_saved
        try:
            self._save(trust)
        except ConfigurationError as error:
            if was_saved:  # said once: every look tries again
                said = {"event": "state-not-saved", "service": self._bus.settings.service.value}
                _log.error("trust document %d is not written down: %s; %s", trust.n, error, _HINT, extra=said)

    def _save(self, trust: Trust) -> None:
        temporary = self._path.with_suffix(f".{os.getpid()}.new")  # replicas may share the directory
        self._is_saved = False
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump({"n": trust.n, "digest": trust.digest}, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
        except OSError as error:
            text = f"state_dir {self._path.parent}: {error.strerror}"
            raise ConfigurationError(text, hint=_HINT) from error
        self._is_saved = True


def _seen(path: Path) -> tuple[int, str]:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return int(raw["n"]), str(raw["digest"])
    except FileNotFoundError:
        return 0, ""
    except OSError as error:
        raise ConfigurationError(f"state_dir {path.parent}: {error.strerror}", hint=_HINT) from error
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise TrustError(f"{path} is damaged", hint=_DAMAGED) from error
