"""Decide by folding: read a key's facts, fold, append with the sequence that was folded (DESIGN §3).

The fold of a key is kept and only what is newer is applied. It is thrown away when the trust document changes, when the
leader has less than it, and when the outcome of an append is not known, so that it always says what a fold from nothing
would say. What a fact is decided on may be old: the check of its append tells, and nothing else counts before the leader
has confirmed that nothing is newer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeVar
from weakref import WeakValueDictionary

from rekey_core.authority import Stream
from rekey_core.contracts import Fact
from rekey_core.envelope import BusMessage, Stored, Void, unpack_or_void
from rekey_core.errors import (
    ConflictError,
    RekeyError,
    StaleReadError,
    UndecidableKeyError,
    UnknownOutcomeError,
)
from rekey_core.fold import KeyState
from rekey_core.readers import open_fact
from rekey_core.trust import Trust
from rekey_runtime.bus import Bus
from rekey_runtime.fact_reads import FactReads
from rekey_runtime.waves import BatchItem

TRIES: Final = 8  # of a read that is behind the leader; 3 % are on three nodes, for some milliseconds
PAUSE_S: Final = 0.02

A = TypeVar("A")


@dataclass(frozen=True)
class _Cached:
    state: KeyState
    trust_n: int


class KeyLog:
    """The facts of keys, folded; the one way to add one."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._reads = FactReads(bus)
        self._cache: OrderedDict[str, _Cached] = OrderedDict()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()  # who folds a key

    async def state(self, key: str, *, reached: int = 0) -> KeyState:
        """The key as the bus shows it; may be behind the leader. Enough to append, whose check tells.

        ``reached``: a kept fold that goes as far as this sequence is enough; whether there is more is not asked.

        What it costs does not grow with the key's history: what was folded before is not read again.

        Raises:
            StaleReadError: the read was cut short.
            UnavailableError: nobody answers.
        """
        known = self._cached(key)
        if known is not None and (0 < reached <= known.last_sequence or not await self._is_more(known)):
            return known
        async with self._turns.setdefault(key, asyncio.Lock()):  # many may ask at once, one folds
            folded = self._cached(key)
            if folded is not None and folded is not known and not await self._is_more(folded):
                return folded
            return await self._newly_read(key)

    async def _newly_read(self, key: str) -> KeyState:
        state, new_voids = await self._read(key)
        if new_voids:  # perhaps somebody new: void only under the newest trust document
            before = self._bus.trust.current.n
            if (await self._bus.trust.refresh()).n != before:
                state, _ = await self._read(key)
        return state

    async def confirmed(self, key: str) -> KeyState:
        """The key as the leader has it: for every outcome that appends nothing (use, lease, refuse, done).

        Raises:
            StaleReadError: reads stayed behind the leader.
        """
        cached = self._cached(
            key
        )  # in the common case nothing is newer and one question to the leader is enough
        if cached is not None and await self._is_newest(cached):
            return cached
        for _ in range(TRIES):
            state = await self.state(key)
            if await self._is_newest(state):
                return state
            await asyncio.sleep(PAUSE_S)
        raise StaleReadError(f"key {key}: reads stay behind the leader")

    def _cached(self, key: str) -> KeyState | None:
        cached = self._cache.get(key)
        return cached.state if cached is not None and cached.trust_n == self._bus.trust.current.n else None

    async def _is_more(self, known: KeyState) -> bool:
        """Whether the log has anything newer, as far as whoever answers knows."""
        newest = await self._bus.newest(Stream.LIFECYCLE, self._bus.subjects.check(known.key))
        return newest is not None and newest.sequence > known.last_sequence

    async def _is_newest(self, state: KeyState) -> bool:
        newest = await self._bus.last(Stream.LIFECYCLE, self._bus.subjects.check(state.key))
        leader = newest.sequence if newest else 0
        if leader < state.last_sequence:  # the bus was set back: what we remember is not there
            self.forget(state.key)
        return leader == state.last_sequence

    async def append(self, state: KeyState, fact: Fact) -> Stored[Fact]:
        """Add a fact that was decided on ``state``; the stored fact, also when an earlier try had stored it.

        Raises:
            ConflictError: another fact came first; fold again and decide again.
            UnknownOutcomeError: not known whether it is stored, and not found when read back.
            UnavailableError: the stream is full or has no leader.
            UndecidableKeyError: this very fact was folded before, and is void.
        """
        written = await self._write(state, fact)
        if isinstance(written, Stored):
            return written
        subject = self._subject(fact)
        stored = await self._stored(subject, at=written)
        if stored is None:
            raise StaleReadError(f"{subject}: stored, but the leader does not show it")
        self._follow(state, stored)
        return stored

    async def _write(self, state: KeyState, fact: Fact) -> int | Stored[Fact]:
        """Where a fact is stored now; the fact itself when an earlier try had stored it. Raises as ``append``."""
        if fact.checked != state.last_sequence or fact.key != state.key:
            raise ValueError(
                f"fact of {fact.key} checked {fact.checked}, decided on {state.key} {state.last_sequence}"
            )
        subject, check = self._subject(fact), self._bus.subjects.check(fact.key)
        item = BatchItem(
            subject, self._bus.pack(fact), expected_last=state.last_sequence, check_subject=check
        )
        try:
            return await self._bus.publish_together(Stream.LIFECYCLE, item)
        except (ConflictError, UnknownOutcomeError) as error:
            if isinstance(error, UnknownOutcomeError) or await self._is_newest(state):
                self.forget(fact.key)
            stored = await self._stored(subject)
            if stored is not None and _same(stored.model, fact):
                if (
                    stored.sequence <= state.last_sequence
                ):  # folded, and still wanted: deciding again would never end
                    raise UndecidableKeyError(f"{subject}: stands in the log without effect") from None
                return stored
            raise

    def _subject(self, fact: Fact) -> str:
        return self._bus.subjects.fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)

    async def decide(self, key: str, decide: Callable[[KeyState], Fact | None]) -> Stored[Fact] | None:
        """Fold, let ``decide`` say which fact should be next, append it; after a conflict all over again.

        At first on the kept fold as it is, which is right unless somebody else wrote since. ``None`` from ``decide``, and
        every error of ours, add nothing to the log, so they count only on a state that the leader confirms (DESIGN §3).

        Raises:
            ConflictError: others were first every time.
            StaleReadError: reads stayed behind the leader.
            UnknownOutcomeError: as ``append``; and whatever ``decide`` raises.
        """
        return await self._decided(key, decide, self.append)

    async def settle(self, key: str, decide: Callable[[KeyState], Fact | None]) -> None:
        """As ``decide``, for the last that there is to say: what the bus acknowledged is not read back.

        The kept fold stays behind by that fact. Whoever decides on it next is told by the check, as by anybody's fact.
        """
        await self._decided(key, decide, self._write)

    async def _decided(
        self,
        key: str,
        decide: Callable[[KeyState], Fact | None],
        append: Callable[[KeyState, Fact], Awaitable[A]],
    ) -> A | None:
        for attempt in range(TRIES):
            await asyncio.sleep(PAUSE_S * max(attempt - 1, 0))
            state = (None if attempt else self._cached(key)) or await self.state(key)
            try:
                fact = decide(state)
            except RekeyError:
                if await self._is_newest(state):
                    raise
                continue
            if fact is None and await self._is_newest(state):
                return None
            if fact is not None:
                with suppress(ConflictError):
                    return await append(state, fact)
        raise ConflictError(f"key {key}: others were first {TRIES} times")

    def _follow(self, state: KeyState, stored: Stored[Fact]) -> None:
        """Our own fact needs no other read: the check says that it stands right behind the state."""
        if self._cached(state.key) is state:
            trust = self._bus.trust.current
            self._keep(state.key, _Cached(state.apply(stored, trust), trust.n))

    def forget(self, key: str) -> None:
        """Fold from nothing next time."""
        self._cache.pop(key, None)

    async def _stored(self, subject: str, at: int = 0) -> Stored[Fact] | None:
        """What stands under a subject; ``at``: where it was stored just now, and whoever answers may show it."""
        message = await self._reads.at(at) if at else None
        if message is None or message.subject != subject:
            message = await self._bus.last(Stream.LIFECYCLE, subject)
        if message is None:
            return None
        return await self._bus.trust.fresh(lambda trust: open_fact(message, trust))

    async def _read(self, key: str) -> tuple[KeyState, bool]:
        """Fold what is newer than the kept fold, or everything; whether a message of it is void."""
        trust, known = self._bus.trust.current, self._cached(key)
        before = known or KeyState(env=self._bus.settings.env, key=key)
        messages = await self._reads.of_key(key, start=before.last_sequence + 1)
        if self._bus.trust.current.n != trust.n:  # what was folded under the other document does not count
            return await self._read(key)
        state = before
        for message in messages:
            if message.sequence > state.last_sequence:
                state = state.apply(_open(message, trust), trust)
        self._keep(key, _Cached(state, trust.n))
        return state, len(state.voids) > len(before.voids)

    def _keep(self, key: str, cached: _Cached) -> None:
        kept = self._cached(key)
        if (
            kept is None or kept.last_sequence <= cached.state.last_sequence
        ):  # else a reader beside us saw more
            self._cache[key] = cached
        self._cache.move_to_end(key)
        while len(self._cache) > self._bus.settings.max_cached_keys:
            self._cache.popitem(last=False)


def _open(message: BusMessage, trust: Trust) -> Stored[Fact] | Void:
    return unpack_or_void(message, lambda m: open_fact(m, trust))


def _same(stored: Fact, wanted: Fact) -> bool:
    return (stored.id, stored.author, stored.cause) == (wanted.id, wanted.author, wanted.cause)
