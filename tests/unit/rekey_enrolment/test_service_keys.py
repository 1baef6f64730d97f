"""What officers are asked to sign when a service's signing key changes, and what is not published."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from rekey_core.encoding import b64u_decode, b64u_encode, canonical_json
from rekey_core.errors import AlreadyExistsError, RekeyError, StateRefusedError, TrustError
from rekey_core.names import Service
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust
from rekey_enrolment import KeyChange, propose_keys
from rekey_enrolment.service_keys import check_keys_proposal, is_done
from tests.unit.world import World

NOW = datetime(2026, 11, 24, 4, tzinfo=UTC)
WORLD = World()
TRUST = WORLD.trust
GENERATOR, AUDIT = Service.GENERATOR, Service.AUDIT
OLD, NEW = WORLD.services[GENERATOR].public_raw, SigningKey.generate().public_raw
ORDERS = b64u_decode(TRUST.document.dependents["orders"].signing_key)
COMES, GOES = KeyChange(comes={GENERATOR: NEW}), KeyChange(goes={GENERATOR: OLD})


def after(trust: Trust, change: KeyChange) -> Trust:
    """The next document, signed by two officers."""
    services = json.loads(propose_keys(trust, change, issued_at=NOW))["services"]
    named = {Service(name): tuple(keys) for name, keys in services.items()}
    signed = WORLD.next_trust("oliver", "olga", n=trust.n + 1, previous=trust.digest, services=named)
    return trust.extended(signed)


def test_both_keys_are_named_and_then_the_new_one_alone() -> None:
    both = after(TRUST, COMES)
    assert both.service_keys(GENERATOR) == (OLD, NEW)
    assert (is_done(TRUST, COMES), is_done(both, COMES), is_done(both, GOES)) == (False, True, False)
    alone = after(both, GOES)
    assert alone.service_keys(GENERATOR) == (NEW,)
    assert is_done(alone, GOES)
    assert alone.service_keys(AUDIT) == TRUST.service_keys(AUDIT), "nobody else's"
    assert alone.document.people == TRUST.document.people


def test_what_a_try_before_has_done_is_not_done_twice() -> None:
    """One of two services has its key already."""
    other = SigningKey.generate().public_raw
    second = after(after(TRUST, COMES), KeyChange(comes={GENERATOR: NEW, AUDIT: other}))
    assert second.service_keys(GENERATOR) == (OLD, NEW)
    assert second.service_keys(AUDIT)[1:] == (other,)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        pytest.param(GOES, StateRefusedError, "expected a signing key that stays", id="its only key"),
        pytest.param(
            KeyChange(comes={GENERATOR: WORLD.services[AUDIT].public_raw}),
            AlreadyExistsError,
            "is or was that of audit",
            id="another service's key",
        ),
        pytest.param(
            KeyChange(comes={GENERATOR: ORDERS}),
            AlreadyExistsError,
            "is or was that of orders",
            id="a dependent's key",
        ),
    ],
)
def test_what_no_document_may_say(change: KeyChange, error: type[RekeyError], words: str) -> None:
    with pytest.raises(error, match=words):
        propose_keys(TRUST, change, issued_at=NOW)


def test_a_key_that_was_taken_away_does_not_come_back() -> None:
    """Whoever stole it could speak again."""
    gone = after(after(TRUST, COMES), GOES)
    with pytest.raises(AlreadyExistsError, match="is or was that of generator"):
        propose_keys(gone, KeyChange(comes={GENERATOR: OLD}), issued_at=NOW)


def test_a_service_that_the_document_does_not_name_gets_no_key() -> None:
    services = {name: keys for name, keys in TRUST.document.services.items() if name is not GENERATOR}
    without = TRUST.extended(WORLD.next_trust("oliver", "olga", services=services))
    with pytest.raises(StateRefusedError, match="generator is not in trust document 2"):
        propose_keys(without, COMES, issued_at=NOW)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"quorum": 1}, id="a smaller quorum"),
        pytest.param({"n": 3}, id="another number"),
        pytest.param({"people": {}}, id="other people"),
        pytest.param({"services": {"generator": [b64u_encode(NEW)]}}, id="other keys"),
    ],
)
def test_a_proposal_that_says_anything_else_is_not_published(change: dict[str, object]) -> None:
    honest = json.loads(propose_keys(TRUST, COMES, issued_at=NOW))
    check_keys_proposal(canonical_json(honest), TRUST, COMES)
    with pytest.raises(TrustError, match="expected trust document 1 with these keys changed"):
        check_keys_proposal(canonical_json(honest | change), TRUST, COMES)


def test_something_that_is_no_document_is_not_published() -> None:
    with pytest.raises(TrustError, match="is not a trust document"):
        check_keys_proposal(b"{}", TRUST, COMES)
