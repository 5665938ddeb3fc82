"""The image, as far as it can be judged without building it.

Rules guarded: two stages, a pinned base, nothing secret and nothing writable inside, a numbered user that is not root,
and a build context that holds what the Dockerfile copies and no more.
"""

import fnmatch
import io
import json
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "Dockerfile"


@pytest.fixture(scope="module")
def instructions() -> list[dict[str, Any]]:
    parser = DockerfileParser(fileobj=io.BytesIO(DOCKERFILE.read_bytes()))
    return [entry for entry in parser.structure if entry["instruction"] != "COMMENT"]


@pytest.fixture(scope="module")
def final(instructions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The instructions of the last stage: the ones that make the image."""
    last = max(place for place, entry in enumerate(instructions) if entry["instruction"] == "FROM")
    return instructions[last:]


def _base(instructions: list[dict[str, Any]]) -> str:
    """Return the base that both stages are made from unless a build names another one."""
    (base,) = (value for value in _values(instructions, "ARG") if value.startswith("BASE="))
    return base.removeprefix("BASE=")


def _values(entries: list[dict[str, Any]], name: str) -> list[str]:
    return [entry["value"] for entry in entries if entry["instruction"] == name]


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    command = [str(hadolint), "--failure-threshold", "style", str(DOCKERFILE)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "")


def test_hadolint_would_find_something() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    bad = "FROM python:latest\nRUN cd /tmp && apt-get install curl\n"
    result = subprocess.run([hadolint, "-"], input=bad, capture_output=True, text=True, check=False)
    assert result.returncode == 1


def test_the_image_is_made_in_two_stages_from_one_pinned_base(instructions: list[dict[str, Any]]) -> None:
    assert _values(instructions, "FROM") == ["${BASE} AS builder", "${BASE}"]
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-[a-z]+@sha256:[0-9a-f]{64}", _base(instructions))


def test_the_python_of_the_image_is_one_the_project_supports(instructions: list[dict[str, Any]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = tuple(int(part) for part in re.findall(r"\d+", _base(instructions))[:2])
    least = tuple(int(part) for part in re.findall(r"\d+", project["requires-python"])[:2])
    assert base >= least


def test_the_process_runs_as_a_numbered_user_that_is_not_root(final: list[dict[str, Any]]) -> None:
    values = yaml.safe_load((ROOT / "helm" / "values.yaml").read_text())["podSecurityContext"]
    assert _values(final, "USER") == [f"{values['runAsUser']}:{values['runAsGroup']}"]
    assert values["runAsUser"] >= 10_000


def test_nothing_runs_after_the_user_is_set(final: list[dict[str, Any]]) -> None:
    names = [entry["instruction"] for entry in final]
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :])


def test_the_last_stage_takes_the_environment_and_nothing_else(final: list[dict[str, Any]]) -> None:
    assert _values(final, "COPY") == ["--from=builder /opt/fanout /opt/fanout"]
    assert _values(final, "ADD") == []


def test_dependencies_are_installed_by_hash_and_the_project_without_any(instructions: list[dict[str, Any]]) -> None:
    installs = [value for value in _values(instructions, "RUN") if " install " in value]
    assert len(installs) == 2
    assert installs[0].endswith('install --require-hashes -r requirements.txt "$@"')
    assert "--no-deps ." in installs[1]


@pytest.mark.parametrize(("extras", "files"), [("", []), ("otel", ["-otel"]), ("otel entra", ["-otel", "-entra"])])
def test_an_image_may_have_several_extras(instructions: list[dict[str, Any]], extras: str, files: list[str]) -> None:
    """The instruction runs here, with another command in the place of pip."""
    assert 'EXTRAS=""' in _values(instructions, "ARG")
    [install] = (value for value in _values(instructions, "RUN") if "--require-hashes" in value)
    script = install.replace("pip --python /opt/fanout/bin/python install --require-hashes", "printf '%s '")
    result = subprocess.run(["sh", "-c", script], env={"EXTRAS": extras}, capture_output=True, text=True, check=True)
    assert result.stdout.split() == [word for name in ("", *files) for word in ("-r", f"requirements{name}.txt")]


def test_requirements_that_are_installed_together_agree() -> None:
    """Two versions of one distribution cannot be installed."""
    pinned: dict[str, set[str]] = {}
    for name in ("requirements.txt", "requirements-otel.txt", "requirements-entra.txt"):
        for distribution, version in re.findall(r"^([\w.-]+)==([^\s;]+)", (ROOT / name).read_text(), re.MULTILINE):
            pinned.setdefault(distribution, set()).add(version)
    assert len(pinned) > 40
    assert {distribution for distribution, versions in pinned.items() if len(versions) > 1} == set()


def test_no_secret_is_built_in(instructions: list[dict[str, Any]]) -> None:
    """Neither ENV nor ARG names a secret, and no setting of the process is decided by the image."""
    named = " ".join(_values(instructions, "ENV") + _values(instructions, "ARG"))
    assert not re.search(r"(?i)secret|password|token|api_?key|accesskey|connection", named)
    assert "FANOUT_" not in named


def test_the_process_writes_no_bytecode_and_buffers_no_logs(final: list[dict[str, Any]]) -> None:
    environment = " ".join(_values(final, "ENV"))
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert "PYTHONUNBUFFERED=1" in environment


def test_the_image_serves_every_role_from_one_entry_point(final: list[dict[str, Any]]) -> None:
    entry, command = json.loads(_values(final, "ENTRYPOINT")[0]), json.loads(_values(final, "CMD")[0])
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry[0] in scripts
    assert entry[1:] == []
    assert command == ["serve", "--role", "all", "--host", "0.0.0.0"]
    assert _values(final, "EXPOSE") == ["8080"]


def test_labels_tell_what_the_image_is(final: list[dict[str, Any]]) -> None:
    text = " ".join(_values(final, "LABEL"))
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in text


def test_one_version_everywhere(final: list[dict[str, Any]]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"VERSION={version}" in _values(final, "ARG")
    assert yaml.safe_load((ROOT / "helm" / "Chart.yaml").read_text())["appVersion"] == version


# The health check --------------------------------------------------------------------------------------------------


def _check(final: list[dict[str, Any]]) -> str:
    words = json.loads(_values(final, "HEALTHCHECK")[0].partition("CMD ")[2])
    assert words[:3] == ["python", "-I", "-c"]
    return str(words[3])


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
async def test_the_health_check_asks_livez(final: list[dict[str, Any]], status: int, code: int) -> None:
    """It runs here against a real server, with a proxy in the environment that it must not ask."""
    asked, result = await _run_check(_check(final), status)
    assert asked == ["GET /livez HTTP/1.1"]
    assert result == code


def test_the_health_check_fails_when_nobody_listens(final: list[dict[str, Any]]) -> None:
    command = [sys.executable, "-I", "-c", _check(final)]
    result = subprocess.run(command, env={"FANOUT_PORT": "1"}, capture_output=True, check=False)
    assert result.returncode == 1


async def _run_check(script: str, status: int) -> tuple[list[str], int | None]:
    import asyncio  # noqa: PLC0415  # the rest of this file needs no event loop

    asked: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",
            "-c",
            script,
            env={"FANOUT_PORT": str(port), "http_proxy": "http://127.0.0.1:1"},
        )
        return asked, await process.wait()


# The build context -------------------------------------------------------------------------------------------------


def _sent(path: str) -> bool:
    """Return whether .dockerignore lets a path into the build: the last pattern that fits decides."""
    sent = True
    parts = path.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            keep, bare = pattern.startswith("!"), pattern.lstrip("!").rstrip("/")
            tails = [bare] if not bare.startswith("**/") else [bare, bare.removeprefix("**/")]
            if any(fnmatch.fnmatch(place, tail) for place in above for tail in tails):
                sent = keep
    return sent


def test_what_is_copied_is_in_the_build_context(instructions: list[dict[str, Any]]) -> None:
    copies = [value.split() for value in _values(instructions, "COPY") if "--from" not in value]
    sources = [source.removeprefix("./") for words in copies for source in words[:-1]]
    assert len(sources) == 10
    for source in sources:
        assert _sent(source), source


def test_every_package_of_the_project_is_copied(instructions: list[dict[str, Any]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = " ".join(_values(instructions, "COPY")).split()
    assert set(packages) <= set(copied)


@pytest.mark.parametrize(
    "path",
    [".git/config", ".venv/bin/python", ".env", "tests/conftest.py", "helm/values.yaml", "fanout/__pycache__/a.pyc"],
)
def test_nothing_else_is_sent(path: str) -> None:
    assert not _sent(path)
