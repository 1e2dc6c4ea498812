"""``deploy/``: what its files say is held against the real command line and the real configuration.

No image is built here and no unit started. What can be had without a container engine is real: the commands are parsed by
the command line itself, the environment is read by the configuration, the health checks run against real processes, and
the wheel is built from nothing but the files that the image copies.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

import click
import pytest
import yaml

from surehook import wiring
from surehook.cli import main
from surehook.config import Settings, load
from surehook.config.units import milliseconds
from surehook.wiring.supervision.slot import GRACE
from tests.scenario.installation import free_ports

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE: Final = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
OWN: Final[Mapping[str, Any]] = {
    name: service for name, service in COMPOSE["services"].items() if service["image"] == "surehook"
}
#: What a person would put in; of a form that every place takes.
SECRET: Final = "whsec_" + "c2VjcmV0" * 4
INTERPOLATED: Final = re.compile(r"\$\{(\w+):\?[^}]*\}")


def example(name: str) -> dict[str, str]:
    """The variables of an example of an environment file, the empty ones filled in."""
    lines = (DEPLOY / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name: value or SECRET for name, _, value in pairs}


def interpolated(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a service, as compose would make it."""
    given = example("compose.env.example")
    return {
        name: INTERPOLATED.sub(lambda found: given[found[1]], value)
        for name, value in service.get("environment", {}).items()
    }


def parsed(words: Sequence[str]) -> click.Context:
    """A command line without its first word, read by the real one. Raises click.UsageError."""
    command: click.Command = main
    rest = list(words)
    names = []
    while isinstance(command, click.Group):
        names.append(rest.pop(0))
        command = command.commands[names[-1]]
    return command.make_context(" ".join(names), rest)


def roles(words: Sequence[str]) -> Sequence[str]:
    """The roles that a ``run`` has."""
    return parsed(words).params["roles"] or wiring.ROLES


