"""`rl4lms human serve`: the pages of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import socket

SERVE_EPILOG = (
    "Examples:  rl4lms human serve studies/first  ·  "
    "rl4lms human serve studies/first --behind-proxy --host-name study.example.org"
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


def serve(
    study: Annotated[
        str, typer.Argument(help="Folder of the study, its database, or a URL such as postgresql://user@host/name.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 is all of this machine.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0 for one that is free.")] = 8000,
    behind_proxy: Annotated[
        bool,
        typer.Option(
            "--behind-proxy",
            help="Believe X-Forwarded-For and X-Forwarded-Proto, which a proxy in front sets; needs --host-name.",
        ),
    ] = False,
    secure: Annotated[
        bool, typer.Option("--secure", help="Browsers come by https: cookies are for that alone.")
    ] = False,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            "--host-name",
            help="Name in the links of the study; others are refused (repeat the option). By default those of this "
            "machine for itself, or all where --host is another.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Serve a study to raters, and its progress to whoever has the password, until Ctrl-C."""
    import contextlib

    from rl4lms.errors import ConfigError
    from rl4lms.plugins.packages import of_extra

    uvicorn = of_extra("uvicorn")
    from rl4lms.human_eval.app import create_app
    from rl4lms.human_eval.folder import database_of

    names = list(host_name or ())
    if behind_proxy and not names:
        raise ConfigError("--behind-proxy needs --host-name, the name that the links of raters have")
    if not names and host in _LOOPBACK:
        names = list(_LOOPBACK)
    app = create_app(database_of(study), behind_proxy=behind_proxy, secure=secure, host_names=names)
    with _listen(host, port) as listening:
        address = _address(host, listening.getsockname()[1], host_name, behind_proxy or secure)
        print(f"raters:         {address}/i/INVITATION\nadministrator:  {address}/admin\nCtrl-C ends it.", flush=True)
        options = {"server_header": False, "proxy_headers": False, "access_log": False, "log_level": "warning"}
        server = uvicorn.Server(uvicorn.Config(app, timeout_graceful_shutdown=5, **options))
        with contextlib.suppress(KeyboardInterrupt):  # which uvicorn raises once more after it has ended
            server.run(sockets=[listening])
    print("ended")


def _listen(host: str, port: int) -> socket.socket:
    import socket

    from rl4lms.errors import ConfigError

    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host}: {error.strerror}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(512)
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"{host}, port {port}: {error.strerror}; another program may be there: choose one with --port"
        ) from error
    return listening


def _address(host: str, port: int, names: list[str] | None, secure: bool) -> str:
    """Return what links begin with."""
    scheme = "https" if secure else "http"
    if names:
        return f"{scheme}://{names[0]}" if secure else f"{scheme}://{names[0]}:{port}"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
