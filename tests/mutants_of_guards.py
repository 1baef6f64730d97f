"""Mutants of the guards at the door where material leaves: requests, leases, releases, records, and what is adopted."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

CORE: Final = "shared/core/src/rekey_core"
UNIT: Final = "tests/unit/rekey_core"

GUARDS: Final = (
    Mutant(
        "requests: the instance's signature is not verified",
        f"{CORE}/readers.py",
        "    verify_signed(signed, (key,), where=subject)\n    _same_environment(head, trust, subject)",
        "    _same_environment(head, trust, subject)",
        (f"{UNIT}/test_requests.py",),
    ),
    Mutant(
        "requests: of another environment",
        f"{CORE}/readers.py",
        "    _same_environment(head, trust, subject)\n",
        "",
        (f"{UNIT}/test_requests.py",),
    ),
    Mutant(
        "requests: on another instance's subject",
        f"{CORE}/readers.py",
        '    expect(subject.rpartition(".")[0], own.rpartition(".")[0], what="request")\n',
        "    _ = own\n",
        (f"{UNIT}/test_protocol.py", f"{UNIT}/test_requests.py"),
    ),
    Mutant(
        "requests: on another operation's subject",
        f"{CORE}/readers.py",
        '    expect(asked.subject, place, what="request")\n',
        "    _ = place\n",
        (f"{UNIT}/test_requests.py",),
    ),
    Mutant(
        "requests: of any age",
        f"{CORE}/readers.py",
        "    if abs(age) > MAX_REQUEST_AGE_S:",
        "    if age > 10**9:",
        (f"{UNIT}/test_requests.py",),
    ),
    Mutant(
        "requests: the age is not asked for",
        "services/distributor/src/rekey_distributor/requests.py",
        "            check_age(request, self.clock.now())\n",
        "",
        ("tests/unit/rekey_distributor/test_requests.py",),
    ),
    Mutant(
        "requests: a nonce works again",
        "services/distributor/src/rekey_distributor/requests.py",
        "        if request.nonce in self._nonces:",
        "        if request.nonce in ():",
        ("tests/unit/rekey_distributor/test_requests.py",),
    ),
    Mutant(
        "requests: the HSM signs for whoever has no lease",
        "services/distributor/src/rekey_distributor/requests.py",
        "            case SignRequest():\n                await "
        "self.leasing.check(request.dependent, request.instance, request.key)\n",
        "            case SignRequest():\n",
        ("tests/unit/rekey_distributor/test_requests.py",),
    ),
    Mutant(
        "requests: the HSM encrypts for whoever has no lease",
        "services/distributor/src/rekey_distributor/requests.py",
        "            case SealedRequest():\n                await "
        "self.leasing.check(request.dependent, request.instance, request.key)\n",
        "            case SealedRequest():\n",
        ("tests/unit/rekey_distributor/test_requests.py",),
    ),
    Mutant(
        "alarms: a flood of requests is told as it comes",
        "shared/runtime/src/rekey_runtime/request_alarms.py",
        "        if said.in_window == ALARMS_EACH:",
        "        if said.in_window < 0:",
        ("tests/unit/rekey_runtime/test_request_alarms.py",),
    ),
    Mutant(
        "alarms: nobody is told of a request that is none",
        "shared/runtime/src/rekey_runtime/subscriptions.py",
        "                await self._alarm(core, error)\n",
        "                _ = core\n",
        ("tests/unit/rekey_runtime/test_answering.py",),
    ),
    Mutant(
        "lease: what is born while it is stored need not be proved",
        "services/distributor/src/rekey_distributor/leasing.py",
        "        after = await self._proved(request, receipt, await self._stored(request.dependent, request.instance))",
        "        after = states",
        ("tests/unit/rekey_distributor/test_leasing.py",),
    ),
    Mutant(
        "lease: another instance's receipt proves",
        "services/distributor/src/rekey_distributor/leasing.py",
        "        if (receipt.dependent, receipt.instance) != (request.dependent, request.instance):",
        "        if receipt.dependent != request.dependent:",
        ("tests/unit/rekey_distributor/test_leasing.py",),
    ),
    Mutant(
        "release: a key that generated does not commit to",
        "services/distributor/src/rekey_distributor/releasing.py",
        "        if secret_commitment(context, commitment) != fact.commitment:",
        "        if not commitment:",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "release: a responder who speaks meanwhile is not heard",
        "services/distributor/src/rekey_distributor/releasing.py",
        "            self._check(state, request, version)\n        return MaterialAnswer(",
        "            _ = version\n        return MaterialAnswer(",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "release: a second delivery is told at a state that nobody decided at",
        "services/distributor/src/rekey_distributor/delivering.py",
        "        if again.last_sequence != state.last_sequence:",
        "        if again.last_sequence < state.last_sequence:",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "release: a second delivery does not ask the leader again",
        "services/distributor/src/rekey_distributor/delivering.py",
        "                    state = await self._unmoved(request.key, state)",
        "                    pass",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "use: a responder who speaks meanwhile is not heard",
        "services/distributor/src/rekey_distributor/using.py",
        "        check(state)  # the emergency lane may have spoken while the HSM worked\n",
        "",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "records: the MAC is not verified",
        "services/distributor/src/rekey_distributor/records.py",
        "        await self._hsm.verify_record_mac(\n            "
        "record_mac_label(fact.env, version.epoch), data, b64u_decode(record.mac)\n        )\n",
        "        _ = data\n",
        ("tests/unit/rekey_distributor/test_records.py",),
    ),
    Mutant(
        "records: another record than generated names",
        "services/distributor/src/rekey_distributor/records.py",
        "    if found != expected:",
        "    if not found:",
        ("tests/unit/rekey_distributor/test_records.py",),
    ),
    Mutant(
        "leases: a read behind the leader is enough to decide",
        "shared/runtime/src/rekey_runtime/leases.py",
        "        if last is not None and last.sequence > read:",
        "        if last is None and read:",
        ("tests/unit/rekey_rotation_scheduler/test_proofs.py",),
    ),
    Mutant(
        "generator: a record that is there is not adopted",
        "services/generator/src/rekey_generator/handlers.py",
        "if left else await self._made(wanted)",
        "if left and not left.data else await self._made(wanted)",
        ("tests/unit/rekey_generator/test_handlers.py",),
    ),
    Mutant(
        "generator: a record is adopted whoever made its MAC",
        "services/generator/src/rekey_generator/handlers.py",
        "        if not hmac.compare_digest(b64u_decode(record.mac), await self._mac(record)):",
        "        if not record.mac:",
        ("tests/unit/rekey_generator/test_handlers.py",),
    ),
    Mutant(
        "generator: a record is adopted whatever it was made for",
        "services/generator/src/rekey_generator/handlers.py",
        "        making.check_record(record, wanted)\n",
        "",
        ("tests/unit/rekey_generator/test_handlers.py",),
    ),
    Mutant(
        "room: a delivery takes what belongs to revocation",
        "services/distributor/src/rekey_distributor/deliveries.py",
        "        check_delivery(self._bus.room.share(Stream.LIFECYCLE))\n",
        "",
        ("tests/unit/rekey_distributor/test_releasing.py",),
    ),
    Mutant(
        "room: a rotation takes what belongs to revocation",
        "services/rotation-scheduler/src/rekey_rotation_scheduler/handlers.py",
        "            check_rotation(self.bus.room.share(Stream.LIFECYCLE))\n",
        "            _ = begins\n",
        ("tests/unit/rekey_rotation_scheduler/test_room.py",),
    ),
    Mutant(
        "room: what was never looked at is empty",
        "shared/runtime/src/rekey_runtime/room.py",
        "        return self._shares[stream]",
        "        return 0.0",
        ("tests/unit/rekey_runtime/test_room.py",),
    ),
    Mutant(
        "local: the bus starts under another key at rest",
        "deploy/local/src/rekey_local/bus.py",
        "    if file.exists() and file.read_text() != found:",
        "    if file.exists() and not file.read_text():",
        ("tests/unit/rekey_local/test_found.py",),
    ),
    Mutant(
        "provision: a schema is lost with the database server",
        "deploy/provision/src/rekey_provision/database.py",
        '_DURABLE: Final = {"synchronous_commit": "on"}',
        "_DURABLE: Final = {}",
        ("tests/system/test_database.py",),
    ),
    Mutant(
        "keylog: what a rule says of an old fold counts",
        "shared/runtime/src/rekey_runtime/keylog.py",
        "                if await self._is_newest(state):\n                    raise\n                continue\n",
        "                raise\n",
        ("tests/unit/rekey_runtime/test_keylog.py",),
    ),
    Mutant(
        "keylog: nothing to do, says an old fold",
        "shared/runtime/src/rekey_runtime/keylog.py",
        "if fact is None and await self._is_newest(state):",
        "if fact is None:",
        ("tests/unit/rekey_runtime/test_keylog.py",),
    ),
    Mutant(
        "waves: one that is late takes the others of its batch along",
        "shared/runtime/src/rekey_runtime/waves.py",
        "if len(wave) == 1 or isinstance(error, UnknownOutcomeError) or not isinstance(error, RekeyError):",
        "if wave:",
        ("tests/unit/rekey_runtime/test_waves.py",),
    ),
    Mutant(
        "waves: two facts of one key are in one batch",
        "shared/runtime/src/rekey_runtime/waves.py",
        "            checks |= unit.checks\n",
        "",
        ("tests/unit/rekey_runtime/test_waves.py",),
    ),
    Mutant(
        "waves: what may be stored is sent again",
        "shared/runtime/src/rekey_runtime/waves.py",
        "isinstance(error, UnknownOutcomeError)",
        "False",
        ("tests/unit/rekey_runtime/test_waves.py",),
    ),
)