class Place:
    """Somewhere that a command of Surehook's is run: with what words, and in what environment."""

    def __init__(self, name: str, words: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.words = words
        self.environment = environment

    def __repr__(self) -> str:
        return self.name

    def settings(self) -> Settings:
        """What the configuration makes of it. Raises ConfigurationError, also for a variable that is no setting."""
        return load(DEPLOY / "surehook.toml", self.environment, {}).settings


def image_environment() -> dict[str, str]:
    [line] = [line for line in instructions("ENV") if "SUREHOOK_" in line]
    return dict(word.split("=", 1) for word in line.split())


def instructions(name: str) -> list[str]:
    """What stands behind an instruction of the Dockerfile, continued lines joined."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.removeprefix(f"{name} ") for line in text.splitlines() if line.startswith(f"{name} ")]


def compose_places() -> list[Place]:
    image = image_environment()
    return [
        Place(f"compose {name}", service["command"], {**image, **interpolated(service)})
        for name, service in OWN.items()
    ]


def directives(unit: Path) -> list[tuple[str, str]]:
    """The assignments of a unit, in order."""
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [
        (name, value)
        for name, mark, value in (line.partition("=") for line in lines)
        if mark and not line_is_comment(name)
    ]


def line_is_comment(line: str) -> bool:
    return line.startswith(("#", ";"))


def values(unit: Path, name: str) -> list[str]:
    return [value for key, value in directives(unit) if key == name]


def expanded(line: str, environment: Mapping[str, str]) -> str:
    """A command of a unit with its variables replaced."""
    return re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], line)


def unit_places() -> Iterator[Place]:
    for unit in UNITS:
        own = dict(value.split("=", 1) for value in values(unit, "Environment"))
        environment = {**example("systemd/surehook.env.example"), **own}
        [start] = values(unit, "ExecStart")
        for role in wiring.ROLES if "@" in unit.name else [""]:
            line = expanded(start.replace("%i", role), environment)
            yield Place(f"{unit.name} {role}".strip(), shlex.split(line)[1:], environment)


PLACES: Final = [*compose_places(), *unit_places()]


def test_nothing_was_left_out() -> None:
    assert {"migrate", "ingest", "worker", "publisher", "console"} == set(OWN)
    assert {unit.name for unit in UNITS} == {
        "surehook.service",
        "surehook@.service",
        "surehook-migrate.service",
    }
    assert len(PLACES) == 5 + 6


@pytest.mark.parametrize("place", PLACES, ids=repr)
def test_the_command_line_takes_the_command(place: Place) -> None:
    context = parsed(place.words)
    assert context.info_name in {"run", "migrate up"}
    if context.info_name == "run":
        alone = place.name.startswith("surehook.service")
        assert context.params["no_migrate"] is not alone, "migrations run once, before the roles"


def test_a_command_that_is_not_one_is_seen() -> None:
    with pytest.raises(click.UsageError, match="No such option"):
        parsed(["run", "--procesess", "2"])
    with pytest.raises(click.UsageError, match="'ingst'"):
        parsed(["run", "--role", "ingst"])


@pytest.mark.parametrize("place", PLACES, ids=repr)
def test_the_environment_is_known(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration refuses unknown variables of its own; all others are referred to, or used by the unit itself."""
    for name in [name for name in os.environ if name.startswith("SUREHOOK_")]:
        monkeypatch.delenv(name)
    settings = place.settings()
    text = (DEPLOY / "surehook.toml").read_text(encoding="utf-8") + " ".join(place.environment.values())
    referred = set(re.findall(r"\benv:(\w+)", text))
    others = {name for name in place.environment if not name.startswith("SUREHOOK_")}
    used = {"PROCESSES", "PATH", "PYTHONDONTWRITEBYTECODE"}
    alone = {"DATABASE_URL", "REDIS_URL"} if place.name == "surehook.service" else set()
    assert others - referred - used - alone == set()
    assert referred <= set(place.environment)
    for name, value in place.environment.items():
        monkeypatch.setenv(name, value)
    assert wiring.build_providers(settings).keys() == {"stripe", "github"}
    assert (
        "surehook.db" in settings.database
        if place.name == "surehook.service"
        else settings.database == "env:DATABASE_URL"
    )


def test_every_variable_that_compose_asks_for_is_in_its_example() -> None:
    asked = set(INTERPOLATED.findall((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))
    assert asked == set(example("compose.env.example"))


def test_urls_lead_to_services_of_compose() -> None:
    for place in compose_places():
        for name in ("DATABASE_URL", "REDIS_URL"):
            host = re.sub(r".*(@|//)", "", place.environment[name].rpartition(":")[0])
            assert host in COMPOSE["services"]
    redis = COMPOSE["services"]["redis"]["command"]
    assert redis[redis.index("--maxmemory-policy") + 1] == "noeviction"


def test_ports_are_those_of_the_settings() -> None:
    for place in compose_places():
        settings, service = place.settings(), OWN[place.name.removeprefix("compose ")]
        ports = {"ingest": settings.server.port, "console": settings.console.port}
        published = {int(port.rpartition(":")[2]) for port in service.get("ports", [])}
        reachable = {
            ports[role]
            for role, host in (("ingest", settings.server.host), ("console", settings.console.host))
            if place.words[0] == "run" and role in roles(place.words) and host == "0.0.0.0"
        }
        assert published == reachable, place
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), (
            "a proxy stands in front"
        )
    assert [int(port) for port in instructions("EXPOSE")] == [Settings().server.port]


def checks() -> dict[str, tuple[Place, list[str]]]:
    """The health check of every service that runs, with what it runs."""
    [line] = instructions("HEALTHCHECK")
    default = json.loads(line.partition("CMD ")[2])
    image = Place("image", json.loads(instructions("CMD")[0]), image_environment())
    found = {"image": (image, default)}
    for place in compose_places():
        health = OWN[place.name.removeprefix("compose ")].get("healthcheck", {})
        if not health.get("disable"):
            found[place.name] = (place, health["test"][1:] if "test" in health else default)
    return found


@pytest.mark.parametrize("name", sorted(checks()))
def test_a_health_check_asks_a_port_that_its_role_has(name: str) -> None:
    place, command = checks()[name]
    settings = place.settings()
    [port] = re.findall(r"127\.0\.0\.1:(\d+)/", command[-1])
    ports = {"ingest": settings.server.port, "console": settings.console.port}
    assert int(port) in {ports[role] for role in roles(place.words) if role in ports}


def test_the_health_checks_find_a_process_well_and_its_absence_ill(tmp_path: Path) -> None:
    """The commands as they stand, but for the ports, against a real process and against none."""
    ports = dict(zip((8080, 8081), free_ports(2), strict=True))
    commands = {tuple(with_ports(command, ports)) for _, command in checks().values()}
    assert len(commands) == 2
    environment = {**os.environ, "SUREHOOK_DATABASE": f"sqlite:///{tmp_path}/x.db"}
    for name in ("STRIPE_SECRET", "GITHUB_SECRET", "LEDGER_SECRET"):
        environment[name] = SECRET
    environment |= {"SUREHOOK_SERVER__PORT": str(ports[8080]), "SUREHOOK_CONSOLE__PORT": str(ports[8081])}
    with running(["run"], environment):
        assert [exit_code(command) for command in commands] == [0, 0]
    assert [exit_code(command) for command in commands] == [1, 1]


@contextlib.contextmanager
def running(words: Sequence[str], environment: Mapping[str, str]) -> Iterator[None]:
    """Surehook, in the folder of the examples, from when it is ready."""
    command = [sys.executable, "-B", "-m", "surehook", *words]
    with subprocess.Popen(command, cwd=DEPLOY, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        lines = iter(process.stderr.readline, "")
        assert any('"node.started"' in line for line in lines), "it did not start"
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)


def with_ports(command: Sequence[str], ports: Mapping[int, int]) -> list[str]:
    text = command[-1]
    for old, new in ports.items():
        text = text.replace(f":{old}/", f":{new}/")
    return [*command[:-1], text]


def exit_code(command: Sequence[str]) -> int:
    assert command[0] == "python"
    return subprocess.run(
        [sys.executable, *command[1:]], stderr=subprocess.DEVNULL, timeout=30, check=False
    ).returncode


def test_the_image_starts_what_it_installs() -> None:
    assert json.loads(instructions("ENTRYPOINT")[0]) == ["surehook"]
    assert instructions("STOPSIGNAL") == ["SIGTERM"]
    assert parsed(json.loads(instructions("CMD")[0])).info_name == "run"
    [user] = instructions("USER")
    assert user.partition(":")[0] != "0"
    [create] = [line for line in instructions("RUN") if "useradd" in line]
    assert f"--uid {user.partition(':')[0]} " in create
    home = instructions("WORKDIR")[-1]
    assert f"--home-dir {home} " in create
    for service in OWN.values():
        assert all(volume.split(":")[1].startswith(f"{home}/") for volume in service["volumes"])


def copied() -> list[str]:
    """What the Dockerfile copies from the repository."""
    lines = [line.split() for line in instructions("COPY") if not line.startswith("--from")]
    return [source for *sources, _ in lines for source in sources]


def test_what_the_image_copies_exists_and_is_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert ignored[0] == "*"
    for source in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, pattern) for pattern in kept), f"{source} is ignored"
    for volume in {volume for service in OWN.values() for volume in service["volumes"]}:
        assert (DEPLOY / volume.split(":")[0]).is_file(), volume


