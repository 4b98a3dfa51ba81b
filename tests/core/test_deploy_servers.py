"""What `deploy/` has for servers: each file is one that its program takes, and names nothing that skerry has not."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import click
import kubernetes_validate
import pytest
import yaml
from compose_spec import PyCompose

from skerry.server.fleet_server import Ports
from skerry.server.gateway import serving
from tests._commands import parsed

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "compose" / "compose.yaml"
KUBERNETES = DEPLOY / "kubernetes"
SYSTEMD = DEPLOY / "systemd"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
PORTS = [Ports().gateway, Ports().enrolment, Ports().devices]
OWN = {"SKERRY_NAME", "SKERRY_IMAGE"}  # of these files, not of skerry


def services() -> dict[str, dict[str, Any]]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


def manifests() -> list[dict[str, Any]]:
    files = sorted(one for one in KUBERNETES.glob("*.yaml") if one.name != "kustomization.yaml")
    return [document for one in files for document in yaml.safe_load_all(one.read_text())]


def pods() -> list[dict[str, Any]]:
    return [one["spec"]["template"]["spec"] for one in manifests() if one["kind"] == "StatefulSet"]


def of_kind(kind: str) -> list[dict[str, Any]]:
    return [one for one in manifests() if one["kind"] == kind]


def units() -> list[Path]:
    return sorted(SYSTEMD.glob("*.service"))


def named(words: list[str]) -> list[str]:
    """A command with a name in place of the variable that holds it."""
    return [re.sub(r"\$[{(]SKERRY_NAME[^})]*[})]", "fleet.example", word) for word in words]


def commands() -> list[list[str]]:
    """Every command line of skerry's that a file starts something with, without ``skerry`` itself."""
    ours = [one for one in services().values() if "skerry" in one["image"]]
    found = [one["command"] for one in ours]
    found += [one["healthcheck"]["test"][2:] for one in ours if one["healthcheck"]["test"][1] == "skerry"]
    found += [one["args"] for pod in pods() for one in pod["containers"] if "skerry" in one["image"]]
    for unit in units():
        (start,) = re.findall(r"^ExecStart=(.*)$", unit.read_text(), re.MULTILINE)
        program, *words = shlex.split(start)
        assert program == "/opt/skerry/bin/skerry"
        found.append(words)
    return [named(words) for words in found]


def test_the_compose_file_is_one() -> None:
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())  # as Compose puts in what is left out
    whole = yaml.safe_load(text)  # with its anchors and merges put in their places
    read = PyCompose.from_yaml(yaml.safe_dump(whole))
    assert set(read.service_names()) == {"server", "metrics", "postgres", "prometheus", "grafana"}
    for key, wrong in (("healthcheck", {"interval": "often"}), ("memory", "1g"), ("ports", ["http"])):
        altered = {**whole, "services": {"server": {**whole["services"]["server"], key: wrong}}}
        with pytest.raises(ValueError, match="server"):
            PyCompose.from_yaml(yaml.safe_dump(altered))


@pytest.mark.parametrize("name", services())
def test_a_service_is_no_root_changes_nothing_but_its_volumes_and_is_looked_after(name: str) -> None:
    one = services()[name]
    user = int(one["user"].partition(":")[0])
    assert user > 0
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert one["healthcheck"]["test"][0] == "CMD"
    assert re.search(r":[v0-9$]", one["image"]), "a version, never the latest"
    told = one.get("environment", {})
    assert not [key for key in told if "PASS" in key and not key.endswith(("_FILE", "__FILE"))]
    for source in (mount.split(":")[0] for mount in one.get("volumes", ())):
        if source.startswith("."):
            assert (COMPOSE.parent / source).exists(), source
        else:
            assert source in yaml.safe_load(COMPOSE.read_text())["volumes"]


