"""The route of the settings in force: `GET /v1/admin/config`.

Rules guarded: only callers that may read of all hubs are answered. Secrets are masked as `fanout config` masks them.
"""

from typing import Any, Final

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from fanout import __version__
from fanout.environment import load, variable_of
from fanout.settings import Settings
from service.callers.caller import EVERY_HUB, Right
from service.effective import shown
from service.http.request import Guard
from service.openapi.describe import READ_REFUSALS, REQUEST_ID, answer, busy, callers, refusal
from service.openapi.model import Document

CONFIG: Final = "/v1/admin/config"
_NO_STORE: Final = {"Cache-Control": "no-store"}


class EffectiveSetting(Document):
    """One setting as it is in force."""

    name: str = Field(description="The variable of the environment.")
    value: str = Field(description="As it may be written there; a secret is masked.")
    changed: bool = Field(description="Whether it differs from its default.")


class EffectiveSettings(Document):
    """The settings of the process that answered."""

    version: str
    settings: list[EffectiveSetting]


_SHOWN: Final = {
    "version": "0.2.0",
    "settings": [{"name": "FANOUT_PARTITIONS", "value": "16", "changed": False}],
}
_DESCRIPTION: Final[dict[str, Any]] = {
    "operation_id": "getConfig",
    "summary": "Return the settings in force, secrets masked",
    "responses": {
        200: answer(EffectiveSettings, "The settings of the process that answered.", _SHOWN),
        **READ_REFUSALS,
        500: refusal("An unexpected error.", "internal"),
        503: busy("The API keys cannot be read.", "callersUnavailable"),
    },
    "openapi_extra": {"security": callers(Right.READ), "parameters": [REQUEST_ID]},
}


class ConfigAdmin:
    """The handler of the route."""

    def __init__(self, settings: Settings, guard: Guard) -> None:
        self._settings = settings
        self._guard = guard

    def router(self) -> APIRouter:
        """Return the route with its description."""
        router = APIRouter(tags=["admin"])
        router.add_api_route(CONFIG, self.config, response_model=None, response_class=Response, **_DESCRIPTION)
        return router

    async def config(self, request: Request) -> Response:
        """Return the settings in force."""
        self._guard.admit(request, Right.READ, EVERY_HUB)
        settings, defaults = self._settings, load({})
        listed = [
            EffectiveSetting.model_construct(
                name=variable_of(name),
                value=shown(name, getattr(settings, name)),
                changed=getattr(settings, name) != getattr(defaults, name),
            )
            for name in Settings.model_fields
        ]
        document = EffectiveSettings.model_construct(version=__version__, settings=listed)
        return Response(document.to_json(), 200, _NO_STORE, "application/json")
