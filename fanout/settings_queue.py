"""The settings of Redis and of the queue in it: how to reach it, what a 202 waits for, and the bounds of what is kept.

Rules guarded: as in `fanout.settings`, of which these are a part.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, field_validator

from fanout.queue.keys import DEFAULT_NAMESPACE, check_namespace
from fanout.units import Duration, Size, Unit


class QueueSettings(BaseModel):
    """Redis and the queue in it."""

    redis_url: SecretStr = Field(
        SecretStr("redis://localhost:6379/0"),
        description="Redis 7.0 or newer, or Valkey: `redis://`, `rediss://` (TLS), `unix://`, a Cluster with "
        "`?cluster=true`, or Sentinel with `redis+sentinel://host:port,host:port/service`. Credentials go in front of "
        "the host, as `user:password@`, percent-encoded.",
    )
    redis_password: SecretStr = Field(
        SecretStr(""),
        description="Password of Redis, as it is and not percent-encoded, where FANOUT_REDIS_URL has none.",
    )
    redis_auth: Literal["password", "entra"] = Field(
        "password",
        description="How to log in to Redis: `password`, where there is one, or `entra`, with a token of Microsoft "
        "Entra ID as the password (Azure Managed Redis). The user is that of FANOUT_REDIS_URL, or else the object id "
        "of the identity, which is that of the service where it has one. Needs the extra `entra`.",
    )
    redis_ca: str = Field(
        "",
        description="File with certificate authorities to trust for `rediss://`, in addition to those of the system.",
    )
    redis_timeout: Duration = Field(
        2.0,
        ge=0.1,
        le=60,
        description="How long a request to Redis may make no progress before Redis counts as silent. A large one on a "
        "slow link makes progress.",
    )
    namespace: str = Field(
        DEFAULT_NAMESPACE,
        description="Prefix of every key in Redis. Services that share a Redis need a namespace each.",
    )
    durability: Literal["configured", "replicas", "aof"] = Field(
        "configured",
        description="What a 202 waits for: `configured` (the primary, with the persistence that Redis is configured "
        "with), `replicas` (acknowledged by replicas, WAIT), or `aof` (on the disk of the primary and of replicas, "
        "WAITAOF; Redis 7.2 or newer, or Valkey).",
    )
    durability_replicas: Annotated[int, Unit("replicas")] = Field(
        1,
        ge=0,
        le=16,
        description="Number of replicas that must acknowledge. With `aof`, 0 waits for the disk of the primary only.",
    )
    durability_timeout: Duration = Field(
        2.0,
        gt=0,
        le=60,
        description="How long a request waits for these acknowledgements before it is answered 503 with "
        "`notConfirmed`: stored, but not confirmed.",
    )
    partitions: Annotated[int, Unit("partitions")] = Field(
        16,
        ge=1,
        le=1024,
        description="Number of parts the queue is divided into, and the largest number of workers that can share "
        "it. Fixed when a Redis is used for the first time.",
    )
    max_bytes: Size = Field(
        0,
        ge=0,
        description="Maximum size of what waits in all partitions together. At this size the ingress answers 503 until "
        "workers have caught up. 0 takes 60 % of the `maxmemory` of Redis, or 1 GiB where it has none.",
    )
    max_dead_bytes: Size = Field(
        0,
        ge=0,
        description="Maximum size of all dead letters together. Beyond it the oldest are deleted and counted. They do "
        "not count as waiting. 0 takes 20 % of the `maxmemory` of Redis, or 256 MiB where it has none.",
    )
    max_dead_age: Duration = Field(
        2_592_000.0,
        ge=0,
        description="How long a dead letter is kept, by the clock of Redis. Older ones are deleted by the worker that "
        "owns their partition, and counted. 0 keeps them until FANOUT_MAX_DEAD_BYTES is reached.",
    )
    dedup_window: Duration = Field(
        600.0, gt=0, description="How long a `messageId` or `Idempotency-Key` is remembered to recognise repeats."
    )

    @field_validator("namespace")
    @classmethod
    def _namespace_is_valid(cls, text: str) -> str:
        return check_namespace(text)
