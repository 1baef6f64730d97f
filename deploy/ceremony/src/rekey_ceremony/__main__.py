"""``python -m rekey_ceremony --plan FILE``: perform the plan, print the report as JSON on stdout."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from rekey_ceremony.perform import perform
from rekey_ceremony.settings import read_plan
from rekey_core.errors import RekeyError


def main(arguments: list[str]) -> int:
    """Run the ceremony. Returns 0 when both tokens hold every key, 1 when they do not."""
    parser = argparse.ArgumentParser(prog="rekey_ceremony", description="found or check the two tokens")
    parser.add_argument("--plan", type=Path, required=True, help="the plan, a JSON file")
    try:
        report = perform(read_plan(parser.parse_args(arguments).plan))
    except RekeyError as error:
        sys.stderr.write(f"{error}\n" + (f"hint: {error.hint}\n" if error.hint else ""))
        return 1
    sys.stdout.write(json.dumps(dataclasses.asdict(report), default=str, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
