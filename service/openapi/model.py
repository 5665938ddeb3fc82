"""The base of every JSON document that a route reads or writes, except the batch.

Rule guarded: the OpenAPI document describes these documents from their models. The batch has hand-written schemas,
because it is parsed without models (see `batch`).
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue, SkipJsonSchema

Count = Annotated[int, Field(ge=0)]
Absent = SkipJsonSchema[None]  # in a type: the member may be left out, but it is never null


class Document(BaseModel):
    """A JSON object with camelCase names and no other members than the declared ones."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="forbid", frozen=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the schema without what says nothing: titles that repeat the name, null as the default."""
        schema = handler(core_schema)
        for member in handler.resolve_ref_schema(schema).get("properties", {}).values():
            member.pop("title", None)
            if "default" in member and member["default"] is None:
                del member["default"]
        return schema

    def to_json(self) -> bytes:
        """Return the object as JSON, without the members that were not set."""
        return self.model_dump_json(by_alias=True, exclude_unset=True).encode()
