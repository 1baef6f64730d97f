"""The real command line on a real bus with audit, scheduler and revocation: answers and exit codes; only data on stdout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from rekey_core.authority import Identity
from rekey_core.names import Service
from tests.system.audit_stack import REGISTERED, People, rekey, running_people
from tests.system.bus import wait_until
from tests.system.ports import free_port

REGISTER = (
    "--class",
    "application-data",
    "--dependent",
    "orders",
    "billing",
    "--purpose",
    "a test",
    "--reason",
    "a test",
)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    """Alice owns orders-db, otto owns nothing, rita responds, adam audits."""
    services = [Service.AUDIT, Service.ROTATION_SCHEDULER, Service.REVOCATION]
    with running_people(tmp_path_factory.mktemp("cli"), services) as running:
        registered(running, "orders-db")
        yield running


def registered(people: People, key: str) -> None:
    """Alice registers a key; returns when all that comes of it is said: one fact after the other."""
    made = people.rekey("alice", "key", "register", key, *REGISTER)
    assert made.returncode == 0, made.stderr
    history = ("key", "history", key, "--output", "json")
    wait_until(lambda: REGISTERED in people.rekey("adam", *history).stdout, f"{key} is registered")


COMMANDS = [
    pytest.param("alice", ["key", "ls"], 0, "", id="an owner lists keys"),
    pytest.param("alice", ["key", "show", "orders-db"], 0, "", id="an owner sees a key"),
    pytest.param(
        "adam", ["key", "history", "orders-db"], 0, "", id="an auditor sees the history of a key in scope"
    ),
    pytest.param("rita", ["adoption", "orders-db@1"], 0, "", id="a responder sees who has proved what"),
    pytest.param(  # no generator runs here, so the first version is never made
        "alice",
        ["key", "rotate", "orders-db", "--reason", "x", "--plan"],
        5,
        "version 1 is pre-activation",
        id="a plan of a rotation while one is under way",
    ),
    pytest.param(
        "rita", ["revoke", "orders-db", "--reason", "x", "--plan"], 0, "", id="a plan needs no --yes"
    ),
    pytest.param("alice", ["key", "show"], 2, "requires an argument", id="an argument is missing"),
    pytest.param(
        "rita", ["revoke", "orders-db", "--reason", "x"], 2, "expected --yes", id="a stop without a terminal"
    ),
    pytest.param(
        "alice", ["key", "show", "orders-none"], 3, "not-found: orders-none", id="a key that does not exist"
    ),
    pytest.param("alice", ["adoption", "orders-db@9"], 3, "no version 9", id="a version that does not exist"),
    pytest.param("alice", ["command", "0" * 64], 3, "no such command", id="a command that does not exist"),
    pytest.param(
        "alice",
        ["key", "rotate", "orders-none", "--reason", "x"],
        3,
        "orders-none",
        id="a rotation of a key that does not exist",
    ),
    pytest.param(
        "otto", ["key", "show", "orders-db"], 4, "not-in-scope: orders-db", id="another owner's key"
    ),
    pytest.param(
        "otto", ["key", "show", "orders-none"], 4, "not-in-scope", id="another owner's name that is not a key"
    ),
    pytest.param(
        "otto", ["adoption", "orders-db"], 4, "not-in-scope: orders-db", id="adoption of another owner's key"
    ),
    pytest.param(
        "otto",
        ["key", "rotate", "orders-db", "--reason", "x"],
        4,
        "not-in-scope: rotate orders-db",
        id="rotating another owner's key",
    ),
    pytest.param(
        "alice", ["suspend", "orders-db", "--reason", "x", "--yes"], 4, "authority", id="a stop by an owner"
    ),
    pytest.param(
        "rita",
        ["key", "rotate", "orders-db", "--reason", "x"],
        4,
        "authority",
        id="a rotation by a responder",
    ),
    pytest.param(
        "alice", ["key", "register", "orders-db", *REGISTER], 5, "already-exists", id="a name that is taken"
    ),
    pytest.param(
        "alice",
        ["suspend", "orders-db", "--reason", "x", "--plan"],
        4,
        "authority",
        id="a plan of a stop by an owner",
    ),
    pytest.param(
        "rita",
        ["key", "destroy", "orders-db@1", "--reason", "x", "--plan"],
        0,
        "",
        id="who is to sign as the second looks at the plan first",
    ),
    pytest.param(
        "rita",
        ["key", "waive", "orders-db@1", "--dependent", "orders", "--reason", "x", "--plan"],
        4,
        "authority: waive orders-db: rita is not owner",
        id="a plan of a waiver by a responder",
    ),
    pytest.param(
        "rita",
        ["suspend", "orders-db@99", "--reason", "x", "--plan"],
        3,
        "99",
        id="a plan of a stop of nothing",
    ),
    pytest.param(
        "alice",
        ["key", "rotate", "orders-db", "--reason", "", "--plan"],
        2,
        "reason",
        id="a plan without a reason",
    ),
    pytest.param(
        "alice",
        ["key", "register", "orders-db", *REGISTER, "--plan"],
        5,
        "already-exists",
        id="a plan of a name that is taken",
    ),
]


@pytest.mark.parametrize(("person", "arguments", "code", "words"), COMMANDS)
def test_the_exit_code_says_what_happened(
    people: People, person: str, arguments: list[str], code: int, words: str
) -> None:
    ended = people.rekey(person, *arguments)
    assert ended.returncode == code, ended.stderr
    assert words in ended.stderr
    if code:
        assert ended.stdout == ""
        assert "hint: " in ended.stderr
        assert "Traceback" not in ended.stderr


def test_json_is_one_document_and_ndjson_one_line_each(people: People) -> None:
    whole = json.loads(people.rekey("adam", "key", "history", "orders-db", "--output", "json").stdout)
    lines = people.rekey("adam", "key", "history", "orders-db", "--output", "ndjson").stdout.splitlines()
    assert [json.loads(line) for line in lines] == whole
    assert [entry["event"] for entry in whole][:4] == [
        "registered",
        "granted",
        "granted",
        "rotation-requested",
    ]
    assert {entry["person"] for entry in whole if entry["event"] == "registered"} == {"alice"}


def test_a_table_in_a_pipe_has_no_colour_and_no_trailing_space(people: People) -> None:
    out = people.rekey("alice", "key", "ls").stdout
    assert "orders-db" in out
    assert not re.search(r"\x1b| $", out, re.MULTILINE)


def test_a_plan_changes_nothing_and_names_everybody(people: People) -> None:
    before = people.rekey("adam", "key", "history", "orders-db", "--output", "json").stdout
    ended = people.rekey(
        "rita", "suspend", "orders-db@1", "--reason", "a drill", "--plan", "--output", "json"
    )
    plan = json.loads(ended.stdout)
    assert (plan["key"], plan["version"], plan["owner"]) == ("orders-db", 1, "alice")
    assert [dependent["dependent"] for dependent in plan["dependents"]] == ["billing", "orders"]
    assert plan["changes"]
    assert plan["unchanged"]
    assert people.rekey("adam", "key", "history", "orders-db", "--output", "json").stdout == before


def test_a_registration_that_nobody_completes_is_accepted_but_incomplete(people: People) -> None:
    ended = people.rekey("alice", "key", "register", "orders-slow", *REGISTER, "--wait", "2")
    assert ended.returncode == 6, ended.stderr
    assert "incomplete: accepted, but not complete after 2 s: orders-slow@1 is pre-activation" in ended.stderr
    assert people.rekey("alice", "key", "show", "orders-slow").returncode == 0


def test_a_result_names_the_command_and_where_its_progress_is_seen(people: People) -> None:
    registered(people, "orders-stop")
    ended = people.rekey(
        "rita", "suspend", "orders-stop@1", "--reason", "a drill", "--yes", "--wait", "30", "--output", "json"
    )
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert (result["key"], result["version"], result["status"]) == ("orders-stop", 1, "done")
    asked = people.rekey("rita", *result["progress"].split()[1:])
    assert asked.returncode == 0
    assert "suspended" in asked.stdout
    done = json.loads(people.rekey("rita", "command", result["command"], "--output", "json").stdout)
    assert [(fact["event"], fact["person"]) for fact in done["facts"]] == [("suspended", "rita")]
    assert people.rekey("rita", "revoke", "orders-stop@1", "--reason", "it is", "--yes").returncode == 0
    again = people.rekey("rita", "suspend", "orders-stop@1", "--reason", "again", "--yes")
    assert again.returncode == 5
    assert "state-refused" in again.stderr


def test_a_bus_that_is_down_is_unreachable(people: People) -> None:
    nobody = f"tls://127.0.0.1:{free_port()}"
    context = people.context("alice", bus_url=nobody)
    ended = people.rekey("alice", "key", "ls", context=context)
    assert ended.returncode == 7
    assert ended.stdout == ""
    assert f"unavailable: bus {nobody}" in ended.stderr
    assert "hint: " in ended.stderr


def test_another_genesis_is_a_verification_failure(people: People) -> None:
    ended = people.rekey("alice", "key", "ls", context=people.context("alice", trust_genesis="0" * 64))
    assert ended.returncode == 8
    assert "trust: " in ended.stderr


def test_a_context_that_is_missing_or_wrong_is_usage(people: People) -> None:
    assert rekey(["key", "ls"], None).returncode == 2
    ended = people.rekey("alice", "key", "ls", context=people.context("alice", colour="blue"))
    assert ended.returncode == 2
    assert "colour" in ended.stderr
    unreadable = people.rekey(
        "alice",
        "key",
        "rotate",
        "orders-db",
        "--reason",
        "x",
        context=people.context("alice", ssh_key="none"),
    )
    assert unreadable.returncode == 2
    assert "ssh_key" in unreadable.stderr


def doctored(people: People, person: str, context: Path | None = None) -> tuple[int, dict[str, str], str]:
    """Exit code of doctor, level by what each line is about, and all that was said."""
    ended = people.rekey(person, "doctor", "--output", "json", context=context)
    lines = json.loads(ended.stdout)
    levels: dict[str, str] = {}
    for line in lines:
        levels.setdefault(line["what"].partition(":")[0].partition(" ")[0], line["level"])
        assert (line["fix"] is None) is (line["level"] == "ok"), line
    return ended.returncode, levels, ended.stdout + ended.stderr


def test_doctor_finds_nothing_wrong_where_nothing_is(people: People) -> None:
    code, levels, said = doctored(people, "alice")
    assert code == 0, said
    assert set(levels) == {
        *("tls_key", "ssh_key", "certificate", "CA", "bus", "trust", "rights", "audit", "clock"),
        *("consumers", "streams", "alarms", "backups"),
    }
    certificates = {"certificate", "CA"}  # those of a test are valid for a day
    assert {what: levels[what] for what in certificates} == dict.fromkeys(certificates, "warn")
    assert {level for what, level in levels.items() if what not in {*certificates, "alarms"}} == {"ok"}
    table = people.rekey("alice", "doctor").stdout.splitlines()
    assert len(table) == len(levels)
    assert [line for line in table if not re.match(r"(ok  |warn|fail)  \S", line)] == []
    assert all("| fix: " in line for line in table if not line.startswith("ok"))


def expired(people: People) -> dict[str, object]:
    """Alice's certificate as it would be two days from now."""
    files = people.bus.authority.identity(Identity.PERSON, "alice", valid_for=timedelta(seconds=-1))
    return {"tls_cert": files.cert, "tls_key": files.key}


