"""A plan names the key, its owner, what changes, what does not, and everybody concerned."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rekey.cli import plans, views
from rekey.cli.errors import AnsweredError, UsageError
from rekey.cli.target import Target
from rekey_core.commands import read_command
from rekey_core.contracts import (
    AdoptionAnswer,
    DependentAdoption,
    InstanceAdoption,
    KeySummary,
    Register,
    Resumption,
    VersionSummary,
)
from rekey_core.errors import RekeyError
from rekey_core.names import Algorithm, Release
from tests.unit.rekey_audit.a_log import ENV, KEY, START, Log

SUMMARY = KeySummary(
    key=KEY,
    owner="alice",
    key_class="application-data",
    algorithm=Algorithm.AES_256_GCM,
    release=Release.TRUSTED_RECIPIENT,
    purpose="a test",
    dependents=("billing", "orders"),
    current=2,
    rotates_by=START,
    versions=(
        VersionSummary(version=1, state="deactivated", since=START, key_id=1001),
        VersionSummary(version=2, state="active", since=START, key_id=1002),
    ),
    counts={"active": 1, "deactivated": 1},
    as_of=9,
)
INSTANCE = InstanceAdoption(
    instance="ab" * 16, lease_until=START, installed=True, switched=False, stopped=False
)
ADOPTION = AdoptionAnswer(
    env=ENV,
    person="alice",
    nonce="0" * 32,
    as_of=9,
    at=START,
    key=KEY,
    version=2,
    state="active",
    deadline=None,
    dependents=(
        DependentAdoption(dependent="billing", instances=()),
        DependentAdoption(dependent="orders", instances=(INSTANCE,)),
    ),
)


def words(plan: plans.Plan) -> str:
    """The plan as people read it."""
    return "\n".join(plans.lines(plan))


def test_a_rotation_says_that_nothing_is_re_encrypted() -> None:
    said = words(plans.plan_rotate(SUMMARY, ADOPTION))
    assert said.startswith(f"rotate {KEY}, owner alice")
    for part in (
        "version 3 is made",
        "version 2 is deactivated",
        "nothing is re-encrypted",
        "billing: no live instance",
    ):
        assert part in said
    assert "orders: 1 live (abababab)" in said


STOPS = [
    pytest.param(
        "suspend",
        Target(KEY, 1),
        "version 1 (deactivated) stops until two people resume it",
        "version 2 (active) goes on",
        id="one",
    ),
    pytest.param(
        "revoke",
        Target(KEY, 2),
        "no current version then",
        "version 1 (deactivated) goes on",
        id="the current one",
    ),
    pytest.param(
        "revoke",
        Target(KEY),
        "version 1 (deactivated), version 2 (active) stops for good",
        "every other key",
        id="all",
    ),
]


@pytest.mark.parametrize(("verb", "target", "changes", "unchanged"), STOPS)
def test_a_stop_says_what_stops_and_what_goes_on(
    verb: str, target: Target, changes: str, unchanged: str
) -> None:
    plan = plans.plan_stop(verb, target, SUMMARY, ADOPTION)
    assert changes in " ".join(plan.changes)
    assert unchanged in " ".join(plan.unchanged)
    assert words(plan).startswith(f"{verb} {target}, owner alice")


def with_states(current: int | None, *states: str) -> KeySummary:
    """The key with its versions in these states."""
    versions = tuple(
        VersionSummary(version=number, state=state, since=START, key_id=1000 + number)
        for number, state in enumerate(states, 1)
    )
    return SUMMARY.model_copy(update={"versions": versions, "current": current})


def planned(verb: str, target: Target, key: KeySummary) -> plans.Plan:
    """The plan of any of the three."""
    if verb == "rotate":
        return plans.plan_rotate(key, ADOPTION)
    return plans.plan_stop(verb, target, key, ADOPTION)


@pytest.mark.parametrize(
    ("verb", "target", "key", "code"),
    [
        pytest.param("suspend", Target(KEY, 99), SUMMARY, "not-found", id="a version that is not there"),
        pytest.param(
            "suspend",
            Target(KEY, 1),
            with_states(2, "compromised", "active"),
            "state-refused",
            id="suspending what is compromised",
        ),
        pytest.param(
            "revoke",
            Target(KEY),
            with_states(None, "compromised"),
            "state-refused",
            id="nothing is left to revoke",
        ),
        pytest.param(
            "rotate",
            Target(KEY),
            with_states(1, "active", "pre-activation"),
            "state-refused",
            id="a rotation is under way",
        ),
    ],
)
def test_a_plan_refuses_what_the_service_would_refuse(
    verb: str, target: Target, key: KeySummary, code: str
) -> None:
    with pytest.raises(RekeyError) as caught:
        planned(verb, target, key)
    assert caught.value.code == code
    assert caught.value.hint


def test_a_stop_of_a_whole_key_names_what_is_not_stopped_yet() -> None:
    plan = plans.plan_stop("suspend", Target(KEY), with_states(2, "compromised", "active"), ADOPTION)
    assert plan.changes[0] == "version 2 (active) stops until two people resume it"


def test_another_responder_may_suspend_what_is_suspended() -> None:
    plan = plans.plan_stop("suspend", Target(KEY, 1), with_states(2, "suspended", "active"), ADOPTION)
    assert plan.changes[0] == "version 1 (suspended) stops until two people resume it"


def suspended(state: str | None, to: str | None = None) -> AdoptionAnswer:
    back = Resumption(lifts=("a" * 64,), state=to) if to else None
    return ADOPTION.model_copy(update={"version": 1, "state": state, "resumption": back})


@pytest.mark.parametrize(
    ("to", "words"),
    [
        pytest.param("active", "version 1 (suspended) is active and current again", id="one that protected"),
        pytest.param("pre-activation", "the rotation to it goes on", id="one in motion"),
        pytest.param("deactivated", "processes with it, and none protects", id="one that was overtaken"),
    ],
)
def test_a_resume_says_where_to_the_version_comes_back(to: str, words: str) -> None:
    said = "\n".join(plans.lines(plans.plan_resume(Target(KEY, 1), SUMMARY, suspended("suspended", to))))
    assert said.startswith(f"resume {KEY}@1, owner alice")
    assert words in said
    assert "orders: 1 live (abababab)" in said


@pytest.mark.parametrize(
    ("state", "code", "words", "hint"),
    [
        pytest.param("active", "state-refused", "is active, expected suspended", "history", id="it works"),
        pytest.param(
            "compromised", "state-refused", "is compromised, expected", "history", id="it never may"
        ),
        pytest.param("suspended", "state-refused", "before it was made", "rotate", id="it was never made"),
        pytest.param(None, "not-found", "does not exist", "show", id="it does not exist"),
    ],
)
def test_which_version_cannot_be_resumed(state: str | None, code: str, words: str, hint: str) -> None:
    with pytest.raises(AnsweredError, match=words) as raised:
        plans.plan_resume(Target(KEY, 1), SUMMARY, suspended(state))
    assert (raised.value.code, raised.value.hint) == (code, f"rekey key {hint} {KEY}")


DESTROY = Target(KEY, 1)


def test_a_destruction_says_who_holds_it_until_when_it_can_be_cancelled_and_what_will_be_gone() -> None:
    plan = plans.plan_destroy(DESTROY, SUMMARY, ADOPTION, 30 * 86_400, START)
    said = words(plan)
    assert said.startswith(f"destroy {KEY}@1, owner alice")
    for part in (
        "version 1 (deactivated since",
        "is destroyed after 30 d",
        f"can be cancelled until {START + timedelta(days=30):%Y-%m-%d %H:%M:%S}Z",
        "held now by orders/abababab",
        "what is under key id 1001 cannot be read or verified any more",
        "copies in the storage and backups of the bus are not claimed",
    ):
        assert part in said


LIVE = ("ab" * 16, "ac" * 16)


def waited_for() -> AdoptionAnswer:
    """Two instances of orders."""
    two = tuple(INSTANCE.model_copy(update={"instance": instance}) for instance in LIVE)
    dependents = (ADOPTION.dependents[0], DependentAdoption(dependent="orders", instances=two))
    return ADOPTION.model_copy(update={"dependents": dependents})


def test_an_instance_is_named_by_the_digits_that_tables_show() -> None:
    shown = plans.instance_of(Target(KEY, 2), waited_for(), "orders", LIVE[1][: views.SHORT_ID])
    assert shown == LIVE[1]


@pytest.mark.parametrize(
    ("dependent", "digits"),
    [
        pytest.param("orders", "a", id="two begin so"),
        pytest.param("orders", "ff", id="none begins so"),
        pytest.param("orders", "", id="nothing"),
        pytest.param("billing", "ab", id="another dependent's"),
        pytest.param("nobody", "ab", id="a dependent that there is not"),
    ],
)
def test_digits_that_name_no_instance_are_refused_with_those_that_there_are(
    dependent: str, digits: str
) -> None:
    with pytest.raises(UsageError, match=f"of {dependent}, found '{digits}'; there are:") as refused:
        plans.instance_of(Target(KEY, 2), waited_for(), dependent, digits)
    assert refused.value.hint == f"rekey adoption {KEY}@2"


@pytest.mark.parametrize(
    ("state", "key", "counts"),
    [
        pytest.param("deactivated", "pending", True, id="it is scheduled"),
        pytest.param("destroyed", "as it is", True, id="it is destroyed"),
        pytest.param("destroyed-compromised", "as it is", True, id="it is destroyed, and was compromised"),
        pytest.param("deactivated", "as it is", False, id="it was cancelled"),
    ],
)
def test_a_body_that_was_sent_before_counts_unless_it_was_cancelled(
    state: str, key: str, *, counts: bool
) -> None:
    summary = pending() if key == "pending" else SUMMARY
    adoption = ADOPTION.model_copy(update={"version": 1, "state": state})
    if counts:
        plans.check_scheduled(DESTROY, summary, adoption)
        return
    with pytest.raises(RekeyError, match="was cancelled since; nothing is scheduled") as refused:
        plans.check_scheduled(DESTROY, summary, adoption)
    assert refused.value.code == "already-done"


def test_a_cancellation_says_what_is_kept() -> None:
    said = words(plans.plan_cancel(DESTROY, pending(), ADOPTION))
    assert said.startswith(f"destroy-cancel {KEY}@1, owner alice")
    assert "version 1 (deactivated) is not destroyed" in said


def pending() -> KeySummary:
    """The destruction of version 1 is scheduled."""
    first = SUMMARY.versions[0].model_copy(update={"destruction": START})
    return SUMMARY.model_copy(update={"versions": (first, SUMMARY.versions[1])})


@pytest.mark.parametrize(
    ("target", "key", "code"),
    [
        pytest.param(Target(KEY, 2), SUMMARY, "state-refused", id="the current version"),
        pytest.param(Target(KEY, 9), SUMMARY, "not-found", id="a version that is not there"),
        pytest.param(DESTROY, pending(), "state-refused", id="one that is scheduled already"),
    ],
)
def test_a_destruction_that_would_be_refused_is_refused_by_its_plan(
    target: Target, key: KeySummary, code: str
) -> None:
    with pytest.raises(RekeyError) as caught:
        plans.plan_destroy(target, key, ADOPTION, 60, START)
    assert caught.value.code == code


def test_there_is_nothing_to_cancel() -> None:
    with pytest.raises(RekeyError, match="no destruction is scheduled"):
        plans.plan_cancel(DESTROY, SUMMARY, ADOPTION)


def test_tables_show_counts_and_from_when_on_a_version_is_destroyed() -> None:
    assert "1 active, 1 deactivated" in views.keys_view([SUMMARY]).cells[0]
    assert [row[-1] for row in views.key_view(pending()).cells] == [f"{START:%Y-%m-%d %H:%M:%S}Z", "-"]


def a_registration(**changed: object) -> Register:
    """Alice registers a key for orders."""
    said: dict[str, object] = {
        "key_class": "application-data",
        "purpose": "a test",
        "dependents": ("orders",),
    }
    command = read_command(Log().command(Register, "alice", KEY, **(said | changed)))
    assert isinstance(command, Register)
    return command


def test_a_registration_says_class_and_period() -> None:
    said = words(plans.plan_register(a_registration(cryptoperiod_s=7200), Log().trust(), None))
    assert "AES-256-GCM, release trusted-recipient" in said
    assert "rotates every 2 h" in said


REGISTRATIONS = [
    pytest.param({"key_class": "other"}, None, "not-found", id="a class that does not exist"),
    pytest.param({"dependents": ("mallory",)}, None, "not-enrolled", id="a dependent that is not enrolled"),
    pytest.param({"cryptoperiod_s": 10**9}, None, "policy", id="a period that is longer than the class's"),
    pytest.param({}, SUMMARY, "already-exists", id="a name that is taken"),
]


@pytest.mark.parametrize(("changed", "existing", "code"), REGISTRATIONS)
def test_a_registration_that_would_be_refused_is_refused_by_its_plan(
    changed: dict[str, object], existing: KeySummary | None, code: str
) -> None:
    with pytest.raises(RekeyError) as caught:
        plans.plan_register(a_registration(**changed), Log().trust(), existing)
    assert caught.value.code == code


def test_tables_have_a_row_for_everybody() -> None:
    cells = views.adoption_view(ADOPTION).cells
    assert [row[:2] for row in cells] == [("billing", "no live instance"), ("orders", "abababab")]
    assert views.keys_view([SUMMARY]).cells[0][:5] == (KEY, "alice", "application-data", "AES-256-GCM", "2")
    assert len(views.key_view(SUMMARY).cells) == 2
