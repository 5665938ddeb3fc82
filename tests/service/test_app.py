"""Which routes there are for which role, and what the application answers where there is none."""

import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from service.app import Role
from tests.service.apps import BATCH, ITEM, KEY, an_app, client_of
from tests.service.memory_queue import MemoryQueue

pytestmark = pytest.mark.lengthy


@pytest.mark.parametrize(("role", "served"), [("all", True), ("ingress", True), ("worker", False)])
async def test_a_worker_serves_probes_and_nothing_to_send_to(role: Role, *, served: bool) -> None:
    async with client_of(an_app(role=role, negotiate_anonymous=True)) as client:
        sent = await client.post(BATCH, json=ITEM)
        negotiated = await client.post("/chat/negotiate")
        probes = [(await client.get(path)).status_code for path in ("/livez", "/readyz", "/metrics")]
        paths = (await client.get("/openapi.json")).json()["paths"]
    assert (sent.status_code, negotiated.status_code) == ((202, 200) if served else (404, 404))
    assert probes == [200, 200, 200]
    assert ("/v1/hubs/{hub}/messages" in paths) is served


@pytest.mark.parametrize("path", ["/nothing", f"{BATCH}/", "/v1/hubs//messages", "/"])
async def test_an_unknown_address_is_a_404_problem(path: str) -> None:
    async with client_of(an_app()) as client:
        answer = await client.post(path, json=ITEM)
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/notFound")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_method_that_is_not_taken_is_a_405_problem() -> None:
    async with client_of(an_app()) as client:
        answer = await client.get(BATCH)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert answer.json()["code"] == "methodNotAllowed"


async def test_the_page_is_at_the_root_and_its_files_beside_it(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("<title>here</title>")
    (tmp_path / "app.js").write_text("export {};")
    async with client_of(an_app(page=tmp_path, negotiate_anonymous=True)) as client:
        index = await client.get("/")
        script = await client.get("/page/app.js")
        missing = await client.get("/page/none.js")
        hub = await client.post("/page/negotiate")
    assert (index.status_code, index.text) == (200, "<title>here</title>")
    assert script.headers["content-type"].startswith("text/javascript")
    assert (missing.status_code, missing.json()["code"]) == (404, "notFound")
    assert hub.status_code == 200


async def test_who_looks_for_administration_on_the_port_of_callers_is_told_where_it_is() -> None:
    async with client_of(an_app(api_key=KEY, admin_port=9999)) as client:
        missing = (await client.get("/v1/admin/pauses")).json()
    assert (missing["code"], "on the port of FANOUT_ADMIN_PORT" in missing["detail"]) == ("notFound", True)


async def test_the_console_is_a_page_without_data_that_loads_only_its_own_files() -> None:
    async with client_of(an_app(api_key=KEY)) as client:
        page = await client.get("/console")
        for name in re.findall(r'(?:src|href)="(console/[^"]+)"', page.text):
            assert (await client.get(f"/{name}")).status_code == 200, name
        script = (await client.get("/console/app.js")).text
        for name in re.findall(r'from "\./([^"]+)"', script):
            assert (await client.get(f"/console/{name}")).headers["content-type"].startswith("text/javascript"), name
        assert (await client.get("/console/route.py")).status_code == 404
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self';" in policy
    assert "frame-ancestors 'none'; require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert page.headers["cache-control"] == "no-store"


async def test_the_type_of_a_problem_leads_to_its_explanation() -> None:
    async with client_of(an_app()) as client:
        problem = (await client.post(BATCH, json={})).json()
        own = await client.get(problem["type"])
        items = await client.get(f"/problems/{problem['errors'][0]['code']}")
        unknown = await client.get("/problems/none")
    assert "handling=lenient" in own.text
    assert items.status_code == 200
    assert unknown.status_code == 404


async def test_the_docs_page_and_every_file_it_names_are_served() -> None:
    async with client_of(an_app()) as client:
        page = (await client.get("/docs")).text
        names = re.findall(r'(?:src|href)="([^"]+)"', page)
        answers = {name: await client.get(f"/{name}") for name in [*names, "openapi.json"]}
        missing = await client.get("/docs/__init__.py")
    assert len(names) == 4
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 200)
    assert missing.status_code == 404


