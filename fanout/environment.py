"""Reads the settings from the environment, once, at start.

Rules guarded: an unknown `FANOUT_` name is refused, because a typing error must not silently mean a default. Every
finding is reported at once. A secret may come from a file (`FANOUT_API_KEY_FILE`). No value of a secret appears in an
error.
"""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_origin

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from fanout.environment_endpoints import LISTED, Found, find_connections
from fanout.errors import ConfigurationError
from fanout.identity_settings import SEPARATOR, companion_of, connection_string_of
from fanout.settings import Settings
from fanout.settings_rules import setting_meant, trim_key
from fanout.units import DURATION, SIZE, Unit, format_duration, format_size

PREFIX = "FANOUT_"
CONNECTION_STRING = "AzureSignalRConnectionString"
_IDENTITY_BASED = f"{CONNECTION_STRING}{SEPARATOR}".upper()  # Functions apps: ...__serviceUri, ...__credential
# Settings that other programs read too, under names of their own.
_SHARED = {
    "connection_string": CONNECTION_STRING,
    "https_proxy": "HTTPS_PROXY",
    "http_proxy": "HTTP_PROXY",
    "no_proxy": "NO_PROXY",
}
_FIELDS_OF_SHARED = {variable.lower(): field for field, variable in _SHARED.items()}
FILE_SUFFIX = "_FILE"
_RULES = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
    "bool_parsing": "must be true or false",
}


