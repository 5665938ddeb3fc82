"""Which hubs may be named: any valid name, or those of a list. Pure.

Rules guarded: where the operator lists the hubs, a misspelt one is refused with the list, because its messages would
reach nobody. `api` is not taken for a hub when clients negotiate: every client of a Functions app asks for it, because
its URL ends in /api.
"""

from fanout.binding.names import check_hub
from fanout.environment import variable_of
from fanout.errors import BadRequestError
from fanout.settings import Settings

_FUNCTIONS_PATH = "api"


class Hubs:
    """The hubs of this service; `hubs` "" in the settings means that any may be named."""

    def __init__(self, settings: Settings) -> None:
        self._known = settings.hubs
        self._default = settings.default_hub

    def check(self, name: str) -> str:
        """Return the name of a hub in lower case; BadRequestError when it is not valid or not one of the list."""
        hub = check_hub(name)
        if self._known and hub not in self._known:
            raise BadRequestError(f"There is no hub {hub} here, only {', '.join(self._known)}.", label="unknownHub")
        return hub

    def negotiated(self, name: str) -> str:
        """Return the hub that a client means; "" and `api` stand for the default one."""
        hub = check_hub(name) if name else ""
        if hub not in ("", _FUNCTIONS_PATH) or hub in self._known:
            return self.check(hub)
        if self._default:
            return self._default
        raise BadRequestError(
            "The address names no hub. A client whose URL ends in /api, as for Functions apps, means the default hub: "
            f"set {variable_of('default_hub')} to it, or list {_FUNCTIONS_PATH} in {variable_of('hubs')} if that is "
            "the name of a hub.",
            label="unknownHub",
        )