async def test_an_unexpected_error_is_a_500_without_internals_and_logged_with_its_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Broken(MemoryQueue):
        async def _answer(self) -> None:
            raise RuntimeError(f"the secret is {KEY}")

    async with client_of(an_app(Broken())) as client:
        answer = await client.post(BATCH, json=ITEM, headers={"X-Request-Id": "req-7"})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert KEY not in answer.text
    assert answer.json()["requestId"] == answer.headers["X-Request-Id"] == "req-7"
    logged = "".join(capsys.readouterr())
    assert logged.count("request.failed") == 1
    assert "req-7" in logged


PRIVATE = ("/metrics", "/backlog", "/docs", "/docs/swagger-ui.css", "/openapi.json", "/v1/admin/messages/m/trace")


@pytest.mark.parametrize("path", PRIVATE)
async def test_on_the_one_port_metrics_docs_and_admin_ask_for_the_key_and_probes_do_not(path: str) -> None:
    async with client_of(an_app(api_key=KEY), peer="192.0.2.7") as client:
        refused = await client.get(path)
        wrong = await client.get(path, headers={"X-API-Key": "another-key-of-some-length"})
        admitted = await client.get(path, headers={"X-API-Key": KEY})
        probes = [await client.get(probe) for probe in ("/livez", "/readyz", "/problems/internal")]
    assert [(each.status_code, each.json()["code"]) for each in (refused, wrong)] == [
        (401, "unauthorized"),
        (401, "wrongKey"),
    ]
    assert admitted.status_code != 401
    assert [probe.status_code for probe in probes] == [200] * 3


async def test_with_a_port_for_administration_the_other_has_none_of_it() -> None:
    app = an_app(api_key=KEY, admin_port=9999)
    main, admin = app.build()
    assert admin is not None
    async with asking(main) as callers, asking(admin) as operators:
        main_statuses = {path: (await callers.get(path)).status_code for path in (*PRIVATE, "/livez", "/readyz")}
        admin_statuses = {path: (await operators.get(path)).status_code for path in (*PRIVATE, "/livez", "/readyz")}
        consoles = [(await each.get("/console")).status_code for each in (callers, operators)]
        sent = await operators.post(BATCH, json=ITEM, headers={"X-API-Key": KEY})
        described = (await operators.get("/openapi.json")).json()["paths"]
    assert main_statuses == {**dict.fromkeys(PRIVATE, 404), "/livez": 200, "/readyz": 200}
    expected = {**dict.fromkeys(PRIVATE, 200), "/livez": 200, "/readyz": 200, "/v1/admin/messages/m/trace": 401}
    assert admin_statuses == expected
    assert consoles == [404, 200]
    assert sent.status_code == 404
    assert {"/v1/hubs/{hub}/messages", "/{hub}/negotiate", "/metrics", "/v1/admin/dead-letters"} <= described.keys()


async def test_the_port_of_a_worker_asks_for_no_key() -> None:
    async with client_of(an_app(role="worker", api_key=KEY), peer="192.0.2.7") as client:
        assert [(await client.get(path)).status_code for path in ("/metrics", "/docs", "/livez")] == [200] * 3


async def test_addresses_under_the_prefix_are_those_without_it() -> None:
    async with client_of(an_app(path_prefix="/signalr/")) as client:
        sent = [await client.post(f"{prefix}{BATCH}", json=ITEM) for prefix in ("", "/signalr")]
        negotiated = await client.post("/signalr/chat/negotiate")
        probe = await client.get("/signalr/livez")
        problem = await client.get("/signalr/none")
        explained = await client.get(problem.json()["type"])
        other = await client.get("/signalrx/livez")
        document = (await client.get("/signalr/openapi.json")).json()
    assert [answer.status_code for answer in (*sent, negotiated, probe)] == [202, 202, 200, 200]
    assert problem.json()["type"] == "/signalr/problems/notFound"
    assert explained.status_code == 200
    assert other.status_code == 404
    assert document["servers"] == [{"url": "/signalr"}]


async def test_an_ingress_without_a_connection_string_is_not_ready_and_says_why() -> None:
    async with client_of(an_app(service=None)) as client:
        answer = await client.get("/readyz")
        sent = await client.post(BATCH, json=ITEM)
    assert answer.status_code == 503
    assert "AzureSignalRConnectionString is not set" in answer.json()["reasons"][0]
    assert sent.status_code == 202


def asking(app: FastAPI) -> httpx.AsyncClient:
    """A client of an application, from another machine."""
    transport = httpx.ASGITransport(app=app, client=("192.0.2.7", 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8080")
