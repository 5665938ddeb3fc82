"""Decides what a sender may have meant by a property that is unknown here.

Rule guarded: a message is never sent to everybody because the property that names its destination was misspelt. The
binding ignores unknown properties, so that `user_id` instead of `userId` makes a broadcast of what was meant for one.
A name that looks like an address is therefore refused: by known synonyms, by spelling (`User-ID`) and by edit distance
(`usrId`). For other names the suggestion only goes into a warning. The misspellings are written out once, because
measuring the distance of each name that is sent would take longer than all the rest of the item.
"""

import string
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Final

ADDRESSES: Final = (
    "connectionId", "userId", "groupName", "connectionIds", "userIds", "groupNames", "excluded",
)  # fmt: skip
_ANYBODY: Final = "userId, groupName or connectionId"
_ADDRESS_SYNONYMS: Final = {
    "userId": "user usr uid username useruid touser touserid targetuser targetuserid foruser",
    "userIds": "users uids usernames userlist useridlist tousers touserids targetusers targetuserids",
    "groupName": "group grp grpname groupid togroup togroupname targetgroup room roomid roomname channel channelname",
    "groupNames": "groups groupids grouplist togroups targetgroups rooms channels",
    "connectionId": "connection conn connid connectionname toconnection toconnectionid client clientid socketid",
    "connectionIds": "connections conns connids connectionlist toconnections clients clientids",
    "excluded": "exclude excludes excluding excludedids excludedconnections excludedconnectionids excludeconnections "
    "excludeconnectionids except exceptconnectionids",
    _ANYBODY: "to recipient recipients recipientid receiver receivers receiverid addressee addressees destination "
    "destinations sendto member members memberid audience",
}
# The synonyms whose misspellings look like an address and like nothing else.
_ADDRESS_WORDS: Final = "users group groups connection connections recipient recipients destination exclude"
_OTHER_SYNONYMS: Final = {
    "target": "method methodname event eventname clientmethod",
    "arguments": "args argument params parameters payload data body",
    "action": "actiontype operation",
    "messageId": "id msgid",
    "ttlSeconds": "ttl timetolive expires expiry",
    "collapseKey": "collapse",
}
_LONGEST: Final = 40  # characters; no misspelt property is longer
_TWO_ERRORS_FROM: Final = 9  # letters; in a shorter word two errors make another word
_LETTERS: Final = string.ascii_lowercase + string.digits


def address_meant(name: str) -> str:
    """Return the property that names a destination and that `name` looks like, "" for none."""
    return _ADDRESS_SPELLINGS.meant(name)


def property_meant(name: str) -> str:
    """Return the property, not one of a destination, that `name` looks like, "" for none."""
    return _OTHER_SPELLINGS.meant(name)


class Spellings:
    """Known words and their misspellings, each with the property that is meant."""

    def __init__(self, words: Mapping[str, str], fuzzy: Mapping[str, str]) -> None:
        """`words` count as they are; of those in `fuzzy` the misspellings count too."""
        long = {word: known for word, known in fuzzy.items() if len(word) >= _TWO_ERRORS_FROM}
        self._two_errors = {
            error: known for word, known in long.items() for once in _shuffled(word) for error in _shuffled(once)
        }
        self._one_error = {error: known for word, known in fuzzy.items() for error in _with_one_error(word)}
        self._long = {error: known for word, known in long.items() for error in _with_one_error(word)}
        self._words = dict(words)

    def meant(self, name: str) -> str:
        """Return the property that is meant by `name`, "" for none.

        Two errors are known in long words: one is a superfluous letter, or both are missing or swapped letters.
        """
        if len(name) > _LONGEST:
            return ""
        word = _folded(name)
        found = self._words.get(word) or self._one_error.get(word) or self._two_errors.get(word)
        if found or len(word) < _TWO_ERRORS_FROM:
            return found or ""
        return next((self._long[shorter] for shorter in _without_one(word) if shorter in self._long), "")


def _folded(name: str) -> str:
    if name.isascii() and name.isalpha():
        return name.lower()
    return "".join(letter for letter in unicodedata.normalize("NFKC", name).casefold() if letter.isalnum())


def _without_one(word: str) -> Iterator[str]:
    return (word[:at] + word[at + 1 :] for at in range(len(word)))


def _shuffled(word: str) -> Iterator[str]:
    yield from _without_one(word)
    for at in range(len(word) - 1):
        yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]


def _with_one_error(word: str) -> Iterator[str]:
    yield from _shuffled(word)
    for at in range(len(word) + 1):
        before, after = word[:at], word[at:]
        for letter in _LETTERS:
            yield before + letter + after
            yield before + letter + after[1:]


def _words_of(synonyms: Mapping[str, str]) -> dict[str, str]:
    return {word: known for known, words in synonyms.items() for word in words.split()}


_ADDRESS_NAMES: Final = {name.lower(): name for name in ADDRESSES}
_OTHER_NAMES: Final = {name.lower(): name for name in _OTHER_SYNONYMS}
_SYNONYMS: Final = _words_of(_ADDRESS_SYNONYMS)
_ADDRESS_SPELLINGS: Final = Spellings(
    _SYNONYMS | _ADDRESS_NAMES, _ADDRESS_NAMES | {word: _SYNONYMS[word] for word in _ADDRESS_WORDS.split()}
)
_OTHER_SPELLINGS: Final = Spellings(_words_of(_OTHER_SYNONYMS) | _OTHER_NAMES, _OTHER_NAMES)
