"""Certificate and signing key roll over while the service works: files are looked at again and again (decisions 0021, 0022).

What replaces them is judged alone before it is used. What cannot be used leaves everything as it was, with one line in
the log, a remark at ``/readyz`` and a metric, until the files hold something better.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from rekey_core.certificates import Certificate, judge
from rekey_core.errors import ConfigurationError, RekeyError, UnavailableError
from rekey_runtime.bus import Bus
from rekey_runtime.clock import boottime
from rekey_runtime.health import Health, Remark
from rekey_runtime.identity import in_order, in_use, read_credentials, read_signing_keys, tls

LOOK_S: Final = 1.0  # between two looks at files and trust documents
SETTLE_S: Final = (
    3.0  # from the document that names a key to its first signature: a few looks, and a server's clock
)

_log = logging.getLogger(__name__)


class Renewal:
    """Keeps a service's identity as its files and the trust document say. ``bind`` registers its subscriptions."""

    def __init__(self, bus: Bus, health: Health, bind: Callable[[], None]) -> None:
        self._bus = bus
        self._health = health
        self._bind = bind
        self._certificate: Certificate = judge(bus.credentials, None)
        self._keys = bus.signers  # oldest first
        self._named: dict[str, float] = {}  # key id → since when we know that it is named, boot time
        self._problems: dict[str, str] = {}
        self._sign()

    async def look(self) -> None:
        """One look.

        Raises:
            ConfigurationError: the trust document names none of our signing keys.
            TrustError: an added trust document is not signed by a quorum.
            UnavailableError: the bus does not answer.
        """
        self._say(
            "certificate", await self._renewed()
        )  # first: with one that expired the bus answers nothing
        await self._bus.trust.refresh()
        self._try("signing key", self._read_keys)
        self._sign()

    def _read_keys(self) -> None:
        self._keys = read_signing_keys(self._bus.settings.signing_key)

    def _sign(self) -> None:
        bus, now = self._bus, boottime()
        trust, service = bus.trust.current, bus.settings.service
        known = set(trust.service_keys(service))
        self._named = {
            key.key_id: self._named.get(key.key_id, now) for key in self._keys if key.public_raw in known
        }
        named_for_s = {key: now - since for key, since in self._named.items()}
        signers = in_order(self._keys, trust, service, named_for_s, SETTLE_S)
        if signers[0].key_id != bus.signer.key_id:
            said = {"event": "signing-key-renewed", "service": service.value}
            _log.info("signing with key %s, before with %s", signers[0].key_id, bus.signer.key_id, extra=said)
        bus.signers = signers
        self._publish()

    async def _renewed(self) -> RekeyError | None:
        """Take what the files hold, if it is new and good; what is wrong with it otherwise."""
        settings, now = self._bus.settings, datetime.now(UTC)
        try:
            found = read_credentials(settings)
            if found == self._bus.credentials:
                return None
            certificate = judge(found, now, identity=self._certificate.identity)
            await self._bus.move(tls(found, settings), self._bind)
        except (ConfigurationError, UnavailableError) as error:
            return error
        self._bus.credentials, self._certificate = found, certificate
        until = f"{certificate.not_after:%Y-%m-%d %H:%M:%S}Z"
        said = {"event": "certificate-renewed", "service": settings.service.value}
        _log.info("certificate %s is in use, valid until %s", certificate.fingerprint[:16], until, extra=said)
        return None

    def _try(self, what: str, work: Callable[[], None]) -> None:
        try:
            work()
        except ConfigurationError as error:
            self._say(what, error)
        else:
            self._say(what, None)

    def _say(self, what: str, error: RekeyError | None) -> None:
        """Once for each problem, and once when it is over."""
        before = self._problems.pop(what, None)
        if error is None:
            return
        self._problems[what] = str(error)
        if str(error) == before:
            return
        self._health.remark(Remark.IDENTITY_REFUSED, holds=True)  # who reads the line finds it at /readyz
        settings = self._bus.settings
        files = f"{settings.tls_cert}, {settings.tls_key}" if what == "certificate" else settings.signing_key
        hint = f"; {error.hint}" if error.hint else ""
        said = {"event": "identity-refused", "service": settings.service.value, "code": error.code}
        _log.error("%s, the one before stays in use: %s (%s)%s", what, error, files, hint, extra=said)

    def _publish(self) -> None:
        found, now = self._certificate, datetime.now(UTC)
        self._health.remark(Remark.CERTIFICATE_EXPIRES, holds=found.expires_soon(now))
        self._health.remark(Remark.IDENTITY_REFUSED, holds=bool(self._problems))
        self._bus.metrics.identity(found.not_after, refused=bool(self._problems))
        self._health.identity = {
            "certificate": found.fingerprint,
            "not_after": found.not_after.isoformat(),
            "signing_key": in_use(self._keys, self._bus.signer, self._bus.under_way.is_over).key_id,
        }
