"""Claims that go from a caller's `idToken` into the token of a client. Pure.

Source: docs/sources.md, client-tokens. Rules guarded: only the claims that `claimTypeList` names go along, by their
exact names, as the vendor's binding has it. The signature is not checked here: who may send an idToken vouches for it.
Other than there, `Bearer ` in front is taken, because that is how a header carries it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from fanout.errors import BadRequestError
from fanout.signalr.credentials import InvalidTokenError, unverified_claims

_SCHEME = "bearer "


def claims_of(id_token: object, names: object) -> Mapping[str, Any]:
    """Return the named claims of an idToken, {} without one.

    BadRequestError for what is no token, and for names without a token.
    """
    wanted = _names(names)
    if id_token is None:
        if wanted:
            raise BadRequestError(
                "claimTypeList names claims of an idToken, and there is none.", pointer="/claimTypeList"
            )
        return {}
    claims = _read(id_token)
    return {name: claims[name] for name in wanted if claims.get(name) is not None}


def _names(names: object) -> Sequence[str]:
    if names is None:
        return ()
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadRequestError("claimTypeList must be an array of strings.", pointer="/claimTypeList")
    return names


def _read(id_token: object) -> Mapping[str, Any]:
    if not isinstance(id_token, str):
        raise BadRequestError("idToken must be a string.", pointer="/idToken")
    text = id_token.strip()
    if text[: len(_SCHEME)].lower() == _SCHEME:
        text = text[len(_SCHEME) :].strip()
    try:
        return unverified_claims(text)
    except InvalidTokenError:
        raise BadRequestError("idToken is not a JSON Web Token.", pointer="/idToken") from None
