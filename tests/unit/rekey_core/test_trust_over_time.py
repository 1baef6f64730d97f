"""Who leaves, or gets another key, takes nothing along that was right before: what stands in the log keeps its effect."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rekey_core.authority import Subjects
from rekey_core.commands import verify_command
from rekey_core.contracts import Activated, Fact, Generated, Rotate, RotationRequested
from rekey_core.encoding import b64u_encode
from rekey_core.envelope import BusMessage, Stored, Void, pack, unpack_or_void
from rekey_core.errors import AuthorityError, SignatureError, WrongAuthorError
from rekey_core.fold import KeyState, fold
from rekey_core.names import Service
from rekey_core.readers import open_embedded_fact, open_fact
from rekey_core.signing import SigningKey
from rekey_core.trust import Trust
from tests.unit.facts import BASE, world
from tests.unit.world import ENV, NOW, World

LATER = NOW + timedelta(hours=1)
NEW_KEY = SigningKey.generate()


def after_alice(w: World) -> Trust:
    """One hour later: alice and rita are gone, and scheduler and generator have another key."""
    document = w.document()
    people = {name: person for name, person in document.people.items() if name not in ("alice", "rita")}
    another = (b64u_encode(NEW_KEY.public_raw),)
    services = {**document.services, Service.ROTATION_SCHEDULER: another, Service.GENERATOR: another}
    signed = w.next_trust("oliver", "olga", people=people, services=services)
    return w.trust.extended(signed, since=LATER)


def on_the_bus(w: World, stored: Stored[Fact], key: SigningKey | None = None) -> BusMessage:
    fact = stored.model
    place = Subjects(ENV).fact(fact.key, fact.version, fact.author, fact.EVENT, fact.id.hex)
    packed = pack(fact, key or w.services[fact.AUTHOR], source="/rekey/dev/test")
    return BusMessage("LIFECYCLE", place, packed.headers, packed.data, stored.sequence, stored.stored_at)


def folded(w: World, trust: Trust) -> KeyState:
    items = [unpack_or_void(on_the_bus(w, item), lambda m: open_fact(m, trust)) for item in w.log]
    return fold(ENV, "orders-db", items, trust)


def test_a_key_outlives_its_owner_its_responder_and_the_keys_of_services() -> None:
    w = world(versions=2)
    w.suspended(1)
    state = folded(w, after_alice(w))
    assert state.voids == ()
    assert (state.owner, state.current, state.grants) == ("alice", 2, frozenset({"orders", "billing"}))


def test_what_is_signed_with_a_key_that_is_gone_is_void_from_then_on() -> None:
    w = world(versions=1)
    request = w.fact(RotationRequested, 2, "time-2", reason="time", deadline=LATER)
    stored = w.stored(request, at=LATER)
    trust = after_alice(w)
    assert isinstance(unpack_or_void(on_the_bus(w, stored), lambda m: open_fact(m, trust)), Void)
    new = unpack_or_void(on_the_bus(w, stored, NEW_KEY), lambda m: open_fact(m, trust))
    assert isinstance(new, Stored)


def test_a_new_key_signs_nothing_into_the_past() -> None:
    w = world(versions=1)
    stored = w.stored(w.fact(RotationRequested, 2, "time-2", reason="time", deadline=LATER))
    with pytest.raises(WrongAuthorError):
        open_fact(on_the_bus(w, stored, NEW_KEY), after_alice(w))


def test_a_command_counts_by_when_the_log_took_it() -> None:
    trust = after_alice(BASE)
    assert verify_command(BASE.rotate(), trust=trust, env=ENV, at=NOW).author == "alice"
    late = BASE.command(Rotate, "alice", issued_at=LATER, expires_at=LATER + timedelta(minutes=5))
    with pytest.raises(AuthorityError, match="alice is not in the trust document"):
        verify_command(BASE.signed(late), trust=trust, env=ENV, at=LATER)


def test_a_fact_that_others_pass_on_is_believed_under_every_key_its_author_had() -> None:
    w = world(versions=1)
    generated = next(item for item in w.log if isinstance(item.model, Generated))
    trust = after_alice(w)
    assert open_embedded_fact(generated.signed, trust, where="notice") == generated.model
    forged = pack(w.fact(Activated, 1, "x", proved=()), SigningKey.generate(), source="x").signed
    with pytest.raises((WrongAuthorError, SignatureError)):
        open_embedded_fact(forged, trust, where="notice")


def test_the_document_in_force_is_found_by_time() -> None:
    trust = after_alice(BASE)
    assert [trust.at(when).n for when in (NOW - timedelta(days=9), NOW, LATER)] == [1, 1, 2]
