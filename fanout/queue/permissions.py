"""Which commands the account in Redis must be allowed, read from the scripts, and the check of them at start.

Rule guarded: an account that is allowed the documented commands can do everything. One that is not is refused at
start, with the names of what is missing, instead of accepting messages that are never delivered. The server itself is
asked, as the account in use (`redis.acl_check_cmd`, since Redis 7.0), and nothing is changed.
"""

import re
from collections.abc import Mapping, Sequence

from fanout.errors import QueueError
from fanout.queue import allowances, scripts, survey, worker_scripts
from fanout.queue.keys import Keys
from fanout.redis.client import Argument, RedisClient, Script
from fanout.redis.durability import Durability

_CALL = re.compile(r"redis\.p?call\('([A-Z]+)'(?:, '(STREAM)')?")
_DIRECT = frozenset(
    {"GET", "SET", "HDEL", "HGET", "HGETALL", "INFO", "LRANGE", "LTRIM", "PEXPIRE", "PING", "RPUSH"}
    | {"SELECT", "SMEMBERS", "TIME", "XADD", "XRANGE", "XREAD", "XREVRANGE"}
)
_MODULES = (scripts, worker_scripts, survey, allowances)
_SCRIPTED = frozenset({"EVAL", "EVALSHA"})  # what runs the check itself
# The arguments behind a command; the others take a key alone.
_KEYLESS: Mapping[str, tuple[str, ...]] = {
    "INFO": (),
    "PING": (),
    "SELECT": ("0",),  # where the URL names another database
    "TIME": (),
    "ASKING": (),
    "CLUSTER|SLOTS": (),
    "COMMAND|INFO": ("GET",),
}
_CONFIRMING: Mapping[str, tuple[str, ...]] = {"WAIT": ("0", "0"), "WAITAOF": ("0", "0", "0")}

# ARGV for each command: how many words it is, and these words. The key is one of the words and not among KEYS, so
# that an account without access to it gets an answer too.
# Returns the positions, from 1, of the commands that this account may not use.
_CHECK = Script("""#!lua flags=no-writes
local missing = {}
local at, position = 1, 1
while ARGV[at] do
  local words = {}
  for k = 1, tonumber(ARGV[at]) do words[k] = ARGV[at + k] end
  if not redis.acl_check_cmd(unpack(words)) then table.insert(missing, position) end
  at = at + ARGV[at] + 1
  position = position + 1
end
return missing
""")


def commands(*, cluster: bool = False, durability: Durability | None = None) -> list[str]:
    """Return every command that ingress and workers use, as an access list names it (`xinfo|stream` in capitals)."""
    found = [each for module in _MODULES for each in vars(module).values()]
    texts = [each.text for each in found if isinstance(each, Script)]
    called = {"|".join(filter(None, match)) for text in texts for match in _CALL.findall(text)}
    needed = called | _DIRECT | _SCRIPTED
    if cluster:
        needed |= {"ASKING", "CLUSTER|SLOTS"}
    if durability is not None:
        needed |= {"COMMAND|INFO", "WAITAOF" if durability.aof else "WAIT"}
    return sorted(needed)


async def missing_commands(redis_client: RedisClient, keys: Keys, durability: Durability | None = None) -> list[str]:
    """Return the commands that this account may not use on the keys of its namespace; nothing where it cannot be told.

    Raise QueueError when Redis does not answer, or does not allow scripts.
    """
    needed = [n for n in commands(cluster=redis_client.is_cluster, durability=durability) if n not in _SCRIPTED]
    arguments: list[Argument] = []
    for name in needed:
        words = (*name.split("|"), *_arguments(name, keys.partitions))
        arguments += [len(words), *words]
    try:
        positions = await redis_client.run(_CHECK, [], arguments)
    except QueueError as error:
        if "acl_check_cmd" in str(error):
            return []  # a server that speaks Redis's protocol and lacks this function
        raise
    return [needed[position - 1] for position in positions]


def _arguments(name: str, key: str) -> Sequence[str]:
    if name == "XREAD":
        return "STREAMS", key, "0"
    fixed = _KEYLESS.get(name, _CONFIRMING.get(name))
    return (key,) if fixed is None else fixed
