"""The spans that every process of a stack has written, and the tree of one trace."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Span:
    """One line of a span file."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    attributes: Mapping[str, object]


def written(root: Path) -> list[Span]:
    """Every span under a stack's directory."""
    return [span for file in sorted(root.rglob("spans.jsonl")) for span in _of(file)]


def _of(file: Path) -> Iterator[Span]:
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # the last one may be half-written
            raw = json.loads(line)
            yield Span(**{name: raw[name] for name in Span.__dataclass_fields__})


class Tree:
    """The spans of one trace."""

    def __init__(self, spans: Iterable[Span], trace_id: str) -> None:
        self.spans = {span.span_id: span for span in spans if span.trace_id == trace_id}

    def named(self, name: str) -> list[Span]:
        """Spans of a name."""
        return [span for span in self.spans.values() if span.name == name]

    @property
    def roots(self) -> list[Span]:
        """Spans that nothing led to."""
        return [span for span in self.spans.values() if span.parent_id is None]

    @property
    def orphans(self) -> list[Span]:
        """Spans whose parent is not in the trace."""
        return [s for s in self.spans.values() if s.parent_id is not None and s.parent_id not in self.spans]

    def path(self, span: Span) -> list[str]:
        """Names from the span up to its root."""
        names = [span.name]
        while span.parent_id is not None and span.parent_id in self.spans:
            span = self.spans[span.parent_id]
            names.append(span.name)
        return names

    def leads(self, above: str, below: str) -> bool:
        """Whether a span of the one name (``a|b``: of either) is somewhere above one of the other."""
        return any(set(above.split("|")) & set(self.path(span)[1:]) for span in self.named(below))