def test_compose_opens_the_ports_that_skerry_listens_on_and_no_other_to_everybody() -> None:
    opened = [port for one in services().values() for port in one.get("ports", ())]
    assert [one for one in opened if not one.startswith("127.0.0.1:")] == [f"{port}:{port}" for port in PORTS]
    whole = yaml.safe_load(COMPOSE.read_text())
    assert whole["networks"]["inside"] == {"internal": True}
    assert services()["postgres"]["networks"] == services()["prometheus"]["networks"] == ["inside"]
    assert set(whole["secrets"]) == {name for one in services().values() for name in one.get("secrets", ())}
    ignored = (DEPLOY / "compose" / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!.gitignore"], "no secret gets into a commit"


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_one_of_skerry(words: list[str]) -> None:
    assert parsed(words).startswith("server ")


def test_a_command_that_skerry_has_not_would_be_seen() -> None:
    for words in (["server", "up", "--no-such-option"], ["server", "down"], ["server", "metrics", "--port", "many"]):
        with pytest.raises(click.ClickException):
            parsed(words)


def test_every_variable_is_one_that_skerry_reads() -> None:
    texts = [one.read_text() for one in DEPLOY.rglob("*") if one.is_file() and one.parent.name in _FOLDERS]
    texts.append((ROOT / "docs" / "operating.md").read_text())
    used = {name for text in texts for name in re.findall(r"SKERRY_[A-Z_]+", text)} - OWN
    sources = "".join(one.read_text() for top in ("core", "server", "security") for one in (ROOT / top).rglob("*.py"))
    assert {name for name in used if f'"{name}"' not in sources} == set()
    assert {"SKERRY_REGISTRY", "SKERRY_REGISTRY_PASSWORD_FILE", "SKERRY_ROOT_PASSPHRASE_FILE"} <= used


_FOLDERS = ("compose", "container", "kubernetes", "systemd", "grafana")


@pytest.mark.parametrize("manifest", manifests(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
def test_each_manifest_is_one_of_kubernetes(manifest: dict[str, Any]) -> None:
    for version in ("1.33", "1.36"):
        kubernetes_validate.validate(manifest, version, strict=True)
    if manifest["kind"] == "StatefulSet":
        manifest["spec"]["template"]["spec"]["readOnly"] = True
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(manifest, "1.33", strict=True)


def test_pods_are_no_root_have_a_read_only_root_and_are_probed() -> None:
    assert len(pods()) == 2
    for pod in pods():
        assert pod["automountServiceAccountToken"] is False
        outer = pod["securityContext"]
        assert (outer["runAsNonRoot"], outer["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
        assert outer["runAsUser"] > 0
        for one in pod["containers"]:
            inner = one["securityContext"]
            assert inner == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "livenessProbe" in one
            assert one["resources"]["limits"]["memory"]
            volumes = {volume["name"] for volume in pod["volumes"]} | {"state", "data"}
            assert {mount["name"] for mount in one["volumeMounts"]} <= volumes
            assert not [told["name"] for told in one["env"] if "PASS" in told["name"] and "FILE" not in told["name"]]


def test_only_who_opens_the_keys_is_given_the_passphrase() -> None:
    given: dict[str, set[str]] = {}
    for pod in pods():
        keys = {
            volume["name"]: {item["key"] for item in volume["secret"].get("items", [{"key": "root-passphrase"}])}
            for volume in pod["volumes"]
            if "secret" in volume
        }
        for one in pod["containers"]:
            given[one["name"]] = set().union(*(keys.get(mount["name"], set()) for mount in one["volumeMounts"]))
    assert [name for name, keys in given.items() if "root-passphrase" in keys] == ["server"]
    assert [name for name, one in services().items() if "root-passphrase" in one.get("secrets", ())] == ["server"]


def test_probes_ports_and_selectors_lead_to_what_is_there() -> None:
    server = next(pod for pod in pods() if pod["containers"][0]["name"] == "server")["containers"]
    ports = {port["name"]: port["containerPort"] for one in server for port in one["ports"]}
    assert ports == dict(zip(("gateway", "enrolment", "devices"), PORTS, strict=True)) | {"metrics": 9464}
    probes = {one: server[0][one]["httpGet"] for one in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["path"] for probe in probes.values()} == {"/healthz", "/readyz"}
    assert probes["readinessProbe"]["path"] == "/readyz"
    assert {(probe["port"], probe["scheme"]) for probe in probes.values()} == {("gateway", "HTTPS")}
    labelled = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind("StatefulSet")]
    for service in of_kind("Service"):
        assert service["spec"]["selector"] in labelled
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= {*ports, "postgresql"}
    told = of_kind("ConfigMap")[0]["data"]["SKERRY_REGISTRY"]
    assert re.fullmatch(r"postgresql://skerry@(\w+):5432/skerry", told)[1] in {
        one["metadata"]["name"] for one in of_kind("Service")
    }


def test_nobody_reaches_anything_that_no_policy_opens() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}
    nothing = policies.pop("nothing")
    assert nothing == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labelled = [one["spec"]["template"]["metadata"]["labels"] for one in of_kind("StatefulSet")]
    assert all(one["podSelector"]["matchLabels"] in labelled for one in policies.values())
    open_to_all = {
        port["port"] for one in policies.values() for rule in one.get("ingress", ()) if "from" not in rule
        for port in rule["ports"]
    }  # fmt: skip
    assert open_to_all == {"gateway", "enrolment", "devices"}
    (database,) = policies["registry-from-server"]["ingress"]
    assert database["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "skerry"}}}]


def test_kustomization_names_every_file() -> None:
    told = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert set(told["resources"]) == {one.name for one in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}


@pytest.mark.parametrize("unit", units(), ids=lambda one: one.name)
def test_a_unit_is_one_that_systemd_takes_and_rates_2_or_better(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/opt/skerry/bin/skerry", "/bin/true"))
    drop_in = tmp_path / f"{unit.name}.d"
    drop_in.mkdir()
    shutil.copy(SYSTEMD / "postgresql.conf", drop_in)
    verified = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    rated = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", copy], capture_output=True, text=True, check=False
    )
    assert rated.returncode == 0, rated.stdout[-300:]


def test_a_server_may_hold_as_many_files_open_as_its_gateway_asks_for() -> None:
    wanted = serving._CONNECTIONS + serving._OTHER_FILES
    (unit,) = re.findall(r"^LimitNOFILE=(\d+)$", (SYSTEMD / "skerry-server.service").read_text(), re.MULTILINE)
    assert int(unit) >= wanted
    assert services()["server"]["ulimits"]["nofile"] >= wanted
    for page in ("operating.md", "gateway.md"):
        assert f"{wanted:,}" in (ROOT / "docs" / page).read_text("utf-8"), page


def test_the_image_is_made_of_what_is_there() -> None:
    text = CONTAINERFILE.read_text()
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.search(r"^ARG EXTRAS=(.*)$", text, re.MULTILINE)[1].split(",")) <= set(extras)
    assert re.search(r"^USER (\d+):\d+$", text, re.MULTILINE)[1] == services()["server"]["user"].partition(":")[0]
    assert list(map(int, re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)[1].split())) == PORTS
    kept = (DEPLOY / "container" / "Containerfile.dockerignore").read_text().split("\n")
    for line in kept:
        if line.startswith("!"):
            assert (ROOT / line[1:]).exists(), line
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-dir"].values()
    assert {folder.partition("/")[0] for folder in listed} <= {line[1:] for line in kept if line.startswith("!")}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool comes with Prometheus")
def test_prometheus_takes_the_configuration_of_compose(tmp_path: Path) -> None:
    shutil.copy(DEPLOY / "compose" / "prometheus.yml", tmp_path)
    shutil.copy(DEPLOY / "monitoring" / "alerts.yml", tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", "prometheus.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = yaml.safe_load((tmp_path / "prometheus.yml").read_text())
    (target,) = told["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services()


def test_every_command_of_the_page_on_operating_is_one_of_skerry() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    blocks = "\n".join(re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    found = re.findall(rf"\bskerry ((?:{'|'.join(_COMMANDS)}) [^#|>&\n]*)", blocks)
    assert len(found) >= 5
    for one in found:
        parsed(shlex.split(one))


_COMMANDS = ("server", "fleet", "run", "runs", "privacy", "security", "release")


@pytest.mark.engine
@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root, for namespaces")
def test_the_server_serves_as_nobody_in_particular_on_a_root_that_is_read_only() -> None:
    """What a container does to it, without one: its user, no capability, one folder to write, a small /tmp."""
    for needed in (ROOT, Path(sys.prefix)):
        if any(not one.stat().st_mode & 0o001 for one in (needed, *needed.parents)):
            pytest.skip(f"only root may enter {needed}")
    state = Path(tempfile.mkdtemp(prefix="skerry-state-", dir="/tmp"))
    try:
        os.chown(state, 10001, 10001)
        words = ["server", "up", "--host", "127.0.0.1", "--name", "fleet.example", "--log-json", "--port", "0"]
        words += ["--enrolment-port", "0", "--device-port", "0"]
        python = Path(sys.base_prefix)
        uncovered = "true"
        if python.is_relative_to("/root"):  # an interpreter there may be root's alone: shown as if it were elsewhere
            uncovered = (
                f"mkdir /mnt/python && mount --bind {python} /mnt/python && mount -t tmpfs -o mode=755 tmpfs /root"
                f" && mkdir -p {python} && mount --bind /mnt/python {python}"
            )
        script = (
            f"mount --make-rprivate / && mount --bind {state} {state} && mount -t tmpfs -o mode=1777 tmpfs /mnt"
            f" && {uncovered} && mount -o remount,bind,ro / && ! touch /skerry-written 2>/dev/null"
            " && exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set -all"
            f" {shlex.join([sys.executable, '-m', 'skerry.cli', *words])}"
        )
        told = {"HOME": str(state), "SKERRY_RUNS_DIR": f"{state}/runs", "SKERRY_HOME": f"{state}/cache"}
        told |= {"TMPDIR": "/mnt", "PYTHONDONTWRITEBYTECODE": "1", "SKERRY_ROOT_PASSPHRASE": "of the root"}
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | told,
        )  # fmt: skip
        first = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=180)
        assert first, errors
        assert json.loads(first)["message"] == "serving"
        assert process.returncode == 0, rest + errors
        assert {one.stat().st_uid for one in state.rglob("*")} == {10001}
    finally:
        shutil.rmtree(state)
