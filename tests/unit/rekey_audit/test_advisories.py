from __future__ import annotations

import pytest

from rekey_audit.advisories import REPLACED, is_everyday
from rekey_core.authority import Stream


@pytest.mark.parametrize(
    ("stream", "reason", "everyday"),
    [
        pytest.param("RECEIPTS", REPLACED, True, id="a receipt that a newer one replaced"),
        pytest.param("QUOTAS", REPLACED, True, id="a ledger of messages that a newer one replaced"),
        pytest.param("QUOTAS", "", False, id="a ledger that a service gave up"),
        pytest.param("RECEIPTS", "", False, id="a receipt that a service gave up"),
        pytest.param("RECEIPTS", None, False, id="a receipt that was delivered too often"),
        *(
            pytest.param(str(stream), REPLACED, False, id=f"a message of {stream} that went away")
            for stream in Stream
            if stream not in {Stream.RECEIPTS, Stream.QUOTAS}
        ),
    ],
)
def test_an_advisory_is_everyday_life_or_an_alarm(stream: str, reason: str | None, everyday: bool) -> None:  # noqa: FBT001
    assert is_everyday({"stream": stream, "reason": reason, "consumer": "some"}) is everyday
