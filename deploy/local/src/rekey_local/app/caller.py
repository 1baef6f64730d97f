"""An instance that makes one call after another with one key, and says whenever its lease ends or is there again.

Run by path in the SDK's environment: ``python caller.py --settings FILE --key orders-db``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Final

import rekey

PAUSE_S: Final = 0.01  # between two calls
AAD: Final = b"rekey story"


def write(event: str, **fields: object) -> None:
    """One JSON line for the supervisor."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def why_not(box: rekey.Keyring) -> rekey.LeaseExpiredError | None:
    """One call; the error if there is no lease for it. What a responder stopped is no matter of leases."""
    try:
        box.encrypt(b"data", AAD)
    except rekey.VersionStoppedError:
        return None
    except rekey.LeaseExpiredError as error:
        return error
    return None


async def call(box: rekey.Keyring, stop: asyncio.Event) -> None:
    """Call until told to stop."""
    has_lease, calls = False, 0
    while not stop.is_set():
        error = why_not(box)
        calls += error is None
        if has_lease is not (error is None):
            has_lease = error is None
            write("lease", held=has_lease, calls=calls, text=str(error or ""), hint=error and error.hint)
        await asyncio.sleep(PAUSE_S)


async def serve(settings: Path, key: str) -> None:
    """Connect, call until SIGTERM or SIGINT, close."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with rekey.connect(rekey.Settings.load(settings)) as keys:
        box = await keys.keyring(key)
        write("ready")
        await call(box, stop)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="an instance that calls all the time with one key")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--key", required=True)
    options = parser.parse_args()
    asyncio.run(serve(options.settings, options.key))


if __name__ == "__main__":
    main()
