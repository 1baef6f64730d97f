"""The lease of every key of this instance, asked for together: time from before it was asked for, and messages.

Each key's lease has the length of its class; all are renewed when the first of them is at a third. Whoever finds a quota
low or a lease over may hurry, from any thread, but cannot make renewals a flood: they keep apart, and failures pause.

A key that is refused ends when it would have ended, and says why; the others go on (decision 0089). It is asked for again
with them, at first soon, then ever later, and no later than the next renewal that is due; at once when it has proved more.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rekey.errors import refusal_error
from rekey.grouped import Grouped
from rekey.keystate import KeyState
from rekey.lease import boottime
from rekey.receipts import Receipts
from rekey.requests import Requests
from rekey.retry import LONGEST_PAUSE_S, pause_s
from rekey.versions import SecretVersion
from rekey_core.contracts import KeyRefusal, LeasedKey, Quota
from rekey_core.errors import NotInstalledError, RekeyError

APART_S: Final = 0.1  # between two renewals, whoever hurries
IDLE_S: Final = 0.1  # without a key there is nothing to renew

_log = logging.getLogger(__name__)


class Renewing:
    """Renews what was admitted: keys that once had a lease."""

    def __init__(
        self,
        requests: Requests,
        receipts: Receipts,
        tried: Callable[[], None],
        at_most_s: int | None = None,
    ) -> None:
        self._at_most_s = at_most_s
        self._requests = requests
        self._receipts = receipts
        self._tried = tried
        self._hurry = asyncio.Event()
        self._given: str | None = None  # the nonce of the newest answer: that lease we know of
        self._everything = Grouped(self._renew)  # what many keys need at once is asked for once
        self._joining: dict[str, KeyState] = {}
        self._refused: Mapping[str, KeyRefusal] = {}  # by the newest answer
        self._refusals = 0  # how many answers in a row refused a key that was admitted
        self.asking = asyncio.Lock()  # one request for leases at a time
        self.admitted: dict[str, KeyState] = {}

    def watch(self, key: KeyState) -> None:
        """Let calls with the key hurry."""
        loop = asyncio.get_running_loop()

        def from_anywhere() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.hurry)

        key.lease.hurry = from_anywhere

    def hurry(self) -> None:
        """Renew soon."""
        self._hurry.set()

    async def once(self, joining: KeyState | None = None) -> None:
        """One try to get a lease for every admitted key and the one that joins. Raises as ``Requests.lease``.

        Keys that join at the same time are asked for together; who joins is told of its own refusal, and of no other.
        """
        if joining is None:
            await self._everything.run()
            return
        with self._wanting(joining):
            await self._everything.run()
            self._check(joining.name)
        if joining.name not in self.admitted:  # somebody else who wanted it has given up meanwhile
            await self.once(joining)

    async def of(self, name: str) -> None:
        """One try for every admitted key. Raises as ``once``, and the refusal of the one that is named."""
        await self._everything.run()
        self._check(name)

    def stated(self, name: str) -> None:
        """The receipt says something new of a key: one that was refused may be given now."""
        if name in self._refused:
            self.hurry()

    def forget(self, name: str) -> None:
        """A key that nobody was given: it is in no request that is sent from now on, whatever one that is under way says."""
        if self.admitted.pop(name, None) is not None:
            self.hurry()  # until the next one everybody who waits for us waits for this key too

    @contextmanager
    def _wanting(self, joining: KeyState) -> Iterator[None]:
        """Somebody waits for the key; once nobody does any more, no answer admits it."""
        self._joining[joining.name] = joining
        try:
            yield
        finally:
            self._joining.pop(joining.name, None)

    async def for_ever(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            if failures:
                await asyncio.sleep(pause_s(failures))
            else:
                await self._wait(self.next_in_s())
            if not self.admitted:
                continue
            try:
                await self._requests.trust.refresh()  # who lost a key is believed for no longer than a lease
                await self.once()
                failures = 0
            except RekeyError as error:
                failures += 1
                self._failed(error)
            self._tried()
            await asyncio.sleep(APART_S)

    async def _renew(self) -> None:
        async with self.asking:
            joining = dict(self._joining)
            keys = {**self.admitted, **joining}
            if not keys:
                return
            given = await self._lease(keys)
            wanted = joining.keys() & self._joining.keys() & set(given)
            self.admitted.update((name, joining[name]) for name in wanted)

    async def _lease(self, keys: Mapping[str, KeyState]) -> Collection[str]:
        """Ask for these keys; the names of those that are given."""
        proved = {name: frozenset(key.held) for name, key in keys.items()}
        receipt = await self._receipts.write()
        sent, counted = boottime(), {name: key.counted() for name, key in keys.items()}
        wanted = {name: quota for name, key in keys.items() if (quota := _wanted(key, sent))}
        answer = await self._requests.lease(
            sorted(keys), receipt, wanted, after=self._given, at_most_s=self._at_most_s
        )
        if answer.keys:
            self._given = answer.nonce
        for name, leased in answer.keys.items():
            if _is_overtaken(keys[name], counted[name], leased):
                self.hurry()
                continue
            _take(keys[name], leased, sent)
            keys[name].leased = proved[name] & set(leased.versions)
        self._refused = answer.refused
        self._refusals = self._refusals + 1 if answer.refused.keys() & self.admitted.keys() else 0
        for name in answer.refused:
            self._lost(keys[name], _error(answer.refused[name]))
        if lost := sorted(answer.refused.keys() & self.admitted.keys()):
            one = answer.refused[lost[0]]
            about = {"event": "lease", "key": lost[0], "code": one.code}
            _log.warning("lease not renewed of %d keys: %s", len(lost), one.message, extra=about)
        return answer.keys.keys()

    def _lost(self, key: KeyState, error: RekeyError) -> None:
        key.lease.problem = str(error)
        if isinstance(error, NotInstalledError):
            key.leased = frozenset()  # whatever an earlier lease said, prove everything again

    def _check(self, name: str) -> None:
        if name in self._refused:
            raise _error(self._refused[name])

    def _failed(self, error: RekeyError) -> None:
        for key in self.admitted.values():
            key.lease.problem = str(error)
        _log.warning("lease not renewed: %s", error, extra={"event": "lease", "code": error.code})

    def next_in_s(self) -> float:
        """Seconds until the next request, if nobody hurries and the newest one was answered."""
        given = (key for name, key in self.admitted.items() if name not in self._refused)
        default = LONGEST_PAUSE_S if self.admitted else IDLE_S
        due = min((key.lease.renew_in_s for key in given), default=default)
        return min(due, pause_s(self._refusals, math.inf)) if self._refusals else due

    async def _wait(self, seconds: float) -> None:
        """Until the time is over or somebody hurries, if only since before we waited."""
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
        self._hurry.clear()


def _error(refusal: KeyRefusal) -> RekeyError:
    return refusal_error(refusal.code, refusal.message, refusal.hint, retry=refusal.retry)


def _wanted(key: KeyState, now: float) -> Quota | None:
    version = key.counted()
    if version is None:
        return None
    return Quota(version=version.version, messages=version.quota.wanted(now, key.lease.duration_s))


def _is_overtaken(key: KeyState, asked: SecretVersion | None, leased: LeasedKey) -> bool:
    """Whether the key went over to another version since, and the lease brings no messages of that one.

    A key whose lease is over goes over without them (``KeyWorker``): given that lease, encrypt would say that all are used.
    """
    version = key.counted()
    if key.lease.is_valid or version is None or version is asked or version.quota.total > 0:
        return False
    quota = leased.quota
    return quota is None or quota.version != version.version or quota.messages == 0


def _take(key: KeyState, leased: LeasedKey, sent: float) -> None:
    key.lease.extend(sent, leased.lease_s)
    key.lease.problem = "it was not renewed in time"
    key.funded = leased.quota.version if leased.quota else None
    held = key.held.get(leased.quota.version) if leased.quota else None
    if leased.quota and isinstance(held, SecretVersion):
        held.quota.extend(leased.quota.messages)
