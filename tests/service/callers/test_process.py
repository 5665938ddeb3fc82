"""One ingress as it is run, that knows nobody but the callers of an issuer and those of `fanout keys`."""

from pathlib import Path

import httpx
import pytest

from fanout.clock import SystemClock
from fanout.queue.api_keys import ApiKeys
from fanout.redis.open import open_redis
from service.callers.caller import ApiKey, digest_of, secret_of
from tests.service.apps import BATCH, ITEM
from tests.service.callers.issuing import AUDIENCE, an_issuer
from tests.service.programs import forked_program, service_at


@pytest.mark.process
async def test_callers_with_tokens_and_keys_are_known_limited_counted_and_noted(redis_url: str, tmp_path: Path) -> None:
    clock, secret = SystemClock(), secret_of("0123456789ab", "random")
    redis_client = open_redis(redis_url, clock)
    async with an_issuer() as issuer:
        settings = {
            "FANOUT_REDIS_URL": redis_url, "FANOUT_PORT": "0", "AzureSignalRConnectionString": service_at(9),
            "FANOUT_AUTH": "key", "FANOUT_API_KEYS": "redis", "FANOUT_JWT_ISSUERS": issuer.url,
            "FANOUT_JWT_AUDIENCE": AUDIENCE, "FANOUT_JWT_ROLES": "Writer=send:chat rate:2/h",
            "FANOUT_METRICS_CALLERS": "jwt:orders-app",
        }  # fmt: skip
        writer = {"Authorization": f"Bearer {issuer.token(clock.wall(), roles=['Writer'])}"}
        async with forked_program(tmp_path, "serve", "--role", "ingress", **settings) as fanout:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{await fanout.port()}") as client:

                async def sent() -> int:
                    return (await client.post(BATCH, json=ITEM, headers=writer)).status_code

                async def reads() -> bool:
                    found = await client.get("/metrics", headers={"X-API-Key": secret})
                    return 'fanout_caller_limited_total{caller="jwt:orders-app"} 1.0' in found.text

                assert [await sent() for _ in range(3)] == [202, 202, 429]
                assert (await client.get("/v1/admin/pauses", headers=writer)).status_code == 403
                digest = digest_of(secret.encode()).hex()
                key = ApiKey("0123456789ab", "prometheus", digest, ("read",), ("*",), clock.wall())
                await ApiKeys(redis_client).put(key.id, key.text)
                await fanout.until(reads)
            [accepted, _] = fanout.lines_of("ingress.accepted")
            assert accepted["caller"] == "jwt:orders-app"
            [refused, *_] = [line for line in fanout.lines_of("audit.refused") if line["code"] == "forbidden"]
            assert "jwt:orders-app" in refused["detail"]
            assert [line["name"] for line in fanout.lines_of("audit.key_added")] == ["prometheus"]
            assert writer["Authorization"].split()[1] not in fanout.err
            assert secret not in fanout.err
    await redis_client.aclose()
