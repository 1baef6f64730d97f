"""What officers saw is recorded once, by a quorum's word and if the log agrees; audit knows it after a new start too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rekey_audit import keks
from rekey_audit.handlers import Audit
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import (
    ATTESTATION_LIFETIME,
    About,
    Alert,
    Ask,
    AttestationAnswer,
    AttestationOffer,
    Attested,
    BackupAnswer,
    EpochEnd,
    OfficersSigned,
    Signed,
)
from rekey_core.drilled import attestation_id, drill_subject
from rekey_core.envelope import open_signed
from rekey_core.errors import SchemaError, UnavailableError, UnknownOutcomeError
from rekey_core.names import Service
from rekey_runtime.health import Health
from tests.fakes.endings import raises
from tests.fakes.scene import Scene
from tests.unit.orders import attestation, signed
from tests.unit.world import ENV

ALERTS = f"rpt.{ENV}.audit.alert.*"
RECORDS = f"rpt.{ENV}.audit.attestation.*"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Two versions, both backed up."""
    made = Scene(home=tmp_path, transport="0" * 64)
    made.registered()
    made.version(1)
    made.version(2)
    return made


async def audit_of(scene: Scene) -> Audit:
    """As a fresh process, without a database."""
    audit = Audit(await scene.bus(Service.AUDIT))
    await audit.rebuild()
    return audit


def said(scene: Scene, *officers: str, **changes: Any) -> OfficersSigned:
    now = datetime.now(UTC) - timedelta(minutes=1)
    body = {"at": now, "expires_at": now + ATTESTATION_LIFETIME, "as_of": scene.log[-1].sequence}
    body |= {"checked": 2, "restored": 2}
    return signed(scene, attestation(**(body | changes)), *(officers or ("oliver", "odile")))


async def offered(
    scene: Scene, audit: Audit, found: OfficersSigned, about: About = "attestation"
) -> AttestationAnswer:
    offer = AttestationOffer(env=ENV, about=about, signed=found).model_dump_json().encode()
    data, _ = await audit.attestations.on_offer(Subjects(ENV).attestation(attestation_id(found)), offer)
    keys = scene.trust.service_keys(Service.AUDIT)
    return open_signed(Signed.model_validate_json(data), (AttestationAnswer,), keys, where="answer")


async def test_a_drill_is_recorded_once_and_known_after_a_new_start(scene: Scene) -> None:
    audit, found = await audit_of(scene), said(scene)
    assert audit.ledger.drills.status(datetime.now(UTC)) != "proved"
    for _ in range(2):
        answer = await offered(scene, audit, found)
        assert (answer.code, answer.attestation) == (None, attestation_id(found))
    assert len(scene.server.messages(Stream.REPORTS, RECORDS)) == 1
    newest = audit.ledger.drills.newest
    assert newest is not None
    assert (newest.officers, newest.found.is_passed) == (("odile", "oliver"), True)
    assert (await audit_of(scene)).ledger.drills.newest == newest


@pytest.mark.parametrize(
    ("officers", "changes", "code"),
    [
        pytest.param(("oliver",), {}, "authority", id="one officer"),
        pytest.param(("oliver", "oliver"), {}, "authority", id="one officer twice"),
        pytest.param(("oliver", "rita"), {}, "authority", id="somebody who is none"),
        pytest.param(
            (), {"checked": 1, "restored": 1}, "state-refused", id="a bundle without one of the versions"
        ),
        pytest.param((), {"checked": 3, "restored": 3}, "state-refused", id="more than the log has"),
        pytest.param((), {"as_of": 1}, "state-refused", id="the log before there was a backup"),
        pytest.param(
            (),
            {"as_of": 0, "checked": 0, "restored": 0},
            "state-refused",
            id="an empty bundle, of which nothing is missing",
        ),
        pytest.param(
            (), {"expires_at": datetime.now(UTC)}, "policy", id="another lifetime than every attestation has"
        ),
        pytest.param((), {"as_of": 1000}, "unavailable", id="a log that audit has not read"),
    ],
)
async def test_what_is_not_so_is_not_recorded(
    scene: Scene, officers: tuple[str, ...], changes: dict[str, Any], code: str
) -> None:
    audit = await audit_of(scene)
    answer = await offered(scene, audit, said(scene, *officers, **changes))
    assert (answer.code, answer.retry) == (code, code == "unavailable")
    assert scene.server.messages(Stream.REPORTS) == []
    assert audit.ledger.drills.newest is None


@pytest.mark.parametrize(
    ("officers", "epoch", "code"),
    [
        pytest.param(("oliver", "odile"), 9, None, id="two officers, of an epoch that nothing lies under"),
        pytest.param(("oliver",), 9, "authority", id="one officer"),
        pytest.param(("oliver", "odile"), 1, "state-refused", id="an epoch that the versions lie under"),
    ],
)
async def test_the_end_of_an_epoch_is_recorded_where_the_log_agrees(
    scene: Scene, officers: tuple[str, ...], epoch: int, code: str | None
) -> None:
    audit, now = await audit_of(scene), datetime.now(UTC)
    said = {"env": ENV, "epoch": epoch, "challenge": "0" * 32, "as_of": 1, "reason": "roll-over", "at": now}
    found = signed(scene, EpochEnd.model_validate(said), *officers)
    answers = [await offered(scene, audit, found, "kek-end") for _ in range(2)]
    assert [answer.code for answer in answers] == [code, code]
    for one in (audit, await audit_of(scene)):
        assert [end.epoch for end in keks.on_record(one.ledger.ended)] == ([] if code else [epoch])
        assert one.ledger.drills.newest is None
    assert (await offered(scene, audit, found)).code == "authority", "it is no drill"