def load(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read the settings from `environ` (the process's own by default); keyword arguments take precedence over it.

    Raises ConfigurationError with every finding: the variable, and what is allowed.
    """
    return load_some(Settings.model_fields, environ, **overrides)


def load_some(names: Collection[str], environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Read these settings only; the others have their defaults, whatever the environment holds."""
    environ = os.environ if environ is None else environ
    found = _found_in(environ)
    endpoints = _read(found) if "connection_string" in names else Found(taken=found.taken)
    values, findings = _values_of({k: v for k, v in environ.items() if k not in endpoints.taken}, names)
    findings += endpoints.findings
    try:
        settings = Settings(**{**values, **overrides})
    except ValidationError as error:
        findings += [_finding(detail) for detail in error.errors(include_url=False)]
    if findings:
        raise ConfigurationError(*findings)
    paths = ((_secret_of_file(variable), path) for variable, path in environ.items())
    files = {field: path for field, path in paths if field is not None and field in names}
    files |= {each.variable[: -len(FILE_SUFFIX)]: each.path for each in endpoints.connections if each.path}
    return settings.noted(_corrections(values), secret_files=files, named_connections=endpoints.connections)


def variables_that_set(names: Collection[str], environ: Mapping[str, str] | None = None) -> list[str]:
    """Return the variables that set one of these settings; with the connection string those of endpoints too."""
    environ = os.environ if environ is None else environ
    of_service = _found_in(environ).taken if "connection_string" in names else ()

    def sets(variable: str) -> bool:
        is_companion = "connection_string" in names and companion_of(variable, CONNECTION_STRING)
        field = _field_of(variable) or _secret_of_file(variable)
        return variable in of_service or bool(is_companion) or field in names

    return sorted(variable for variable, text in environ.items() if text and sets(variable))


def _found_in(environ: Mapping[str, str]) -> Found:
    listed = next((text for name, text in environ.items() if name.upper() == LISTED), "")
    return find_connections(environ, [name.strip() for name in listed.split(",") if name.strip()])


def _read(found: Found) -> Found:
    connections, findings = list(found.connections), list(found.findings)
    for place, each in enumerate(connections):
        try:
            text = read_secret(each.variable, each.path) if each.path else each.text.get_secret_value()
        except ConfigurationError as error:
            findings.append(str(error))
        else:
            connections[place] = replace(each, text=SecretStr(text))
    return Found(tuple(connections), tuple(findings), found.taken)


def _corrections(values: Mapping[str, Any]) -> list[str]:
    if trim_key(values.get("api_key", "")) == values.get("api_key", ""):
        return []
    return [f"{variable_of('api_key')} has white space or quotes around it, which are not taken for a part of the key."]


def variable_of(field: str) -> str:
    """Return the name of the environment variable of a field; what is no field is the name of a variable."""
    return _SHARED.get(field) or (PREFIX + field.upper() if field in Settings.model_fields else field)


def standard_variable(name: str) -> str:
    """Return a variable that is no setting of ours and that libraries read, "" where it is not set."""
    return os.environ.get(name, "").strip()


def unit_of(field: FieldInfo) -> Unit | None:
    """Return the unit of a numeric setting; None for one without."""
    return next((each for each in field.metadata if isinstance(each, Unit)), None)


def text_of(name: str, value: Any) -> str:
    """Return a value in the form in which it may be set; secrets as they are, so mask them before they are shown."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    unit = unit_of(Settings.model_fields[name])
    if unit is DURATION:
        return format_duration(value)
    return format_size(value) if unit is SIZE else f"{value:g}" if isinstance(value, float) else str(value)


def _values_of(environ: Mapping[str, str], names: Collection[str]) -> tuple[dict[str, Any], list[str]]:
    values: dict[str, Any] = {}
    findings: list[str] = []
    for variable, text in environ.items():
        name = _field_of(variable)
        if name in _SHARED and variable.isupper() and variable.lower() in environ:
            continue  # both spellings of HTTPS_PROXY are set: the one in lower case counts, as with other programs
        field = name or _secret_of_file(variable)
        if field is None:
            if _is_ours(variable):
                findings.append(_unknown(variable))
        elif field in names:
            try:
                _store(values, field, text if name else read_secret(variable, text))
            except ConfigurationError as error:
                findings.append(str(error))
    if "connection_string" in names:
        findings += _store_identity(values, environ)
    return values, findings


def _is_ours(variable: str) -> bool:
    return variable.upper().startswith((PREFIX, _IDENTITY_BASED)) and not companion_of(variable, CONNECTION_STRING)


def _field_of(variable: str) -> str | None:
    if variable.lower() in _FIELDS_OF_SHARED:
        return _FIELDS_OF_SHARED[variable.lower()]
    name = variable[len(PREFIX) :].lower() if variable.upper().startswith(PREFIX) else ""
    return name if name in Settings.model_fields and name not in _SHARED else None


def _secret_of_file(variable: str) -> str | None:
    if not variable.upper().endswith(FILE_SUFFIX):
        return None
    name = _field_of(variable[: -len(FILE_SUFFIX)])
    return name if name is not None and Settings.model_fields[name].annotation is SecretStr else None


def _store(values: dict[str, Any], name: str, text: str) -> None:
    if name in values:
        variable = variable_of(name)
        raise ConfigurationError(f"{variable} and {variable}{FILE_SUFFIX}: set one of the two.")
    if get_origin(Settings.model_fields[name].annotation) is tuple:
        values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
    else:
        values[name] = text


def _store_identity(values: dict[str, Any], environ: Mapping[str, str]) -> list[str]:
    # Stores the connection string that a service by identity means, where there is one, and returns what is wrong.
    given = {name: text for variable, text in environ.items() if (name := companion_of(variable, CONNECTION_STRING))}
    if not any(text.strip() for text in given.values()):
        return []
    if values.get("connection_string", "").strip():
        companion = f"{CONNECTION_STRING}{SEPARATOR}{min(given)}"
        return [
            f"{CONNECTION_STRING} and {companion}: set one of the two, a connection string or a service by identity."
        ]
    try:
        values["connection_string"] = connection_string_of(CONNECTION_STRING, given)
    except ConfigurationError as error:
        return list(error.findings)
    return []


def read_secret(variable: str, path: str) -> str:
    """Return what a file holds without the space around it; ConfigurationError when it cannot be used."""
    try:
        text = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"{variable}: {_shown_path(path)} cannot be read: {reason}.") from None
    if not text:
        raise ConfigurationError(f"{variable}: {path!r} is empty.")
    return text


def _shown_path(path: str) -> str:
    # Who forgets what _FILE means sets the secret itself; a key in base64 ends with "=".
    is_path = path.startswith(("/", "./", "../")) and not path.endswith("=")
    return repr(path) if is_path else "the file that it names (not shown: it may be the secret itself, not a path)"


def _unknown(variable: str) -> str:
    if variable.upper().startswith(_IDENTITY_BASED):
        return (
            f"{variable} is not a setting of this version: serviceUri, credential, clientId, tenantId, clientSecret, "
            f"serverEndpoint and clientEndpoint may follow {CONNECTION_STRING}{SEPARATOR}."
        )
    close = setting_meant(variable[len(PREFIX) :], [field for field in Settings.model_fields if field not in _SHARED])
    hint = f"Did you mean {variable_of(close)}?" if close else "`fanout config` lists the known ones."
    return f"{variable} is not a setting of this version. {hint}"


def _finding(detail: Mapping[str, Any]) -> str:
    name = str(detail["loc"][0])
    rule = _RULES.get(detail["type"])
    bounds = {key: text_of(name, bound) for key, bound in detail.get("ctx", {}).items() if key != "error"}
    problem = rule.format(**bounds) if rule else detail["msg"].removeprefix("Value error, ")
    field = Settings.model_fields[name]
    given = "" if field.annotation is SecretStr or detail["input"] == () else f" (it is {detail['input']!r})"
    return f"{variable_of(name)}: {problem.rstrip('.')}{given}."
