"""The instance's signed, cumulative statement: written when something in it changed, and not before it is true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from rekey.connection import Connection
from rekey.grouped import Grouped
from rekey.identity import Identity
from rekey_core.authority import Stream, Subjects
from rekey_core.contracts import KeyReceipt, Receipt, Signed
from rekey_core.envelope import Packed, pack


class Receipts:
    """The one receipt of this instance."""

    def __init__(
        self,
        connection: Connection,
        identity: Identity,
        within_s: float,
        content: Callable[[], Mapping[str, KeyReceipt]],
    ) -> None:
        self._connection = connection
        self._identity = identity
        self._within_s = within_s
        self._content = content
        self._subject = Subjects(identity.env).receipt(identity.dependent, identity.instance)
        self._writing = Grouped(self._write)
        self._n = 0
        self._written: tuple[Mapping[str, KeyReceipt], Signed] | None = None
        self._unwritten: tuple[Mapping[str, KeyReceipt], Packed] | None = None

    @property
    def written(self) -> Signed | None:
        """The newest receipt that was stored."""
        return self._written[1] if self._written else None

    async def write(self) -> Signed:
        """The receipt of this moment, stored; nothing is sent when it says what the stored one says.

        Keys that change at once are in one receipt.

        Raises:
            UnavailableError, UnknownOutcomeError: it was not stored, or that is not known: write again.
        """
        return await self._writing.run()

    async def _write(self) -> Signed:
        content = dict(self._content())
        if self._written is not None and self._written[0] == content:
            return self._written[1]
        if self._unwritten is None or self._unwritten[0] != content:
            self._unwritten = (content, self._packed(content))
        packed = self._unwritten[1]
        await self._connection.append(
            Stream.RECEIPTS, self._subject, packed.data, packed.headers, self._within_s
        )
        self._written = (content, packed.signed)
        return packed.signed

    def _packed(self, content: Mapping[str, KeyReceipt]) -> Packed:
        self._n += 1
        identity = self._identity
        receipt = Receipt(
            env=identity.env,
            dependent=identity.dependent,
            instance=identity.instance,
            endorsement=identity.endorsement,
            n=self._n,
            at=datetime.now(UTC),
            keys=dict(content),
        )
        return pack(receipt, identity.key, source=f"/rekey/{identity.env}/{identity.dependent}")