async def test_a_write_that_nobody_knows_of_is_found_by_the_next_try(scene: Scene) -> None:
    audit, found = await audit_of(scene), said(scene)
    scene.server.once("after", RECORDS, raises(UnknownOutcomeError("no answer")))
    assert (await offered(scene, audit, found)).retry
    assert (await offered(scene, audit, found)).code is None
    assert len(scene.server.messages(Stream.REPORTS, RECORDS)) == 1


async def test_a_record_that_no_quorum_signed_is_an_alarm_and_counts_for_nothing(scene: Scene) -> None:
    audit, alone = await audit_of(scene), said(scene, "oliver")
    record = Attested(env=ENV, author=Service.AUDIT, signed=alone, at=datetime.now(UTC))
    scene.put(drill_subject(ENV, alone), record, Service.AUDIT)
    [message] = scene.server.messages(Stream.REPORTS, RECORDS)
    with pytest.raises(SchemaError, match="expected 2 officers, found 1"):
        await audit.on_report(message)
    again = await audit_of(scene)
    assert again.ledger.drills.newest is None
    assert [alert.code for alert in alerts(scene)] == ["schema"]


def figures_of(audit: Audit, series: str) -> list[float]:
    """What ``/metrics`` shows of a series."""
    lines = audit.bus.metrics.text(Health("audit", stale_s=60)).decode().splitlines()
    return [float(line.split()[-1]) for line in lines if line.startswith(series)]


def alerts(scene: Scene) -> list[Alert]:
    found = scene.server.messages(Stream.REPORTS, ALERTS)
    return [Alert.model_validate_json(message.data) for message in found]


async def test_a_fresh_environment_is_quiet_and_one_that_never_tries_a_restore_is_not(scene: Scene) -> None:
    audit = await audit_of(scene)
    for _ in range(2):
        await audit.attestations.first_backup()
    first = scene.server.messages(Stream.LIFECYCLE, "evt.*.*.*.generator.backed-up.*")[0].stored_at
    assert audit.ledger.drills.first_backup == first
    assert audit.attestations.complaint(first + timedelta(days=1)) is None
    [due] = figures_of(audit, 'rekey_drill_due_timestamp_seconds{service="audit"}')
    assert due == (first + ATTESTATION_LIFETIME).timestamp()
    complaint = audit.attestations.complaint(first + ATTESTATION_LIFETIME)
    assert complaint is not None
    assert complaint[0] == "drill-overdue"


async def test_where_nothing_is_backed_up_nothing_is_due(tmp_path: Path) -> None:
    audit = await audit_of(Scene(home=tmp_path, transport="0" * 64))
    await audit.look_at_drills()
    assert audit.ledger.drills.due is None
    assert figures_of(audit, "rekey_drill_due_timestamp_seconds") == []


async def test_a_failed_drill_is_one_alarm_until_the_next_drill(scene: Scene) -> None:
    audit = await audit_of(scene)
    wrong = said(scene, restored=1, failures=("orders-db@2: altered",))
    assert (await offered(scene, audit, wrong)).code is None
    for one in (audit, audit, await audit_of(scene)):
        await one.look_at_drills()
    assert [alert.code for alert in alerts(scene)] == ["drill-failed"]
    now = datetime.now(UTC)
    assert (
        await offered(scene, audit, said(scene, at=now, expires_at=now + ATTESTATION_LIFETIME))
    ).code is None
    await audit.look_at_drills()
    assert len(alerts(scene)) == 1
    assert audit.ledger.drills.status(now) == "proved"


async def test_an_alarm_waits_for_a_bus_that_does_not_take_it(scene: Scene) -> None:
    audit = await audit_of(scene)
    await offered(scene, audit, said(scene, restored=1, failures=("orders-db@2: altered",)))
    scene.server.once("before", ALERTS, raises(UnavailableError("full")))
    with pytest.raises(UnavailableError):
        await audit.look_at_drills()
    await audit.say_alarms()
    assert [alert.code for alert in alerts(scene)] == ["drill-failed"]


async def test_a_person_who_asks_is_told_of_a_drill_as_soon_as_it_is_recorded(scene: Scene) -> None:
    audit = await audit_of(scene)
    assert (await asked(scene, audit)).status == "never-drilled"
    await offered(scene, audit, said(scene))
    found = await asked(scene, audit)
    assert (found.status, found.covered, found.uncovered) == ("proved", 2, ())
    assert found.drill is not None
    assert found.due == found.drill.expires_at
    assert found.drill.officers == ("odile", "oliver")


async def asked(scene: Scene, audit: Audit) -> BackupAnswer:
    """What rita is told."""
    ask = Ask(nonce="0" * 32).model_dump_json().encode()
    data, _ = await audit.on_ask(Subjects(ENV).ask("rita", BackupAnswer.VERB), ask)
    keys = scene.trust.service_keys(Service.AUDIT)
    return open_signed(Signed.model_validate_json(data), (BackupAnswer,), keys, where="answer")
