"""The enrolment program as a process, as people would run it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from rekey_local.child import die_with_us, environment
from rekey_local.environments import STACK, Environments
from rekey_local.errors import NotReadyError
from rekey_local.layout import Layout
from rekey_local.settings import SETTINGS_FILE


async def enrolment(
    layout: Layout, environments: Environments, *arguments: str, softhsm_conf: Path | None = None
) -> None:
    """Run it. ``softhsm_conf``: where its token is, if it needs one.

    Raises:
        NotReadyError: it failed; carries its words.
    """
    settings = str(layout.enrolment / SETTINGS_FILE)
    process = await asyncio.create_subprocess_exec(
        environments.python(STACK),
        *("-m", "rekey_enrolment", "--settings", settings, *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env=environment({"SOFTHSM2_CONF": str(softhsm_conf)} if softhsm_conf else {}),
        start_new_session=True,
        preexec_fn=die_with_us(),
    )
    _, words = await process.communicate()
    if process.returncode != 0:
        what = " ".join(arguments[:2])
        message = f"enrolment ({what}) exited with {process.returncode}: {' '.join(words.decode().split())}"
        raise NotReadyError(message)
