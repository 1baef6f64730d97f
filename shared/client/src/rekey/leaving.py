"""An orderly end: an instance that uses nothing any more says so, and no rotation waits until its lease runs out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from rekey.receipts import Receipts
from rekey.requests import Requests
from rekey.worker import KeyWorker, drained
from rekey_core.errors import RekeyError

LEAVE_S: Final = 1.0  # for all of it: who closes must not wait for a bus that is away

_log = logging.getLogger(__name__)


async def leave(
    workers: Collection[KeyWorker], requests: Requests, receipts: Receipts, asking: asyncio.Lock
) -> None:
    """End the lease for these keys, which must be closed: one try, once no call is inside any version of them.

    What does not work is no error for the application: the lease ends by itself, only later.
    """
    receipt = receipts.written
    if not workers or receipt is None:
        return
    try:
        async with asyncio.timeout(LEAVE_S):
            for worker in workers:
                for version in (*worker.key.held.values(), *worker.key.leaving):
                    await drained(version)
            async with asking:
                await requests.leave(sorted(worker.key.name for worker in workers), receipt)
    except (RekeyError, TimeoutError) as error:
        reason = str(error) or f"not done within {LEAVE_S:g} s"
        _log.info("the lease is not ended, it runs out: %s", reason, extra={"event": "not-left"})