def readable(people: People) -> dict[str, object]:
    """A copy of her key that everybody may read."""
    key = people.bus.directory / "people" / "alice" / "copy"
    key.write_bytes(people.bus.people["alice"])
    key.chmod(0o644)
    return {"ssh_key": key}


def another(people: People) -> dict[str, object]:
    """A key that the trust document does not know."""
    key = people.bus.directory / "people" / "alice" / "another"
    key.write_bytes(people.bus.people["adam"])
    key.chmod(0o600)
    return {"ssh_key": key}


def in_the_way(people: People) -> dict[str, object]:
    """A file where the directory should be."""
    file = people.bus.directory / "people" / "alice" / "file"
    file.touch()
    return {"state_dir": file}


BROKEN = [
    pytest.param(
        lambda _: {"bus_url": f"tls://127.0.0.1:{free_port()}"}, 7, "bus", "is the bus running", id="no bus"
    ),
    pytest.param(lambda _: {"bus_url": ""}, 2, "configuration", "expected tls://host:port", id="no URL"),
    pytest.param(
        lambda _: {"trust_genesis": "0" * 64}, 8, "trust", "take trust_genesis from", id="another genesis"
    ),
    pytest.param(
        lambda _: {"env": "prod"}, 2, "bus", "env and person in the context", id="another one's env"
    ),
    pytest.param(in_the_way, 2, "configuration", "name another directory", id="nothing can be kept"),
    pytest.param(expired, 1, "certificate", "issue a new one", id="an expired certificate"),
    pytest.param(lambda _: {"tls_cert": "none"}, 2, "certificate", "No such file", id="no certificate"),
    pytest.param(lambda _: {"ssh_key": "none"}, 2, "ssh_key", "No such file", id="no key"),
    pytest.param(readable, 2, "ssh_key", "chmod 600", id="a key that others may read"),
    pytest.param(another, 4, "rights", "another ssh_key of alice", id="a key that is not hers"),
]


