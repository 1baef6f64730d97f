"""Mutants of leases: who gets one, for which of its keys, and when it is over, here and in the SDK."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

ADOPTION: Final = "shared/core/src/rekey_core/adoption.py"
CONTRACT: Final = "shared/core/src/rekey_core/contracts/material.py"
GRANTING: Final = "services/distributor/src/rekey_distributor/granting.py"
LEASING: Final = "services/distributor/src/rekey_distributor/leasing.py"
RENEWING: Final = "shared/client/src/rekey/renewing.py"
OF_LEASING: Final = ("tests/unit/rekey_distributor/test_leasing.py",)
OF_REFUSED: Final = ("tests/unit/rekey_distributor/test_refused_keys.py",)
OF_ADOPTION: Final = ("tests/unit/rekey_core/test_adoption.py",)
OF_SDK: Final = ("tests/unit/rekey/test_refused_keys.py",)

MUTANTS: Final = (
    Mutant(
        "quota: who has no messages of the version that it protects with is ready",
        "shared/client/src/rekey/keystate.py",
        "            return self.funded == current.version\n",
        "            return True\n",
        ("tests/unit/rekey/test_renewing.py",),
    ),
    Mutant(
        "quota: who went over meanwhile takes a lease without messages",
        RENEWING,
        "if _is_overtaken(keys[name], counted[name], leased):",
        "if False:",
        ("tests/unit/rekey/test_renewing.py",),
    ),
    Mutant(
        "quota: who has messages is not ready when the lease is of the version to come",
        "shared/client/src/rekey/keystate.py",
        " and current.is_counted and current.quota.total == 0:",
        " and current.is_counted:",
        ("tests/unit/rekey/test_renewing.py",),
    ),
    Mutant(
        "lease: what is born while it is stored need not be proved",
        LEASING,
        "        after, late = await self._held(given, receipt, given, before, renewed)",
        "        after, late = held, {}",
        OF_LEASING,
    ),
    Mutant(
        "lease: another instance's receipt proves",
        LEASING,
        "        if (receipt.dependent, receipt.instance) != (request.dependent, request.instance):",
        "        if receipt.dependent != request.dependent:",
        OF_LEASING,
    ),
    Mutant(
        "leases: a clock of the bus that was set back makes them longer",
        LEASING,
        "min(leased.lease_s, left.total_seconds())",
        "left.total_seconds()",
        OF_LEASING,
    ),
    Mutant(
        "leases: whoever has one renews it, told or not",
        LEASING,
        "if previous is None or previous.model.nonce != request.after:",
        "if previous is None:",
        OF_LEASING,
    ),
    Mutant(
        "leases: a renewal that was stored too late is one",
        LEASING,
        "_renewed(request, previous, stored.stored_at)",
        "_renewed(request, previous, self.clock.now())",
        OF_LEASING,
    ),
    Mutant(
        "leases: an active version is never proved",
        GRANTING,
        "return wanted.activated is None or (since > seen and not is_passed_over)",
        "return not is_passed_over",
        OF_LEASING,
    ),
    Mutant(
        "leases: what was not proved counts as installed",
        LEASING,
        "return _Held(state, tuple(found), protects, lease_s)",
        "return _Held(state, tuple(state.versions_to_hold()), protects, lease_s)",
        OF_LEASING,
    ),
    Mutant(
        "refused keys: what stands there of one is forgotten",
        LEASING,
        "keys={key: before[key] for key in until} | given,",
        "keys=given,",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: what is over of one is live",
        ADOPTION,
        "return lease.until.get(key) or min(since, _LATEST)",
        "return min(since, _LATEST)",
        OF_ADOPTION,
    ),
    Mutant(
        "refused keys: each renewal of the others makes the lease of one longer",
        LEASING,
        "return {key: lease_end(stored.model, key, stored.stored_at) for key in known}",
        'lease = stored.model.model_copy(update={"until": {}})\n'
        "    return {key: lease_end(lease, key, stored.stored_at) for key in known}",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: one that is asked for again is a renewal",
        LEASING,
        "for key, leased in lease.keys.items() if key not in lease.until}",
        "for key, leased in lease.keys.items()}",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: of which nobody was told is a base for a renewal",
        LEASING,
        "            until = lease.until | _ends(stored, late)\n",
        "            until = lease.until\n",
        OF_REFUSED,
    ),
    Mutant(
        "leases: a request that a newer one has overtaken takes away what that one gave",
        LEASING,
        "refused.keys() | _overtaken(request, previous)",
        "refused",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: one takes the leases of all others along",
        LEASING,
        "    if request.protocol < REFUSED_BY_KEY:",
        "    if refused:",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: who does not know of any is told of one",
        LEASING,
        "    if request.protocol < REFUSED_BY_KEY:",
        "    if request.protocol < 0:",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: an answer says that there are none to who does not know of any",
        CONTRACT,
        "refused: dict[KeyName, KeyRefusal] = Field(default_factory=dict, exclude_if=is_empty)",
        "refused: dict[KeyName, KeyRefusal] = Field(default_factory=dict)",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: a key that nobody can decide takes the others along",
        LEASING,
        "_OF_THE_KEY: Final = (RefusedError, UndecidableKeyError)",
        "_OF_THE_KEY: Final = (RefusedError,)",
        OF_REFUSED,
    ),
    Mutant(
        "refused keys: one takes of the dependent's share",
        LEASING,
        "self.share.take(request.dependent, _growth(held, previous))",
        "self.share.take(request.dependent, 1 + len(refused))",
        OF_REFUSED,
    ),
    Mutant(
        "sdk: who joins is not told that its key is refused",
        RENEWING,
        "            await self._everything.run()\n            self._check(joining.name)\n",
        "            await self._everything.run()\n",
        OF_SDK,
    ),
    Mutant(
        "sdk: a key that is refused is asked for all the time",
        RENEWING,
        "given = (key for name, key in self.admitted.items() if name not in self._refused)",
        "given = self.admitted.values()",
        OF_SDK,
    ),
    Mutant(
        "sdk: who waits to ask for a refused key again makes the others late",
        RENEWING,
        "return min(due, pause_s(self._refusals, math.inf)) if self._refusals else due",
        "return pause_s(self._refusals, math.inf) if self._refusals else due",
        OF_SDK,
    ),
    Mutant(
        "sdk: an answer without a lease is one that is renewed",
        RENEWING,
        "        if answer.keys:\n            self._given = answer.nonce\n",
        "        self._given = answer.nonce\n",
        OF_SDK,
    ),
    Mutant(
        "sdk: who still wants a key when another one has given it up is given nothing",
        RENEWING,
        "            await self.once(joining)\n",
        "            return\n",
        OF_SDK,
    ),
    Mutant(
        "sdk: a version is switched to for which there are no messages, since its key is refused",
        RENEWING,
        "        await self._everything.run()\n        self._check(name)\n",
        "        await self._everything.run()\n",
        OF_SDK,
    ),
)
