"""The mistakes that ``mutants`` makes in how certificates and signing keys roll over."""

from __future__ import annotations

from typing import Final

from tests.mutating import Mutant

CERTIFICATES: Final = "shared/core/src/rekey_core/certificates.py"
JUDGED: Final = ("tests/unit/rekey_core/test_certificates.py",)

IDENTITY: Final = (
    Mutant(
        "certificates: an expired one is taken over",
        CERTIFICATES,
        "not since <= now < until",
        "now < since",
        JUDGED,
    ),
    Mutant(
        "certificates: another identity's is taken over",
        CERTIFICATES,
        "if identity is not None and found != identity:",
        "if identity is None:",
        JUDGED,
    ),
    Mutant(
        "certificates: a CA that comes along in the file is enough",
        CERTIFICATES,
        'raise _refused(\n        f"tls_cert: expected it to be issued',
        'ConfigurationError(\n        f"tls_cert: expected it to be issued',
        JUDGED,
    ),
    Mutant(
        "signing keys: the new one signs before everybody can know it",
        "shared/runtime/src/rekey_runtime/identity.py",
        ">= settle_s]",
        ">= 0]",
        ("tests/unit/rekey_runtime/test_identity.py",),
    ),
    Mutant(
        "signing keys: a service signs with a key that the trust document does not name",
        "shared/runtime/src/rekey_runtime/identity.py",
        "named = [key for key in keys if key.public_raw in known]",
        "named = list(keys)",
        ("tests/unit/rekey_runtime/test_identity.py",),
    ),
    Mutant(
        "signing keys: what waited is stored under a key that was taken away meanwhile",
        "shared/runtime/src/rekey_runtime/under_way.py",
        "return signed_again(headers, data, key)",
        "return headers",
        ("tests/unit/rekey_runtime/test_under_way.py",),
    ),
    Mutant(
        "signing keys: the old one is said to be left while something that it signed may still come",
        "shared/runtime/src/rekey_runtime/identity.py",
        "next((key for key in keys if not is_over(key)), signer)",
        "signer",
        ("tests/unit/rekey_runtime/test_under_way.py",),
    ),
    Mutant(
        "signing keys: what nobody answered does not come any more",
        "shared/runtime/src/rekey_runtime/under_way.py",
        "self._late[name] = self._clock() + LATE_S",
        "pass",
        ("tests/unit/rekey_runtime/test_under_way.py",),
    ),
    Mutant(
        "certificates: what is on its way to the connection that ends is not waited for",
        "shared/runtime/src/rekey_runtime/link.py",
        "            await self._within_drain(self._finished())\n",
        "",
        ("tests/system/test_renewal.py::test_every_question_is_answered_while_the_certificate_is_replaced",),
    ),
    Mutant(
        "certificates: a connection that was away when it was replaced comes back for ever",
        "shared/runtime/src/rekey_runtime/link.py",
        "if not self.client.is_closed:",
        "if self.client.is_closed:",
        (
            "tests/system/test_renewal.py::test_a_certificate_that_expired_while_it_was_in_use_is_replaced_all_the_same",
        ),
    ),
    Mutant(
        "enrolment: a signing key that was taken away comes back",
        "deploy/enrolment/src/rekey_enrolment/service_keys.py",
        "trust.keys_ever(other)",
        "trust.service_keys(other)",
        ("tests/unit/rekey_enrolment/test_service_keys.py",),
    ),
    Mutant(
        "distributor: what is sealed to the key of a moment ago is not opened",
        "services/distributor/src/rekey_distributor/sealing_keys.py",
        "for signer in self._bus.signers[1:]:",
        "for signer in self._bus.signers[:0]:",
        ("tests/unit/rekey_distributor/test_sealing_keys.py",),
    ),
)
