"""The settings of callers beside their one key: where further keys are, and who is counted by name.

Rules guarded: as in `fanout.settings`, of which these are a part.
"""

from typing import Literal

from pydantic import BaseModel, Field, field_validator

from fanout.caller_metrics import MAX_CALLERS
from fanout.settings_rules import check_caller


class CallerSettings(BaseModel):
    """Callers: who they are, and what is known of each."""

    api_keys: Literal["", "redis"] = Field(
        "",
        description="`redis`: an ingress starts without FANOUT_API_KEY, and its callers have the keys that `fanout "
        "keys` made. Keys in Redis count in any case; this says that they are enough to start.",
    )
    metrics_callers: tuple[str, ...] = Field(
        (),
        max_length=MAX_CALLERS,
        description="Callers that are counted one by one in the metrics `fanout_caller_...`, comma-separated: names of "
        "API keys, `api-key` for FANOUT_API_KEY, `access-key` for the compatible routes. All others count together, as "
        "`other`. At most 50 may be named. Empty counts none.",
    )

    @field_validator("metrics_callers")
    @classmethod
    def _callers_are_names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(check_caller(name) for name in names)
