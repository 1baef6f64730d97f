"""One instance as a process of its own: ``python -m tests.system.an_instance SETTINGS KEY``.

For each line on stdin it encrypts once, in the thread that read the line, and says what came of it: ``ok`` or the error.
``fork``: the same in a child. ``clock``: what time it is here, in Unix seconds.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import rekey

AAD = b"row 7"


def answer(box: rekey.Keyring) -> str:
    try:
        box.encrypt(b"data", AAD)
    except rekey.RekeyError as error:
        return f"{error.code} {error} hint: {error.hint}"
    return "ok"


def serve(box: rekey.Keyring) -> None:
    say("ready")
    for line in sys.stdin:
        if line.strip() == "fork":
            in_a_child(box)
        elif line.strip() == "clock":
            say(str(time.time()))
        else:
            say(answer(box))


def in_a_child(box: rekey.Keyring) -> None:
    child = os.fork()
    if child == 0:
        say(answer(box))
        os._exit(0)
    os.waitpid(child, 0)


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def main(settings: str, key: str) -> None:
    async with rekey.connect(rekey.Settings.load(settings)) as keys:
        await asyncio.to_thread(serve, await keys.keyring(key))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
