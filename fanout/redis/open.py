"""Opens a client from a URL: picks the client for the topology and makes redis-py's unconnected connections for it.

Rules guarded: no connection retries on its own (see client.py). One TLS context serves all connections, and a
certificate file that cannot be read refuses the start instead of failing each connection.
"""

from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    RedisSSLContext,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from fanout.clock import Clock
from fanout.errors import ConfigurationError
from fanout.redis.address import Login, Node, RedisAddress, Tls, parse
from fanout.redis.client import RedisClient
from fanout.redis.cluster import ClusterClient
from fanout.redis.login import LoginProvider, Logins
from fanout.redis.sentinel import Sentinels
from fanout.redis.server import ServerClient
from fanout.secret import Secret

Find = Callable[[], Awaitable[Node]]


def open_redis(
    url: str,
    clock: Clock,
    *,
    ca: str = "",
    password: Secret | None = None,
    logins: Logins | None = None,
    time_limit: float = 2.0,
) -> RedisClient:
    """Return the client of `url`, not yet connected. Raise ConfigurationError when the URL cannot be used.

    `ca` is a file of certificate authorities to trust besides those of the machine, and `password` that of the
    servers, where the URL names none; else it becomes that of the URL. It may be replaced: each new connection logs in
    with what it is then. With `logins` connections log in as these say. `time_limit` is for how many seconds connecting
    or a call may make no progress.
    """
    password = password or Secret()
    address = parse(url, ca=ca, password=password.value)
    password.replace(address.login.password)
    return _Opener(address, ConnectionFactory(address, password, logins), clock, time_limit).open()


class _Opener:
    """Makes the client for the topology of an address, and of its servers those that a Cluster turns out to have."""

    def __init__(self, address: RedisAddress, factory: "ConnectionFactory", clock: Clock, time_limit: float) -> None:
        self._address = address
        self._factory = factory
        self._clock = clock
        self._time_limit = time_limit

    def open(self) -> RedisClient:
        """Return the client, not yet connected."""
        address, factory = self._address, self._factory
        match address.deployment:
            case "cluster":
                return ClusterClient(self._open_node, address.nodes, self._clock)
            case "sentinel":
                sentinels = Sentinels(factory.sentinel, address.nodes, address.service, self._clock)
                return self._open_server(lambda: factory.master(sentinels.master))
            case "single":
                return self._open_server(factory.socket) if address.path else self._open_node(address.nodes[0])

    def _open_node(self, node: Node) -> ServerClient:
        return self._open_server(lambda: self._factory.server(node))

    def _open_server(self, make: Callable[[], AbstractConnection]) -> ServerClient:
        client = ServerClient(make, self._clock, time_limit=self._time_limit)
        self._factory.clients.add(client)
        return client


class ConnectionFactory:
    """Builds unconnected connections to the servers of one address. `clients` log in again with each new login."""

    def __init__(self, address: RedisAddress, password: Secret, logins: Logins | None = None) -> None:
        self._address = address
        self._password = password
        self._provider = None if logins is None else LoginProvider(logins)
        self.clients: WeakSet[ServerClient] = WeakSet()
        if logins is not None:
            logins.when_renewed(self._log_in)
        self._context = None if address.tls is None else _context(address.tls)

    def __repr__(self) -> str:
        return f"<ConnectionFactory of {self._address}>"

    def server(self, node: Node) -> AbstractConnection:
        """Build a connection to one server."""
        return self._build(Connection, _SecureConnection, self._proof, host=node.host, port=node.port, db=self._db)

    def socket(self) -> AbstractConnection:
        """Build a connection to the unix socket."""
        return UnixDomainSocketConnection(path=self._address.path, db=self._db, **self._proof, **_options())

    def sentinel(self, node: Node) -> AbstractConnection:
        """Build a connection to a Sentinel."""
        return self._build(
            Connection, _SecureConnection, _login(self._address.sentinel_login), host=node.host, port=node.port
        )

    def master(self, find: Find) -> AbstractConnection:
        """Build a connection that asks `find` for the master whenever it connects."""
        return self._build(_MasterConnection, _SecureMasterConnection, self._proof, find=find, db=self._db)

    @property
    def _proof(self) -> dict[str, Any]:
        if self._provider is not None:
            return {"credential_provider": self._provider}
        return _login(Login(self._address.login.username, self._password.value))

    def _log_in(self, login: Login) -> None:
        for client in tuple(self.clients):
            client.log_in(login)

    @property
    def _db(self) -> int:
        return self._address.db

    def _build(
        self, plain: type[Connection], secured: type["_SecureConnection"], proof: dict[str, Any], **where: Any
    ) -> Connection:
        arguments = {**where, **proof, **_options()}
        return plain(**arguments) if self._context is None else secured(context=self._context, **arguments)


class _SecureConnection(SSLConnection):
    """A connection over TLS with an existing context."""

    def __init__(self, *, context: RedisSSLContext, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.ssl_context = context


class _MasterConnection(Connection):
    """A connection to the current master, never to one that was replaced."""

    def __init__(self, *, find: Find, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._find = find

    async def connect(self) -> None:
        node = await self._find()
        self.host, self.port = node.host, node.port
        await super().connect()  # type: ignore[no-untyped-call] # redis-py has no annotation here
        await self.send_command("ROLE")
        try:
            role = (await self.read_response())[0]
        except ResponseError:
            return  # not permitted to ask: rely on the Sentinel
        if role != b"master":
            await self.disconnect(nowait=True)
            raise RedisConnectionError(f"{node} is not the master any more, or not yet")


class _SecureMasterConnection(_MasterConnection, _SecureConnection):
    """The same over TLS."""


def _context(tls: Tls) -> RedisSSLContext:
    context = RedisSSLContext(
        keyfile=tls.key or None,
        certfile=tls.certificate or None,
        cert_reqs="required" if tls.verify else "none",
        ca_certs=tls.ca or None,
        check_hostname=tls.check_hostname,
    )
    try:
        context.get()
    except OSError as error:  # ssl.SSLError is one too
        files = ", ".join(filter(None, (tls.ca, tls.certificate, tls.key)))
        raise ConfigurationError(
            f"The TLS files that FANOUT_REDIS_URL or FANOUT_REDIS_CA name ({files}) cannot be used: {error}"
        ) from None
    return context


def _login(login: Login) -> dict[str, Any]:
    return {"username": login.username or None, "password": login.password or None}


def _options() -> dict[str, Any]:
    # A Retry is not shared: each connection registers errors of its own with it.
    return {"protocol": 2, "socket_timeout": None, "socket_connect_timeout": None, "retry": Retry(NoBackoff(), 0)}