@pytest.mark.parametrize(("change", "code", "what", "words"), BROKEN)
def test_doctor_names_what_is_broken(
    people: People, change: Callable[[People], dict[str, object]], code: int, what: str, words: str
) -> None:
    found, levels, said = doctored(people, "alice", people.context("alice", **change(people)))
    assert found == code, said
    assert levels[what] == "fail"
    assert words in said
    assert "Traceback" not in said


def test_doctor_says_that_audit_and_a_service_do_not_answer(people: People) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    context = people.context("alice", state_dir="state", services={"generator": nobody})
    assert people.services[Service.AUDIT].stop() == 0
    code, levels, said = doctored(people, "alice", context)
    people.restart(Service.AUDIT)
    assert code == 7, said
    assert (levels["bus"], levels["trust"], levels["audit"], levels["generator"]) == (
        "ok",
        "ok",
        "fail",
        "fail",
    )
    assert f"{nobody}: " in said


def test_a_stop_goes_out_while_audit_is_down_and_says_so(people: People) -> None:
    registered(people, "orders-mute")
    assert people.services[Service.AUDIT].stop() == 0
    ended = people.rekey(
        "rita", "suspend", "orders-mute@1", "--reason", "a drill", "--yes", "--output", "json"
    )
    asked = people.rekey("rita", "key", "show", "orders-mute")
    people.restart(Service.AUDIT)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["status"] == "accepted"
    assert "nobody has said yet" in ended.stderr
    assert asked.returncode == 7
    shown = json.loads(people.rekey("rita", "key", "show", "orders-mute", "--output", "json").stdout)
    assert [version["state"] for version in shown["versions"]] == ["suspended"]
