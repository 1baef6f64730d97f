"""Values that never change, and the next ones made of them, at little cost: a mapping of any size, a frozen dataclass.

The mapping grows one entry at a time, at a cost that hardly depends on how many it has.
Persistent in the sense of Driscoll, Sarnak, Sleator and Tarjan (1989): every earlier mapping stays as it was. The fold needs
that for each of its states; copying a dictionary for each fact makes it quadratic.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from typing import TYPE_CHECKING, TypeVar

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

if TYPE_CHECKING:
    from dataclasses import replace as replace  # noqa: PLC0414 - the checker knows the fields of this one alone
else:

    def replace(value: D, **changes: object) -> D:
        """``dataclasses.replace`` for what has neither slots nor anything to compute when it is made; a third of its time.

        A fold makes several values for each fact.

        Raises:
            TypeError: there is no such field.
        """
        fields = value.__dict__
        if not changes.keys() <= fields.keys():
            message = f"{type(value).__name__} has no {', '.join(sorted(changes.keys() - fields.keys()))}"
            raise TypeError(message)
        made = object.__new__(type(value))
        made.__dict__.update(fields, **changes)
        return made


class PersistentMap(Mapping[K, V]):
    """A large dictionary that many share and nobody changes, and the few newest entries, copied at each ``put``.

    The few are at most the square root of the many, so n puts copy n·√n entries in all. Iterates in the order in which
    keys were first put.
    """

    __slots__ = ("_large", "_size", "_small")

    def __init__(self, entries: Mapping[K, V] | None = None) -> None:
        self._large: Mapping[K, V] = dict(entries or {})
        self._small: Mapping[K, V] = {}
        self._size = len(self._large)

    def put(self, key: K, value: V) -> PersistentMap[K, V]:
        """The same mapping but for this entry."""
        grown: PersistentMap[K, V] = PersistentMap()
        grown._size = self._size + (key not in self)
        small = {**self._small, key: value}
        if len(small) * len(small) > len(self._large):
            grown._large = {**self._large, **small}
        else:
            grown._large, grown._small = self._large, small
        return grown

    def __getitem__(self, key: K) -> V:
        """The value; KeyError where there is none."""
        return self._small[key] if key in self._small else self._large[key]

    def __contains__(self, key: object) -> bool:
        """Whether there is an entry."""
        return key in self._small or key in self._large

    def __iter__(self) -> Iterator[K]:
        """The keys."""
        return iter(self._flat())

    def __len__(self) -> int:
        """The number of entries, counted when they were put."""
        return self._size

    def items(self) -> ItemsView[K, V]:
        """All entries, laid flat at once: quicker than one lookup for each."""
        return self._flat().items()

    def values(self) -> ValuesView[V]:
        """All values, as ``items``."""
        return self._flat().values()

    def _flat(self) -> Mapping[K, V]:
        return {**self._large, **self._small} if self._small else self._large

    def __repr__(self) -> str:
        """As a dictionary with the same entries."""
        return f"PersistentMap({self._flat()!r})"