def test_a_wheel_can_be_built_from_what_the_image_copies(tmp_path: Path) -> None:
    for source in copied():
        target = tmp_path / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    [build] = [line for line in instructions("RUN") if "hatchling" in line]
    words = shlex.split(build.partition("&&")[0])
    assert words[1:] == ["-m", "hatchling", "build", "-t", "wheel"]
    run = subprocess.run(
        [sys.executable, *words[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert len(list((tmp_path / "dist").glob("surehook-*.whl"))) == 1


@pytest.mark.parametrize("name", ["scaled.txt", "build.txt"])
def test_what_the_image_installs_is_hashed_and_tested(name: str) -> None:
    """Its very versions are those of the tests."""
    pins = pinned(name)
    assert len(pins) > 4
    tested = pinned("dev.txt")
    assert {package: tested.get(package) for package in pins} == pins
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    blocks = [block for block in re.split(r"\n(?=\S)", text.strip()) if not block.startswith("#")]
    assert all("--hash=sha256:" in block for block in blocks)
    assert f"--require-hashes -r requirements/{name}" in (DEPLOY / "Dockerfile").read_text(encoding="utf-8")


def pinned(name: str) -> dict[str, str]:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", text, flags=re.MULTILINE))


def test_the_extras_are_installed() -> None:
    assert {"psycopg", "psycopg-binary", "psycopg-pool", "redis", "hiredis"} <= pinned("scaled.txt").keys()


@pytest.mark.parametrize("place", PLACES, ids=repr)
def test_nothing_is_killed_before_it_has_drained(place: Place) -> None:
    longest = place.settings().server.drain_timeout + GRACE * 1000
    if place.name.startswith("compose"):
        patience = milliseconds(OWN[place.name.removeprefix("compose ")]["stop_grace_period"])
    else:
        [unit] = [unit for unit in UNITS if unit.name == place.name.split()[0]]
        if values(unit, "Type") == ["oneshot"]:
            return  # nothing drains there
        patience = int(values(unit, "TimeoutStopSec")[0]) * 1000
        assert values(unit, "KillMode") == ["mixed"]
        assert values(unit, "Type") == ["notify"]
    assert patience > longest


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_units_agree_with_the_instructions(unit: Path) -> None:
    readme = (DEPLOY / "README.md").read_text(encoding="utf-8")
    [binary] = {value.split()[0] for value in values(unit, "ExecStart")}
    assert f"python3 -m venv {Path(binary).parents[1]}" in readme
    [user], [folder] = values(unit, "User"), values(unit, "WorkingDirectory")
    assert f"useradd --system --home-dir {folder} {user}" in readme
    assert "/etc/surehook/surehook.env" in values(unit, "EnvironmentFile")
    assert values(unit, "NoNewPrivileges") == ["yes"]
    assert values(unit, "ProtectSystem") == ["strict"]
    if "surehook.db" in unit.read_text(encoding="utf-8"):
        [state] = values(unit, "StateDirectory")
        assert f"sqlite:////var/lib/{state}/" in "".join(values(unit, "Environment"))


def test_roles_are_tried_again_when_the_migrations_failed() -> None:
    """systemd never restarts a unit that did not start because of one that it requires."""
    [role] = [unit for unit in UNITS if "@" in unit.name]
    assert "surehook-migrate.service" not in " ".join(values(role, "Requires"))
    for order in ("Wants", "After"):
        assert "surehook-migrate.service" in " ".join(values(role, order)).split()
    assert values(role, "Restart") == ["always"]


def test_a_reload_that_is_written_about_is_one_that_the_units_have() -> None:
    [role] = [unit for unit in UNITS if "@" in unit.name]
    assert "systemctl reload" in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    assert values(role, "ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_systemd_understands_the_units(tmp_path: Path) -> None:
    """Where systemd is; the command's path is replaced by one that exists here."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        return
    surehook = str(Path(sys.executable).with_name("surehook"))
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("/opt/surehook/bin/surehook", surehook)
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    names = [f"./{unit.name.replace('@', '@ingest')}" for unit in UNITS]
    run = subprocess.run(
        [tool, "verify", "--man=no", "--recursive-errors=no", *names],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")


def test_the_example_application_runs() -> None:
    run = subprocess.run(
        [sys.executable, "-B", "-m", "surehook", "config", "check"],
        cwd=DEPLOY,
        env={**os.environ, "STRIPE_SECRET": SECRET, "GITHUB_SECRET": SECRET, "LEDGER_SECRET": SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
