"""``python -m tests.bench``: run benchmarks, JSON lines on stdout or into a file, a table for people on stderr.

Exit 0: all ran, whatever they found. 2: there is no such benchmark.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import IO

from tests.bench.figures import TINY, Scale, Subject
from tests.bench.report import listing, record, table
from tests.bench.subjects import SUBJECTS


def main(arguments: list[str]) -> int:
    """Run what was asked for."""
    options = _options(arguments)
    wanted = [s for s in SUBJECTS if not options.only or s.name in options.only]
    unknown = sorted(set(options.only) - {s.name for s in SUBJECTS})
    if unknown:
        sys.stderr.write(f"error: no benchmark {', '.join(unknown)}\nhint: tests/bench/run --list\n")
        return 2
    if options.list:
        sys.stdout.write(listing(wanted))
        return 0
    with _output(options.output) as out:
        _run(wanted, _scale(options), out)
    return 0


def _run(wanted: list[Subject], scale: Scale, out: IO[str]) -> None:
    done = []
    for subject in wanted:
        sys.stderr.write(f"{subject.name} …\n")
        with tempfile.TemporaryDirectory(prefix="bench-") as place:
            outcome = subject.run(Path(place), scale)
        done.append((subject, outcome))
        out.write(record(subject, outcome) + "\n")
        out.flush()
    table(done, sys.stderr)


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__)
    parser.add_argument("--list", action="store_true", help="say what there is, with targets")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="may be given again")
    parser.add_argument("--output", type=Path, metavar="FILE", help="JSON lines there (default: stdout)")
    parser.add_argument("--tiny", action="store_true", help="as little as possible: does it run at all?")
    for size in fields(Scale):
        parser.add_argument(
            f"--{size.name.replace('_', '-')}", type=int, metavar="N", help=f"default {size.default}"
        )
    return parser.parse_args(arguments)


def _scale(options: argparse.Namespace) -> Scale:
    given = {f.name: getattr(options, f.name) for f in fields(Scale) if getattr(options, f.name) is not None}
    return replace(TINY if options.tiny else Scale(), **given)


@contextlib.contextmanager
def _output(file: Path | None) -> Iterator[IO[str]]:
    if file is None:
        yield sys.stdout
    else:
        with file.open("w", encoding="utf-8") as out:
            yield out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
