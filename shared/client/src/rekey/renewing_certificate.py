"""The certificate rolls over while the application works: its files are looked at, and a good new pair is taken over."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from rekey.connection import Connection
from rekey_core.errors import RekeyError

LOOK_S: Final = 2.0  # between two looks at the files

_log = logging.getLogger(__name__)


async def renew_for_ever(connection: Connection, within_s: float) -> None:
    """Until cancelled. What cannot be used leaves the connection as it was, and is said once for each problem."""
    said = ""
    while True:
        await asyncio.sleep(LOOK_S)
        try:
            certificate = await connection.renew(within_s)
        except RekeyError as error:
            if str(error) != said:
                said = str(error)
                hint = f"; {error.hint}" if error.hint else ""
                where = {"event": "certificate-refused", "code": error.code}
                _log.error("certificate, the one before stays in use: %s%s", error, hint, extra=where)
            continue
        said = ""
        if certificate is not None:
            until = f"{certificate.not_after:%Y-%m-%d %H:%M:%S}Z"
            extra = {"event": "certificate-renewed"}
            _log.info(
                "certificate %s is in use, valid until %s", certificate.fingerprint[:16], until, extra=extra
            )
