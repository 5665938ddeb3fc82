"""Which names the service takes. Pure.

Source: contract section 1 (the patterns of the OpenAPI files): hubs and applications start with a letter and may hold
a backtick, comma, dot and brackets, but no hyphen; groups have 1-1024 characters and are not all white space.
"""

import re

from emulator.refusal import invalid

_HUB = re.compile(r"[A-Za-z][A-Za-z0-9_`,.\[\]]{0,127}")
_MAX_GROUP = 1024
_MAX_USER_TO_CLOSE = 1024
_MAX_STREAM = 100


def is_hub(name: str) -> bool:
    """Tell whether `name` may be a hub's or an application's."""
    return _HUB.fullmatch(name) is not None


def effective_hub(hub: str, application: str) -> str:
    """Give the name under which a hub is kept: lower case, prefixed with the application; refuses bad names."""
    if not is_hub(hub):
        raise invalid(f"Invalid hub name '{hub}': it must match ^{_HUB.pattern}$.", "hub")
    if not application:
        return hub.lower()
    if not is_hub(application):
        raise invalid(f"Invalid application name '{application}': it must match ^{_HUB.pattern}$.", "application")
    return f"{application}_{hub}".lower()


def check_group(name: str) -> str:
    """Refuse a group name of the wrong length or of white space only."""
    check_group_length(name)
    if name.isspace():
        raise invalid("Invalid group name: it must not be white space only.", "group")
    return name


def check_group_length(name: str) -> str:
    """Refuse a group name of the wrong length; all that `:send` asks of one."""
    if not 1 <= len(name) <= _MAX_GROUP:
        raise invalid(f"Invalid group name: it must have 1 to {_MAX_GROUP} characters.", "group")
    return name


def check_user(name: str) -> str:
    """Refuse an empty user id: the path would mean another route."""
    if not name:
        raise invalid("Invalid user id: it must not be empty.", "user")
    return name


def check_user_to_close(name: str) -> str:
    """Refuse a user id that `:closeConnections` does not take."""
    if not 1 <= len(name) <= _MAX_USER_TO_CLOSE:
        raise invalid(f"Invalid user id: it must have 1 to {_MAX_USER_TO_CLOSE} characters.", "user")
    return name


def check_connection(name: str) -> str:
    """Refuse an empty connection id."""
    if not name:
        raise invalid("Invalid connection id: it must not be empty.", "connectionId")
    return name


def check_stream(name: str) -> str:
    """Refuse a stream id of the wrong length or of white space only."""
    if not 1 <= len(name) <= _MAX_STREAM or name.isspace():
        raise invalid(f"Invalid stream id: 1 to {_MAX_STREAM} characters, not all white space.", "streamId")
    return name
