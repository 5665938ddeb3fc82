"""The examples of docs/client.md and client/README.md run, and the four forms of a case make the same calls.

The functions are called as the host calls them, with the types of azure-functions. What the output binding would be
given is POSTed to the service, which accepts what the binding accepts. For the drop-in it becomes the calls that the
vendor's extension makes of it (tests/recorded/functions.jsonl), signed with the access key.
"""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jwt
import pytest

from emulator.config import WELL_KNOWN_KEY
from tests.client.conftest import KEY, Service

func = pytest.importorskip("azure.functions", reason="azure-functions supports no Python from 3.13 on")

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "client.md").read_text()
CASES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))
SENDS = [name for name in CASES if name != "Negotiate"]
BODY = {"text": "hello"}
Call = tuple[str, str, str]


class Out:
    """What the host gives a function to set its output in."""

    def __init__(self) -> None:
        self.value = ""

    def set(self, value: str) -> None:
        self.value = value


@contextmanager
def environment(service: Service) -> Iterator[dict[str, str]]:
    """Set what the examples read from the application settings, and return the whole environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FANOUT_URL", service.url)
        patch.setenv("FANOUT_API_KEY", KEY)
        yield dict(os.environ)


def function_in(code: str) -> Any:
    """Execute an example and return its one function, and the bindings it declares."""
    scope: dict[str, Any] = {"__name__": "function_app"}
    exec(compile(code, "docs/client.md", "exec"), scope)
    (built,) = scope["app"].get_functions()
    client = scope.get("fanout")
    return built, (client.close if client is not None else lambda: None)


def request(headers: dict[str, str] | None = None) -> Any:
    return func.HttpRequest("POST", "/api/example", headers=headers or {}, body=json.dumps(BODY).encode())


def calls_of(service: Service, before: int, count: int) -> set[Call]:
    """Return the calls after the first `before`, with their bodies in one form."""
    entries = service.calls("chat", before + count)[before:]
    assert len(entries) == count
    # The extension writes Target and Arguments, and what arrives is delivered as it came.
    bodies = [json.loads(entry["body"] or "{}") for entry in entries]
    return {
        (
            entry["method"],
            entry["path"],
            json.dumps({name.lower(): value for name, value in body.items()}, sort_keys=True),
        )
        for entry, body in zip(entries, bodies, strict=True)
    }


@pytest.mark.parametrize("case", SENDS)
def test_binding_client_and_plain_http_make_the_same_calls(service: Service, case: str) -> None:
    (binding, client), (curl,) = (
        re.findall(rf"```{kind}\n(.*?)```", CASES[case], re.DOTALL) for kind in ("python", "sh")
    )
    count = 2 if case.startswith("Add and remove") else 1
    made: list[set[Call]] = []
    with environment(service) as variables:
        for send in (
            lambda: _by_binding(service, binding),
            lambda: _by_drop_in(service, binding),
            lambda: _by_client(client),
            lambda: subprocess.run(["bash", "-ec", curl], env=variables, check=True, capture_output=True),
        ):
            before = len(service.calls("chat", 0))
            send()
            made.append(calls_of(service, before, count))
    assert made[0] == made[1] == made[2] == made[3]
    assert "ServerEndpoint=https://<fanout>;" in CASES[case]
    assert len(made[0]) == count


def _by_binding(service: Service, code: str) -> None:
    built, _close = function_in(code)
    out = Out()
    assert built.get_user_function()(request(), out).status_code == 204
    (binding,) = [each.get_dict_repr() for each in built.get_bindings() if each.type == "signalR"]
    url = f"{service.url}/v1/hubs/{binding['hubName']}/messages"
    answer = service.http.post(
        url, content=json.dumps(out.value), headers={"X-API-Key": KEY, "Content-Type": "application/json"}
    )
    assert answer.status_code == 202, answer.text


def _by_drop_in(service: Service, code: str) -> None:
    built, _close = function_in(code)
    out = Out()
    built.get_user_function()(request(), out)
    outputs = json.loads(out.value)
    for method, place, body in [_call_of(item) for item in (outputs if isinstance(outputs, list) else [outputs])]:
        path = f"/api/hubs/chat{place}"
        token = jwt.encode({"aud": f"{service.url}{path}", "exp": 4_000_000_000}, WELL_KNOWN_KEY, algorithm="HS256")
        answer = service.http.request(
            method,
            f"{service.url}{path}?api-version=2022-06-01",
            content=body,
            headers={"Authorization": f"Bearer {token}"} | ({"Content-Type": "application/json"} if body else {}),
        )
        assert answer.is_success, answer.text


def _call_of(item: dict[str, Any]) -> tuple[str, str, bytes]:
    """Return the call that the vendor's extension makes of an output."""
    user, group = item.get("userId"), item.get("groupName")
    if "action" in item:
        return ("PUT" if item["action"] == "add" else "DELETE"), f"/users/{user}/groups/{group}", b""
    where = f"/users/{user}" if user else f"/groups/{group}" if group else ""
    body = {"Target": item["target"], "Arguments": item["arguments"]}
    return "POST", f"{where}/:send", json.dumps(body).encode()


def _by_client(code: str) -> None:
    built, close = function_in(code)
    try:
        assert built.get_user_function()(request()).status_code == 204
    finally:
        close()


def test_negotiate_takes_the_user_from_the_principal_header(service: Service) -> None:
    (binding, client), (curl,) = (
        re.findall(rf"```{kind}\n(.*?)```", CASES["Negotiate"], re.DOTALL) for kind in ("python", "sh")
    )
    headers = {"x-ms-client-principal-id": "alice"}
    built, _close = function_in(binding)
    (declared,) = [each.get_dict_repr() for each in built.get_bindings() if each.type == "signalRConnectionInfo"]
    assert declared["userId"] == "{headers.x-ms-client-principal-id}"
    assert built.get_user_function()(request(headers), '{"url":"u"}').get_body() == b'{"url":"u"}'

    with environment(service) as variables:
        built, close = function_in(client)
        answer = built.get_user_function()(request(headers))
        refused = built.get_user_function()(request())
        close()
        printed = subprocess.run(["bash", "-ec", curl], env=variables, check=True, capture_output=True).stdout
    assert refused.status_code == 401
    for body in (answer.get_body(), printed):
        document = json.loads(body)
        assert document.keys() == {"url", "accessToken"}
        assert jwt.decode(document["accessToken"], options={"verify_signature": False})["asrs.s.uid"] == "alice"


def test_the_readmes_example_runs(service: Service) -> None:
    text = (ROOT / "client" / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    before = len(service.calls("chat", 0))
    code = code.replace('"https://fanout.example.com", api_key="..."', f'"{service.url}", api_key="{KEY}"')
    scope: dict[str, Any] = {}
    exec(compile(code, "client/README.md", "exec"), scope)
    scope["fanout"].close()
    paths = [call["path"].removeprefix("/api/hubs/chat") for call in service.calls("chat", before + 3)[before:]]
    assert sorted(paths) == ["/groups/red/:send", "/users/alice/:send", "/users/alice/groups/red"]
    assert paths.index("/users/alice/groups/red") < paths.index("/groups/red/:send")
