"""What officers are asked to sign, and what enrolment refuses to publish."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from rekey_core.contracts import OfficerSignature, SignedTrust
from rekey_core.encoding import b64u_encode, canonical_json
from rekey_core.errors import AlreadyExistsError, TrustError
from rekey_core.trust import Trust
from rekey_enrolment import Applicant, check_proposal, propose
from rekey_local.found import found_identities
from rekey_local.layout import Layout
from rekey_local.trust import genesis_hash, sign_as_officers

ENV = "dev"
NOW = datetime(2025, 1, 1, 12, tzinfo=UTC)
ORDERS = Applicant("orders", "alice", bytes(32), b"spki of orders")
BILLING = Applicant("billing", "alice", bytes(31) + b"\1", b"spki of billing")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return Layout(tmp_path_factory.mktemp("stack"))


@pytest.fixture(scope="module")
def trust(layout: Layout) -> Trust:
    genesis = found_identities(layout, ENV)
    return Trust.from_chain((genesis,), genesis=genesis_hash(genesis), env=ENV)


def with_orders(layout: Layout, trust: Trust) -> Trust:
    """The next document."""
    return trust.extended(sign_as_officers(layout, propose(trust, ORDERS, issued_at=NOW)))


def test_a_proposal_is_the_present_document_and_one_dependent_more(layout: Layout, trust: Trust) -> None:
    after = with_orders(layout, trust)

    assert after.n == 2
    assert after.document.previous == trust.digest
    assert after.document.dependents == {"orders": ORDERS.entry}
    assert after.document.people == trust.document.people
    assert after.document.services == trust.document.services


def test_the_next_dependent_is_added_to_the_one_before(layout: Layout, trust: Trust) -> None:
    second = with_orders(layout, trust)

    payload = propose(second, BILLING, issued_at=NOW)

    assert set(json.loads(payload)["dependents"]) == {"orders", "billing"}
    check_proposal(payload, second, BILLING)


def test_a_name_that_is_taken_by_other_keys_is_refused(layout: Layout, trust: Trust) -> None:
    second = with_orders(layout, trust)
    impostor = Applicant("orders", "otto", bytes(32), b"another key")

    with pytest.raises(AlreadyExistsError, match="orders: trust document 2 names transport key"):
        propose(second, impostor, issued_at=NOW)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"quorum": 1}, id="a smaller quorum"),
        pytest.param({"n": 3}, id="another number"),
        pytest.param({"previous": "0" * 64}, id="another predecessor"),
        pytest.param({"dependents": {}}, id="no dependent"),
        pytest.param({"people": {}}, id="other people"),
    ],
)
def test_a_proposal_that_says_anything_else_is_not_published(trust: Trust, change: dict[str, object]) -> None:
    honest = json.loads(propose(trust, ORDERS, issued_at=NOW))

    with pytest.raises(
        TrustError, match="expected trust document 1 with orders added, found another proposal"
    ):
        check_proposal(canonical_json(honest | change), trust, ORDERS)


def test_something_that_is_no_document_is_not_published(trust: Trust) -> None:
    with pytest.raises(TrustError, match="the proposal to enrol orders is not a trust document"):
        check_proposal(b"{}", trust, ORDERS)


def test_one_officer_alone_enrols_nobody(layout: Layout, trust: Trust) -> None:
    payload = propose(trust, ORDERS, issued_at=NOW)
    both = sign_as_officers(layout, payload)

    with pytest.raises(TrustError):
        trust.extended(SignedTrust(payload=b64u_encode(payload), signatures=both.signatures[:1]))


def test_the_real_ssh_keygen_can_sign_a_proposal(layout: Layout, trust: Trust, tmp_path: Path) -> None:
    proposal = tmp_path / "proposal"
    proposal.write_bytes(propose(trust, ORDERS, issued_at=NOW))
    signatures = []
    for officer in ("oliver", "olga"):
        key = str(layout.person(officer) / "id_ed25519")
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", "rekey-trust@v1", "-f", key, str(proposal)]
        (tmp_path / "proposal.sig").unlink(missing_ok=True)
        subprocess.run(command, check=True, capture_output=True)
        sshsig = (tmp_path / "proposal.sig").read_text()
        signatures.append(OfficerSignature(person=officer, sshsig=sshsig))

    payload = b64u_encode(proposal.read_bytes())
    assert trust.extended(SignedTrust(payload=payload, signatures=tuple(signatures))).n == 2
