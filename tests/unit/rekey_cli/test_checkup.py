"""What doctor says of each thing that it can find, and what it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from rekey.cli import checkup
from rekey.cli.checkup import Level, Line, exit_code, fail, ok, warn
from rekey.cli.errors import Exit
from rekey_core.contracts import ConsumerLag, HealthAnswer, RecentAlarm, StreamFill
from rekey_core.names import Service

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ALICE = "spiffe://rekey.dev/person/alice"
KEY, OTHER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def issued(days: float, *, begins: float = -1, identity: str = ALICE) -> bytes:
    """A certificate that is valid from ``begins`` to ``days`` days from now."""
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity)])
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([]))
    builder = builder.public_key(KEY.public_key()).serial_number(1).add_extension(names, critical=True)
    builder = builder.not_valid_before(NOW + timedelta(days=begins))
    made = builder.not_valid_after(NOW + timedelta(days=days)).sign(KEY, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("cert", "key", "level", "words"),
    [
        pytest.param(issued(-0.1), KEY, Level.FAIL, "valid from", id="expired"),
        pytest.param(issued(100, begins=1), KEY, Level.FAIL, "valid from", id="not valid yet"),
        pytest.param(
            issued(100, identity=f"{ALICE}x"), KEY, Level.FAIL, f"expected {ALICE}", id="of somebody else"
        ),
        pytest.param(issued(100), OTHER, Level.FAIL, "not its key", id="with another key"),
        pytest.param(issued(13), KEY, Level.WARN, "expires at", id="about to expire"),
        pytest.param(issued(100), KEY, Level.OK, "valid until", id="as it should be"),
    ],
)
def test_a_certificate(cert: bytes, key: ec.EllipticCurvePrivateKey, level: Level, words: str) -> None:
    line = checkup.certificate(cert, pem(key), ALICE, NOW)
    assert line.level is level
    assert words in line.what
    assert (line.fix is None) is (level is Level.OK)


def test_a_file_that_is_none_is_said_by_whoever_reads_it() -> None:
    for cert, key in ((b"x", pem(KEY)), (issued(1), b"x")):
        with pytest.raises(ValueError, match=r".+"):
            checkup.certificate(cert, key, ALICE, NOW)


@pytest.mark.parametrize(
    ("line", "level"),
    [
        pytest.param(checkup.authority(issued(-0.1), NOW), Level.FAIL, id="an expired CA"),
        pytest.param(checkup.authority(issued(13), NOW), Level.WARN, id="a CA about to expire"),
        pytest.param(checkup.authority(issued(100), NOW), Level.OK, id="a CA as it should be"),
        pytest.param(
            checkup.private_file("ssh_key", "k", 0o100644), Level.FAIL, id="a key that others may read"
        ),
        pytest.param(
            checkup.private_file("ssh_key", "k", 0o100640), Level.FAIL, id="a key that a group may read"
        ),
        pytest.param(checkup.private_file("ssh_key", "k", 0o100600), Level.OK, id="a private key"),
        pytest.param(checkup.clock(0.4, 0.1), Level.OK, id="a clock that is right"),
        pytest.param(checkup.clock(-8, 0.1), Level.WARN, id="a clock that is behind"),
        pytest.param(checkup.clock(8, 4), Level.OK, id="an answer that took long says little"),
        pytest.param(checkup.clock(61, 0.1), Level.FAIL, id="a clock that makes commands from the future"),
    ],
)
def test_levels(line: Line, level: Level) -> None:
    assert line.level is level
    assert (line.fix is None) is (level is Level.OK)


def answer(
    pending: int = 0, fill: float = 0.1, alarms: tuple[RecentAlarm, ...] = (), count: int | None = None
) -> HealthAnswer:
    """What audit could say."""
    return HealthAnswer(
        env="dev",
        person="alice",
        nonce="0" * 32,
        as_of=7,
        at=NOW,
        bus_time=NOW,
        consumers=(ConsumerLag(consumer="audit", stream="LIFECYCLE", pending=pending, unacknowledged=1),),
        streams=(StreamFill(stream="REPORTS", messages=1, bytes=int(fill * 1000), max_bytes=1000),),
        alarms=alarms,
        alarms_last_day=len(alarms) if count is None else count,
    )


ALARM = RecentAlarm(
    at=NOW, author=Service.AUDIT, code="signature", stream="LIFECYCLE", sequence=9, subject="evt.dev.k.1.x"
)


@pytest.mark.parametrize(
    ("said", "levels", "words"),
    [
        pytest.param(answer(), "ok ok ok", "none in the last day", id="all is well"),
        pytest.param(answer(pending=99), "ok ok ok", "99 messages wait", id="a few messages wait"),
        pytest.param(answer(pending=100), "warn ok ok", "100 messages wait", id="many messages wait"),
        pytest.param(answer(fill=0.7), "ok warn ok", "70% full", id="a stream that fills"),
        pytest.param(
            answer(fill=0.8), "ok fail ok", "deliveries and reports stop", id="a stream that is full"
        ),
        pytest.param(answer(alarms=(ALARM,)), "ok ok warn", "signature at LIFECYCLE 9", id="an alarm"),
        pytest.param(answer(count=3), "ok ok warn", "3 in the last day: outside", id="alarms of others"),
    ],
)
def test_what_audit_says(said: HealthAnswer, levels: str, words: str) -> None:
    lines = checkup.audits(said)
    assert " ".join(line.level for line in lines) == levels
    assert [line for line in lines if words in line.what]


def _alarm(subject: str) -> RecentAlarm:
    return ALARM.model_copy(update={"subject": subject})


@pytest.mark.parametrize(
    ("alarms", "count", "fix"),
    [
        pytest.param(
            (ALARM,), 1, "rekey key history k shows what is VOID", id="a fact: its key's history shows it"
        ),
        pytest.param(
            (ALARM, _alarm("cmd.rotate.dev.k.1")), 2, "audit's log (event alarm) says why", id="a command"
        ),
        pytest.param(
            (_alarm("$JS.EVENT.ADVISORY.X"),), 1, "audit's log (event alarm) says why", id="the server's word"
        ),
        pytest.param((_alarm("evt.dev"),), 1, "audit's log (event alarm) says why", id="no key in it"),
        pytest.param(
            (_alarm("evt.dev.$(id).1.x"),),
            1,
            "audit's log (event alarm) says why",
            id="what is no name of a key",
        ),
        pytest.param((), 3, "ask an auditor", id="others' alone"),
    ],
)
def test_an_alarm_leads_to_where_more_is_said_about_it(
    alarms: tuple[RecentAlarm, ...], count: int, fix: str
) -> None:
    line = checkup.audits(answer(alarms=alarms, count=count))[-1]
    assert fix in (line.fix or "")
    assert not alarms or alarms[-1].subject in (line.fix or "")


@pytest.mark.parametrize(
    ("status", "body", "levels", "words"),
    [
        pytest.param(200, {"ready": True, "failed": [], "remarks": []}, "ok", "ready", id="ready"),
        pytest.param(
            200,
            {"remarks": ["software-keys"]},
            "ok warn",
            "in software",
            id="ready, and its keys are in software",
        ),
        pytest.param(
            200,
            {"remarks": ["database-away"]},
            "ok warn",
            "its database does not answer; it goes on without",
            id="ready, and without its database",
        ),
        pytest.param(
            200,
            {"remarks": ["certificate-expires"]},
            "ok warn",
            "its certificate expires soon",
            id="ready, and its certificate expires soon",
        ),
        pytest.param(
            200,
            {"remarks": ["identity-refused", "software-keys"]},
            "ok warn warn",
            "replaced by something that it cannot use",
            id="ready, and two remarks",
        ),
        pytest.param(
            503,
            {"failed": [{"check": "hsm", "since": "12:00", "message": "no token"}]},
            "fail",
            "hsm since 12:00: no token",
            id="not ready",
        ),
        pytest.param(503, {"failed": "x"}, "fail", "does not say why", id="something else answers"),
        pytest.param(404, {}, "fail", "does not say why", id="nothing of ours answers"),
    ],
)
def test_what_a_service_says(status: int, body: Mapping[str, object], levels: str, words: str) -> None:
    lines = checkup.readiness("generator", "http://127.0.0.1:1", status, body)
    assert " ".join(line.level for line in lines) == levels
    assert words in " ".join(line.what for line in lines)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        pytest.param([], Exit.DONE, id="nothing was looked at"),
        pytest.param([ok("a"), warn("b", "c")], Exit.DONE, id="a warning is no failure"),
        pytest.param(
            [ok("a"), fail("b", "c"), fail("d", "e", Exit.UNREACHABLE)], Exit.FAILURE, id="the first counts"
        ),
        pytest.param(
            [warn("a", "b"), fail("d", "e", Exit.VERIFICATION)], Exit.VERIFICATION, id="its own code"
        ),
    ],
)
def test_the_exit_code(lines: list[Line], code: Exit) -> None:
    assert exit_code(lines) is code


def test_a_line_says_what_and_how_to_mend_it() -> None:
    view = checkup.checkup_view([ok("clock"), fail("bus: away", "start it")])
    assert view.lines == ("ok    clock", "fail  bus: away  | fix: start it")
    assert view.data == [
        {"level": "ok", "what": "clock", "fix": None},
        {"level": "fail", "what": "bus: away", "fix": "start it"},
    ]
