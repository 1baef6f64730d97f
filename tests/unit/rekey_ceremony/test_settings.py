"""The file of a ceremony names its tokens; another one in its place is said to be none, and never quoted."""

from __future__ import annotations

from pathlib import Path

import pytest

from rekey_ceremony.settings import read_settings
from rekey_core.errors import ConfigurationError

PIN = "8a1f-the-pin-of-a-token"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(PIN, "invalid JSON", id="the file of a PIN"),
        pytest.param(f'{{"pin": "{PIN}"}}', "env: field required", id="a PIN in JSON"),
        pytest.param(f'"{PIN}"', "should be an object", id="a word in JSON"),
        pytest.param("\udcff", "invalid JSON", id="bytes"),
        pytest.param(None, "No such file", id="no file"),
    ],
)
def test_a_file_that_is_none_is_never_quoted(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "settings.json"
    if content is not None:
        file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=said) as refused:
        read_settings(file)
    assert PIN not in f"{refused.value} {refused.value.__cause__} {refused.value.hint}"
    assert "deploy/ceremony/README.md" in (refused.value.hint or "")
