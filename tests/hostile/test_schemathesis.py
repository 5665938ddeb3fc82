"""The real ingress keeps to its own OpenAPI document, whatever schemathesis makes of it.

Rules guarded: no 5xx, no status and no content type that is not documented, bodies and headers as described, what the
schemas forbid is refused, methods and missing keys too. One check is left out: that whatever the schemas allow is
accepted, because a schema cannot say that a message needs a destination it may have.

TEST_EXAMPLES=2000 and TEST_SEED=7 ask for more than the fixed run of CI.
"""

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.hostile.ingress import KEY, Victim, ingress

_EXAMPLES = os.environ.get("TEST_EXAMPLES", "50")
_SEED = os.environ.get("TEST_SEED", "1")
_WITHIN = 200 if _EXAMPLES == "50" else 24 * 3600
# Two look for a life cycle of resources that this API has none of; the third is explained above.
# The compatible routes ask for a token that is signed for the URL of each call, which no generated request has. The
# transport of the SDK is refused whatever the method. Questions about a hub are for the service, and here is none.
_OWN = ("--exclude-path-regex", r"^/(api|server)/|/admin/hubs/\{hub\}/(connections|exists)$")
_WITHOUT = "use_after_free,ensure_resource_availability,positive_data_acceptance"


async def schemathesis(victim: Victim, directory: Path, document: str, *options: str) -> tuple[int, str]:
    """Run it against `victim` and give its exit code and what it wrote."""
    arguments = ["run", document, "--url", victim.url, "--seed", _SEED, "--checks", "all", "--exclude-checks", _WITHOUT]
    arguments += ["--request-timeout", "20", "-H", f"X-API-Key: {KEY}", "--continue-on-failure", *options]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *arguments,
        cwd=directory, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        out, _ = await asyncio.wait_for(process.communicate(), _WITHIN)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(errors="replace")


@pytest.mark.timeout(_WITHIN + 60)
async def test_no_generated_request_breaks_the_word_of_the_document(redis_url: str, tmp_path: Path) -> None:
    """Neither examples, nor values at the edges, nor random ones, valid and not, nor sequences of calls."""
    async with ingress(tmp_path / "ingress", redis_url) as victim:
        code, out = await schemathesis(
            victim, tmp_path, f"{victim.url}/openapi.json", "--max-examples", _EXAMPLES, *_OWN
        )
        assert code == 0, out
        assert victim.program.process.returncode is None
        assert victim.troubles == []
    cases = re.search(r"(\d+) generated", out)
    assert cases is not None, out
    assert int(cases[1]) > 1000, out
    assert re.search(r"Selected: (\d+)/\d+\n\s+Tested: \1\n", out), out


async def test_a_status_that_is_not_documented_is_found(redis_url: str, tmp_path: Path) -> None:
    """The check itself is checked: with the 400 struck from the document the same run fails."""
    async with ingress(tmp_path / "ingress", redis_url) as victim:
        async with httpx.AsyncClient(trust_env=False) as client:
            document: dict[str, Any] = (
                await client.get(f"{victim.url}/openapi.json", headers={"X-API-Key": KEY})
            ).json()
        del document["paths"]["/v1/hubs/{hub}/messages"]["post"]["responses"]["400"]
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        code, out = await schemathesis(victim, tmp_path, "openapi.json", "--phases", "coverage", *_OWN)
    assert code == 1, out
    assert re.search(r"[Uu]ndocumented.* status", out), out
