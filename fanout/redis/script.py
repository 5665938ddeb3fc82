"""A Lua function as the connections send it: by its SHA1, with the text where the server does not know it yet.

Rule guarded: a script is named by what it says, so that two versions side by side can never run each other's text.
"""

from hashlib import sha1


class Script:
    """Lua text and its SHA1, the name EVALSHA knows it by."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __repr__(self) -> str:
        return f"<Script {self.sha[:8]}>"
