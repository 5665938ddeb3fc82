"""What may change in a secret while the process runs: the key, the client secret or the password alone.

Rule guarded: a file that names another service or another Redis changes nothing, because messages are queued there and
delivered there; it is told that this needs a restart.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from fanout.environment import FILE_SUFFIX, load, variable_of
from fanout.errors import ConfigurationError
from fanout.redis.address import Login, RedisAddress, parse
from fanout.secret import Secret
from fanout.settings import Settings
from fanout.signalr.connection_string import ConnectionString
from fanout.signalr.endpoints import Endpoints, ServiceEndpoint
from service.compose import Resources
from service.secret_files import SecretFiles

_RESTART = "The file names another {0} than the one in use. Restart the process to use it; the secret in force stays."


@dataclass(frozen=True, slots=True)
class Rotation:
    """The files that are followed; the other access key of the service and the API key of callers, as they are now.

    `renewed` has an event for each endpoint, by its key, that is set when the endpoint has another secret.
    """

    files: SecretFiles
    second_key: Secret
    api_key: Secret
    renewed: Mapping[str, asyncio.Event]


def rotation_of(resources: Resources, endpoints: Endpoints | None) -> Rotation:
    """Follow the files that the secrets of a process came from."""
    settings = resources.settings
    files = SecretFiles(settings.secret_files, resources.clock, resources.log)
    second_key = Secret(settings.second_access_key.get_secret_value())
    files.watch("second_access_key", second_key.value, second_key.replace)
    renewed = {endpoint.key: asyncio.Event() for endpoint in endpoints or ()}
    for endpoint in endpoints or ():
        _watch_endpoint(files, settings, endpoint, renewed[endpoint.key])
    _watch_redis(files, settings, resources.redis_password)
    api_key = Secret(settings.api_key.get_secret_value())
    files.watch("api_key", api_key.value, partial(_renew_api_key, api_key))
    return Rotation(files, second_key, api_key, renewed)


def _watch_endpoint(files: SecretFiles, settings: Settings, endpoint: ServiceEndpoint, renewed: asyncio.Event) -> None:
    take = partial(_renew_key, endpoint.service, renewed)
    if not endpoint.name:
        files.watch("connection_string", settings.connection_string.get_secret_value(), take)
    for each in settings.named_connections:
        if each.name == endpoint.name and each.path:
            files.watch(each.variable[: -len(FILE_SUFFIX)], each.text.get_secret_value(), take)


def _watch_redis(files: SecretFiles, settings: Settings, password: Secret) -> None:
    url = settings.redis_url.get_secret_value()

    def take(text: str) -> None:
        renewed = parse(text, ca=settings.redis_ca)
        if _place_of(renewed) != _place_of(parse(url, ca=settings.redis_ca)):
            raise ConfigurationError(_RESTART.format("Redis"))
        if renewed.login.password:
            password.replace(renewed.login.password)

    files.watch("redis_url", url, take)
    files.watch("redis_password", settings.redis_password.get_secret_value(), password.replace)


def _renew_key(service: ConnectionString, renewed: asyncio.Event, text: str) -> None:
    if not service.renew(ConnectionString.parse(text)):
        raise ConfigurationError(_RESTART.format("service"))
    renewed.set()


def _renew_api_key(api_key: Secret, text: str) -> None:
    # Judged as at the start: a key that is too short, or has quotes around it, is not put in force.
    api_key.replace(load({variable_of("api_key"): text}).api_key.get_secret_value())


def _place_of(address: RedisAddress) -> RedisAddress:
    return replace(address, login=Login(address.login.username))
