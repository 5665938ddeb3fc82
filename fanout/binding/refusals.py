"""Every reason for which a batch, an item or a name is refused: a table of codes, each with a sentence.

Rule guarded: a refusal is never silent and never vague. The codes are part of the public API. Problem details, the
OpenAPI document and the documentation print this table.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from fanout.errors import BadRequestError

ERROR_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # The body as a whole
        "emptyBody": "The body, or the JSON string in it, is empty.",
        "invalidUtf8": "The body is not UTF-8.",
        "invalidJson": "The body is not JSON.",
        "tooDeep": "The JSON is nested too deeply.",
        "notABatch": "A batch is one object, an array of objects, or a JSON string that holds either.",
        "nestedString": "A JSON string stands where an object must stand: only the whole batch may be a string.",
        "tooManyItems": "The batch has more items than one request may carry.",
        "tooManyTargets": "The target lists name more destinations than one batch may reach.",
        # An item
        "notAnObject": "An item must be a JSON object; null, true, false and numbers are none.",
        "nestedArray": "An array stands inside the batch's array: items are not nested.",
        "itemTooLarge": "The item is larger than any deliverable message with its target lists.",
        "loneSurrogate": "A string of the item holds half of a surrogate pair.",
        "noTargetOrAction": "An item needs a target (a message) or an action (a group action).",
        "emptyTarget": "The target, the client method's name, is empty.",
        "unknownAction": "The action is not add, remove, removeAll or closeConnection.",
        "argumentsNotAnArray": "The arguments are not an array.",
        "messageTooLarge": "The REST body of the message is larger than the service takes.",
        "noMember": "A group action needs a connectionId or a userId, or a list of them.",
        "noGroup": "Adding and removing need a groupName, or a list of them.",
        "noDestination": "closeConnection needs a connectionId, userId or groupName, or a list of them.",
        # A property
        "notAString": "The property must be a string.",
        "notAList": "The property must be an array of strings.",
        "emptyList": "The list is empty. To name nobody, leave it out or send null.",
        "misnamedAddress": "A property looks like the name of a destination and is none.",
        "notAllowedHere": "The property cannot be honoured on this item, and dropping it would change its effect.",
        "invalidTtl": "ttlSeconds is out of range or not a number.",
        "invalidCollapseKey": "A collapseKey is at most 128 characters long.",
        "invalidDelivery": "delivery is atLeastOnce or atMostOnce.",
        "invalidPriority": "priority is high, normal or low.",
        "invalidMessageId": "A messageId is 1 to 128 printable characters.",
        "invalidEndpoints": "endpoints must be an array of objects, as from the signalREndpoints binding.",
        "noEndpointSelected": "endpoints selects none of the endpoints configured here, so nothing would be sent.",
        # Names
        "invalidHub": "A hub name starts with a letter and has 1 to 128 letters, digits and _ ` , . [ ].",
        "invalidApplication": "An application name follows the rule of hub names.",
        "invalidGroupName": "A group name has 1 to 1024 characters, not all white space, and is not . or .. .",
        "invalidUserId": "A user id has 1 to 1024 characters and is not . or .. .",
        "invalidConnectionId": "A connection id is not empty and is not . or .. .",
        "uriTooLong": "The excluded ids or the reason do not fit into the 12 K that the service allows a URI.",
        "namesTooLong": "Percent-encoded, the names make an access token longer than the 4,096 characters allowed.",
    }
)

# What is taken although it may not be what the sender meant. `Prefer: handling=strict` refuses these items.
WARNING_CODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "unknownProperty": "A property is unknown and ignored.",
        "ignoredProperty": "A property has no meaning on this item and is ignored.",
        "emptyAddress": "A destination is named by an empty string or null, so the message goes to everybody.",
        "severalScopes": "Destinations of several kinds are named; one of them is addressed, the others are ignored.",
        "targetAndAction": "Both target and action are set; the message is sent, the action is not done.",
        "replacedSurrogate": "U+FFFD was put in the place of half of a surrogate pair, as asked for.",
        "unknownEndpoint": "Some of the endpoints are not configured here and get nothing.",
    }
)
ITEM_CODES: Final[Mapping[str, str]] = MappingProxyType({**ERROR_CODES, **WARNING_CODES})


def refuse(code: str, detail: str, pointer: str = "") -> BadRequestError:
    """Return the error to raise. `code` is a key of ITEM_CODES, `pointer` is relative to what is read."""
    return BadRequestError(detail, label=code, pointer=pointer)
