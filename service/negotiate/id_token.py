"""Claims that go from a caller's `idToken` into the token of a client. Pure.

Source: docs/sources.md, client-tokens. Rules guarded: only the claims that `claimTypeList` names go along, by their
exact names, as the vendor's binding has it. Neither signature nor expiry is checked here: who may send an idToken
vouches for it. Other than there, `Bearer ` in front is taken, because that is how a header carries it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fanout.errors import BadRequestError
from fanout.signalr.credentials import InvalidTokenError, unverified_claims

_SCHEME: Final = "bearer "
_POINTER: Final = "/idToken"


def token_of(id_token: object) -> str:
    """Return the token without the scheme in front of it, "" for none; BadRequestError for what is no text."""
    if id_token is None:
        return ""
    if not isinstance(id_token, str):
        raise BadRequestError("idToken must be a string.", pointer=_POINTER)
    text = id_token.strip()
    if text[: len(_SCHEME)].lower() == _SCHEME:
        text = text[len(_SCHEME) :].strip()
    if not text:
        raise BadRequestError("idToken is empty.", pointer=_POINTER)
    return text


def claim_names(names: object) -> Sequence[str]:
    """Return the names of a claimTypeList, () for none."""
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequestError("claimTypeList must be an array of strings.", pointer="/claimTypeList")
    return names


def claims_of(token: str) -> Mapping[str, Any]:
    """Return all claims of a token that is not verified; BadRequestError for what is none."""
    try:
        return unverified_claims(token)
    except InvalidTokenError:
        raise BadRequestError("idToken is not a JSON Web Token.", pointer=_POINTER) from None
