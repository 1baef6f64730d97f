"""The story keeps a document of before the rotation: what an instance left, or a miss that says so."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from rekey_local.errors import StoryError
from rekey_local.proving import sealed_before


async def test_the_first_document_that_an_instance_left(tmp_path: Path) -> None:
    for name, texts in (("a", []), ("b", [b"one", b"two"])):
        left = {"sealed": [base64.b64encode(text).decode() for text in texts]}
        (tmp_path / f"{name}.json").write_text(json.dumps(left))
    assert await sealed_before(tmp_path) == b"one"


async def test_no_document_is_a_miss(tmp_path: Path) -> None:
    with pytest.raises(StoryError, match="no instance has sealed a document under envelope-root"):
        await sealed_before(tmp_path, 0.01)
