"""The house as drawn: which floor knows which, and which room holds which key (see README, "The house")."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ("fanout", "workers", "service")  # lowest first: a floor imports only from those before it and itself
CLIENT = "signalr_fanout"  # a distribution of its own; the product and it know each other by HTTP alone
PACKAGES = {**dict.fromkeys((*FLOORS, "emulator"), ROOT), CLIENT: ROOT / "client"}

# One door, one key: who may import what. A name ending in a dot means everything below it.
KEYS = {
    "redis": ("fanout.redis.",),
    "httptools": ("fanout.http1.", "emulator."),
    "httpx": (
        "service.callers.issuer",
        "service.cli.",
        "service.compat.questions",
        "service.doctor.",
        "signalr_fanout.",
    ),
    "jwt": ("fanout.signalr.credentials", "service.callers.jwks"),
    "fastapi": ("service.", "emulator."),
    "starlette": ("service.", "emulator."),
    "uvicorn": ("fanout.serving", "emulator."),
    "click": ("service.cli.",),
    "time": ("fanout.clock", "signalr_fanout.client"),
    "random": ("service.compose", "emulator.", "signalr_fanout.calls"),
    "secrets": ("service.", "emulator."),
    "subprocess": (),
    "opentelemetry": ("fanout.spans",),
    "azure": ("service.identity_tokens",),
    # A farewell that blocks, a file whose volume hangs, a request for a token.
    "threading": ("fanout.spans", "service.aside"),
}
# What a room may know of the ground floor, besides itself: a room that is not listed may know all of it.
ROOMS = {
    "fanout.http1.": ("fanout.clock", "fanout.errors"),
    "fanout.redis.": ("fanout.clock", "fanout.errors", "fanout.log", "fanout.secret"),
    "fanout.signalr.": (
        "fanout.clock",
        "fanout.errors",
        "fanout.http1.",
        "fanout.instruments",
        "fanout.renewal",
        "fanout.secret",
    ),
    "fanout.binding.": ("fanout.errors", "fanout.signalr.message", "fanout.signalr.routes"),
}
PURE = (
    "service.http.request",
    "service.http.chunks",
    "workers.lane",
    "workers.schedule",
    "workers.coalescer",
    "workers.pace",
    "workers.limit",
    "workers.doubt",
    "workers.breaker",
    "workers.refusals",
    "workers.gate",
    "workers.verdicts",
    "workers.partition",
    "fanout.signalr.message",
    "fanout.signalr.outcome",
    "fanout.signalr.routes",
    "fanout.binding.names",
    "fanout.binding.batch",
    "fanout.binding.json_text",
    "fanout.binding.suggestions",
    "service.ingress.outcome",
    "service.ingress.route",
    "service.http.addresses",
    "fanout.http1.exchange",
    "fanout.http1.proxy",
    "fanout.http1.messages",
    "fanout.http1.chunks",
    "fanout.redis.address",
    "fanout.redis.durability",
    "fanout.redis.slots",
    "fanout.queue.keys",
    "fanout.queue.entry",
    "fanout.loopback",
    "fanout.identity_settings",
)
# What can be called without HTTP, so that another source than the HTTP route can use it.
HTTP_FREE = ("service.ingress.intake", "service.ingress.outcome", "fanout.binding.batch")
IMPURE = {"asyncio", "redis", "httpx", "time", "random", "os", "socket", "uvicorn"}
MOST_LINES = 400


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in PACKAGES.items():
        for path in (folder / package).rglob("*.py"):
            name = ".".join(path.relative_to(folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements in a node at any depth, without looking into the expressions, of which there are most."""
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, ()):
            yield child
            yield from statements(child)


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in statements(parsed(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute here"
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


MODULES = modules()


@cache
def imported() -> Mapping[str, set[str]]:
    """Return what each module imports; read when the first test asks, because every test process collects this file."""
    return {name: imports(path) for name, path in MODULES.items()}


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name in MODULES}


def may(module: str, holders: tuple[str, ...]) -> bool:
    return any(module == holder or (holder.endswith(".") and module.startswith(holder)) for holder in holders)


def test_floors_import_downwards_only() -> None:
    for module, names in imported().items():
        floor = module.split(".", maxsplit=1)[0]
        if floor not in FLOORS:
            continue
        above = FLOORS[FLOORS.index(floor) + 1 :]
        assert not [name for name in names if name.split(".")[0] in above], module


def test_the_product_and_its_client_do_not_import_each_other() -> None:
    for module, names in imported().items():
        packages = {name.split(".")[0] for name in ours(names)}
        assert packages <= {CLIENT} if module.startswith(CLIENT) else CLIENT not in packages, module


def test_there_are_no_cycles() -> None:
    left = {module: ours(names) - {module} for module, names in imported().items()}
    while left:
        free = {module for module, names in left.items() if not names & left.keys()}
        assert free, f"cycle among {sorted(left)}"
        left = {module: names for module, names in left.items() if module not in free}


def test_only_the_assembly_knows_the_workers() -> None:
    knowing = {module for module, names in imported().items() if any(name.split(".")[0] == "workers" for name in names)}
    assert {module for module in knowing if not module.startswith("workers")} == {"service.compose"}


def test_only_the_command_line_and_dev_know_the_emulator() -> None:
    knowing = {
        module for module, names in imported().items() if any(name.split(".")[0] == "emulator" for name in names)
    }
    assert {module for module in knowing if not module.startswith("emulator")} == {
        "service.cli.dev",
        "service.cli.emulate",
        "service.dev.run",
    }


def test_the_emulator_knows_the_protocol_and_nothing_of_the_queue() -> None:
    allowed = (
        "fanout.signalr",
        "fanout.http1",
        "fanout.clock",
        "fanout.errors",
        "fanout.loopback",
        "fanout.serving",
    )
    for module, names in imported().items():
        if module.startswith("emulator"):
            assert all(name.startswith(allowed) for name in ours(names) if name.startswith("fanout.")), module


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_a_room_knows_only_its_neighbours(room: str) -> None:
    known = (room, room.removesuffix("."), *ROOMS[room])
    for module, names in imported().items():
        if module.startswith(room):
            below = {name for name in ours(names) if name.startswith("fanout.")}
            assert not [name for name in below if not name.startswith(known)], module


@pytest.mark.parametrize("library", sorted(KEYS))
def test_each_door_has_one_key(library: str) -> None:
    users = {module for module, names in imported().items() if any(name.split(".")[0] == library for name in names)}
    assert {module for module in users if not may(module, KEYS[library])} == set()


@pytest.mark.parametrize("module", HTTP_FREE)
def test_what_another_source_may_call_knows_no_http(module: str) -> None:
    known, left = set(), {module}
    while left:
        name = left.pop()
        known.add(name)
        left |= ours(imported()[name]) - known
    libraries = {library.split(".")[0] for name in known for library in imported()[name]}
    assert not libraries & {"starlette", "fastapi", "uvicorn", "httptools", "httpx"}
    assert not [name for name in known if name.startswith("service.http")]


@pytest.mark.parametrize("module", PURE)
def test_pure_modules_stay_pure(module: str) -> None:
    assert not {name.split(".")[0] for name in imported()[module]} & IMPURE


def test_the_environment_is_read_in_one_place() -> None:
    readers = {module for module, path in MODULES.items() if "os.environ" in path.read_text()}
    assert readers == {"fanout.environment", "signalr_fanout.client"}


def test_no_bare_tasks() -> None:
    for module, path in MODULES.items():
        text = path.read_text()
        assert "asyncio.create_task(" not in text, module
        assert "ensure_future(" not in text, module


def test_every_module_says_why_it_exists() -> None:
    for module, path in MODULES.items():
        head = ast.get_docstring(parsed(path))
        assert head, f"{module} has no head"
        if path.name != "__init__.py":
            assert len(head.splitlines()) >= 2, (
                f"{module}: the head does not say why the file exists and what it guards"
            )


def test_no_file_grows_past_its_bound() -> None:
    long = {
        module: count for module, path in MODULES.items() if (count := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}
