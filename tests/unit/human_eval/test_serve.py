"""The command that serves a study: what it prints, how it ends, what it refuses; and from an installed wheel."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

import rl4lms
from rl4lms.cli.main import app
from rl4lms.plugins import packages
from tests.human import Client, make_study, serving


def serve(*words):
    return CliRunner().invoke(app, ["human", "serve", *map(str, words)])


def test_it_serves_prints_where_and_ends_with_0(tmp_path):
    made = make_study(tmp_path / "study.sqlite")
    with serving(str(tmp_path)) as server:
        with urllib.request.urlopen(f"{server.address}/i/{made.created.invites[0]}") as page:
            assert made.form.title in page.read().decode()
            assert page.headers["server"] is None
        other = urllib.request.Request(f"{server.address}/admin/login", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="421"):
            urllib.request.urlopen(other)
        code, printed = server.stop(signal.SIGINT)
    assert code == 0
    assert f"{server.address}/i/INVITATION" in printed
    assert f"{server.address}/admin" in printed
    assert "Traceback" not in printed


def test_it_refuses_what_is_no_study(tmp_path):
    tmp_path.joinpath("empty").mkdir()
    tmp_path.joinpath("text.sqlite").write_text("this is no database, but a file with some words in it" * 100)
    for where in (tmp_path / "nothing", tmp_path / "empty", tmp_path / "text.sqlite", "nonsense://x"):
        refused = serve(where)
        assert (refused.exit_code, "error:" in refused.output) == (2, True), refused.output


def test_it_refuses_a_port_in_use_and_a_proxy_without_a_name(tmp_path):
    make_study(tmp_path / "study.sqlite")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = serve(tmp_path, "--port", other.getsockname()[1])
    assert (refused.exit_code, "--port" in refused.output) == (2, True)
    assert (serve(tmp_path, "--behind-proxy").exit_code, serve(tmp_path, "--host", "256.1.1.1").exit_code) == (2, 2)


def test_it_names_the_extra_that_is_missing(tmp_path, monkeypatch):
    make_study(tmp_path / "study.sqlite")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused = serve(tmp_path)
    assert refused.exit_code == 2
    assert packages.EXTRAS["uvicorn"] in refused.output


@pytest.mark.slow
def test_serving_loads_no_torch():
    code = "import sys, rl4lms.human_eval.folder, rl4lms.human_eval.web.routes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == 0


@pytest.mark.slow
def test_an_installed_wheel_serves(tmp_path):
    """Templates, style and script are in it."""
    source = Path(rl4lms.__file__).parents[2]
    if not source.joinpath("pyproject.toml").is_file():
        pytest.skip("rl4lms is installed already, not read from a checkout")
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(source / name, copy)
    shutil.copytree(source / "src", copy / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
        str(copy),
    ]
    built = subprocess.run(build, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    made = make_study(tmp_path / "study.sqlite", raters=1, per_item=1)
    code = f"import sys; sys.path.insert(0, {str(installed)!r}); import rl4lms; assert {str(installed)!r} in rl4lms.__file__; "
    code += "from rl4lms.cli.main import main; sys.argv[0] = 'rl4lms'; main()"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    words = [sys.executable, "-c", code, "human", "serve", made.where, "--port", str(port)]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={"PATH": "/usr/bin:/bin"}
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(2)]
        assert "administrator" in lines[1], lines
        import httpx2

        with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as http:
            client = Client(http)
            client.enter(made.created.invites[0])
            assert client.to("/next").url.path == "/item/1"
            for name in ("style.css", "study.js"):
                assert http.get(f"/static/{name}").status_code == 200
    finally:
        process.kill()
        process.communicate()
