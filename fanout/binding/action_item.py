"""Reads an item with an `action`: a change of group membership, or the closing of connections.

Source: docs/sources.md, binding-kinds. As in the binding an action is a word in any case or a number from 0 to 2.
Beyond it `removeAll` works for a connection too, lists mean every member in every group, member by member, `ttlSeconds`
is the lifetime of a membership, and `closeConnection` closes what it names and never the whole hub.
"""

from typing import Final

import msgspec

from fanout.binding.destinations import (
    DESTINATION_FIELDS,
    GROUPS,
    MEMBER_FIELDS,
    Destinations,
    destinations_of,
    excluded_of,
    names_of,
    too_many,
)
from fanout.binding.names import check_uri
from fanout.binding.parsed import BatchLimits, ItemContent, ItemWarning
from fanout.binding.properties import Properties
from fanout.binding.refusals import refuse
from fanout.signalr.message import CloseConnections, GroupAction, Scope, Verb

MAX_MEMBERSHIP_TTL: Final = 2**31 - 1  # int32 in the published API description
_CLOSE: Final = "closeconnection"
_VERBS: Final = {
    "add": Verb.ADD, "remove": Verb.REMOVE, "removeall": Verb.REMOVE_ALL,
    "0": Verb.ADD, "1": Verb.REMOVE, "2": Verb.REMOVE_ALL,
}  # fmt: skip
_CAN_EXCLUDE: Final = frozenset({Scope.USER, Scope.GROUP})
_word = msgspec.json.Decoder(str | int)
_whole = msgspec.json.Decoder(int)


def read_action(properties: Properties, limits: BatchLimits) -> ItemContent:
    """Build the calls of an item. Raises BadRequestError with a pointer relative to the item."""
    word = _word_of(properties)
    if word == _CLOSE:
        return _close(properties, limits)
    verb = _VERBS.get(word)
    if verb is None:
        detail = "action must be add, remove, removeAll (or 0, 1, 2) or closeConnection."
        raise refuse("unknownAction", detail, properties.pointer("action"))
    return _membership(properties, verb, limits)


def _word_of(properties: Properties) -> str:
    try:
        return str(_word.decode(properties.values["action"])).strip().lower()
    except msgspec.ValidationError:
        return ""


def _membership(properties: Properties, verb: Verb, limits: BatchLimits) -> ItemContent:
    members = destinations_of(properties, MEMBER_FIELDS, limits.max_targets)
    if not members.named:
        raise refuse("noMember", "The action names no connectionId and no userId.")
    groups = _groups_of(properties, verb)
    count = len(members.named) * len(groups)
    if count > limits.max_targets:
        raise too_many(count, limits.max_targets)
    ttl = _ttl_of(properties, verb, members)
    excluded_of(properties, [scope for scope, _ in members.named], ())
    items = tuple([GroupAction(verb, scope, name, group, ttl) for scope, name in members.named for group in groups])
    for item in items:
        check_uri(item)
    ignored = ("groupName",) if verb is Verb.REMOVE_ALL and properties.name("groupName") else ()
    return ItemContent(items, _warnings_of(properties, members, "reason", *ignored))


def _groups_of(properties: Properties, verb: Verb) -> tuple[str, ...]:
    if verb is Verb.REMOVE_ALL:
        properties.forbid("groupNames", "removeAll leaves every group. Use remove to leave the groups of a list.")
        return ("",)
    groups = names_of(properties, GROUPS)
    if not groups:
        raise refuse("noGroup", f"{verb.value} names no groupName.")
    return groups


def _ttl_of(properties: Properties, verb: Verb, members: Destinations) -> int | None:
    if not properties.given("ttlSeconds"):
        return None
    if verb is not Verb.ADD or any(scope is not Scope.USER for scope, _ in members.named):
        detail = "Only adding a user to a group can have a TTL."
        raise refuse("notAllowedHere", detail, properties.pointer("ttlSeconds"))
    try:
        ttl = _whole.decode(properties.values["ttlSeconds"])
    except msgspec.ValidationError:
        ttl = -1
    if not 0 <= ttl <= MAX_MEMBERSHIP_TTL:
        detail = f"ttlSeconds of a membership is a whole number from 0 to {MAX_MEMBERSHIP_TTL}."
        raise refuse("invalidTtl", detail, properties.pointer("ttlSeconds"))
    return ttl


def _close(properties: Properties, limits: BatchLimits) -> ItemContent:
    properties.forbid("ttlSeconds", "Closing connections has no TTL.")
    closed = destinations_of(properties, DESTINATION_FIELDS, limits.max_targets)
    if not closed.named:
        raise refuse("noDestination", "closeConnection names no connectionId, userId or groupName.")
    excluded = excluded_of(properties, [scope for scope, _ in closed.named], _CAN_EXCLUDE)
    reason = properties.text("reason") or ""
    items = tuple([CloseConnections(scope, name, reason, excluded) for scope, name in closed.named])
    for item in items:
        check_uri(item)
    return ItemContent(items, _warnings_of(properties, closed))


def _warnings_of(properties: Properties, destinations: Destinations, *ignored: str) -> tuple[ItemWarning, ...]:
    warnings = properties.ignored("arguments", "collapseKey", "delivery", "priority", *ignored)
    return (*destinations.warnings(properties), *warnings)
