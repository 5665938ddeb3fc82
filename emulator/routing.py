"""Finds the operation of a method and a path, segment by segment. Pure.

Rule guarded: what stands between two slashes on the wire is one name, whatever it decodes to (contract section 1). No
place in the service's URL grammar offers both a literal and a name, so the walk never has to turn back.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: "dict[str, _Node[T]]" = field(default_factory=dict)
    name: str = ""
    named: "_Node[T] | None" = None
    operations: dict[str, T] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """The operation and what the path's names stand for; without the operation, `allowed` are the path's methods."""

    operation: T | None
    names: dict[str, str]
    allowed: tuple[str, ...] = ()


class Router(Generic[T]):
    """A tree of path segments; patterns look like `groups/{group}/connections/{connection}`."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, method: str, pattern: str, operation: T) -> None:
        """Enter one operation; "" is the root's own path."""
        node = self._root
        for part in pattern.split("/") if pattern else ():
            if part.startswith("{"):
                node.name = part[1:-1]
                node.named = node.named or _Node()
                node = node.named
            else:
                node = node.literals.setdefault(part, _Node())
        node.operations[method] = operation

    def find(self, method: str, segments: Sequence[str]) -> Found[T]:
        """Look up a path; neither operation nor `allowed` means there is no such path."""
        node: _Node[T] = self._root
        names: dict[str, str] = {}
        for segment in segments:
            following = node.literals.get(segment)
            if following is None:
                if node.named is None:
                    return Found(None, names)
                names[node.name] = segment
                following = node.named
            node = following
        return Found(node.operations.get(method), names, tuple(node.operations))
