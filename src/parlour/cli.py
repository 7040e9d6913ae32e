"""The command line: `parlour serve`, `parlour chat` and `parlour admin`.

Exit codes: 0 ok, 1 failure, 2 usage, 3 cannot connect, 4 not allowed, 130 interrupted. Data goes to stdout,
logs and words to stderr. What a command needs is imported when it runs, so that `parlour --help` is there at once.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer
from typer.main import get_command
from typer.models import OptionInfo

from parlour import admin
from parlour.errors import ConnectError, ParlourError, SettingsError

OK: Final = 0
FAILURE: Final = 1
USAGE: Final = 2
CANNOT_CONNECT: Final = 3
NOT_ALLOWED: Final = 4
INTERRUPTED: Final = 130

app = typer.Typer(
    name="parlour",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line (`sys.argv` if None) and give the exit code.

    What a person did wrong is one line on stderr a problem; what we did wrong is a traceback.
    """
    try:
        code = get_command(app).main(args, prog_name="parlour", standalone_mode=False)
    except SettingsError as error:
        return _failed(str(error), USAGE)
    except ConnectError as error:
        return _failed(str(error), CANNOT_CONNECT)
    except admin.NotAllowed as error:
        return _failed(str(error), NOT_ALLOWED)
    except ParlourError as error:
        return _failed(str(error), FAILURE)
    except typer.TyperException as error:
        return _failed(f"{error.format_message()} (parlour -h shows how)", USAGE)
    except BrokenPipeError:
        # Whoever read the output has gone. The interpreter's last flush would complain about it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILURE
    if code == INTERRUPTED and sys.stderr.isatty():
        print(file=sys.stderr)  # the terminal wrote ^C, and the shell's prompt wants a line of its own
    return code if isinstance(code, int) else OK


def _failed(words: str, code: int) -> int:
    for line in words.splitlines():
        print(f"parlour: error: {line}", file=sys.stderr)
    return code


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"parlour {version('parlour')}")
        except PackageNotFoundError:
            print("parlour, not installed: run from its source")
        raise typer.Exit


@app.callback(
    invoke_without_command=True, help="A public chat room, and private booths where two strangers meet at random."
)
def _start(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


def _setting(*flags: str, takes: str = "", words: str, default: str) -> OptionInfo:
    """A flag of `serve`. Its value goes to `Settings.load` as it is, which knows what may be set."""
    variable = "PARLOUR_" + flags[0].removeprefix("--").replace("-", "_").upper()
    option: OptionInfo = typer.Option(
        *flags, metavar=takes or None, help=f"{words} [default: {default}; {variable}]", show_default=False
    )
    return option


@app.command(help="Serve the chat. Ctrl-C lets everyone finish, a second one stops at once.")
def serve(
    context: typer.Context,
    host: Annotated[
        str | None,
        _setting(
            "--host",
            takes="ADDRESS",
            words="Listen on this address; 0.0.0.0 for all, :: for IPv6.",
            default="127.0.0.1",
        ),
    ] = None,
    port: Annotated[
        str | None, _setting("--port", takes="N", words="Listen on this port; 0 takes a free one.", default="8000")
    ] = None,
    url: Annotated[
        str | None,
        _setting("--url", takes="URL", words="Where people reach the server, sub-path included.", default="as asked"),
    ] = None,
    data: Annotated[
        str | None,
        _setting("--data", takes="DIR", words="Folder for what the server keeps.", default="the user's data folder"),
    ] = None,
    database: Annotated[
        str | None,
        _setting("--database", takes="URL", words="Keep what was said there: PostgreSQL.", default="a file in --data"),
    ] = None,
    title: Annotated[
        str | None, _setting("--title", takes="TEXT", words="Name of this place, on the page.", default="Parlour")
    ] = None,
    welcome: Annotated[
        str | None,
        _setting("--welcome", takes="TEXT", words="A line that v1 clients show when people come in.", default="none"),
    ] = None,
    reserved_names: Annotated[
        list[str] | None,
        _setting(
            "--reserved-names",
            takes="NAMES",
            words="Names that nobody may take, nor any that looks alike; commas between them, or repeated.",
            default="none",
        ),
    ] = None,
    booths: Annotated[
        str | None, _setting("--booths", takes="on|off", words="Whether strangers can meet in booths.", default="on")
    ] = None,
    origin: Annotated[
        list[str] | None,
        _setting(
            "--origin", takes="ORIGIN", words="Another site whose pages may connect; can be repeated.", default="none"
        ),
    ] = None,
    trusted_hops: Annotated[
        str | None, _setting("--trusted-hops", takes="N", words="Proxies in front of the server.", default="0")
    ] = None,
    rate: Annotated[
        str | None,
        _setting(
            "--rate", takes="N|off", words="Messages a second and client.", default="10, off for peers on this machine"
        ),
    ] = None,
    burst: Annotated[
        str | None, _setting("--burst", takes="N", words="Messages at once before the rate counts.", default="30")
    ] = None,
    per_address: Annotated[
        str | None,
        _setting(
            "--per-address",
            takes="N|off",
            words="Open connections from one address.",
            default="100, 10 in booths, off for peers on this machine",
        ),
    ] = None,
    ping: Annotated[
        str | None, _setting("--ping", takes="SECONDS", words="Time between heartbeats.", default="20")
    ] = None,
    ping_timeout: Annotated[
        str | None,
        _setting("--ping-timeout", takes="SECONDS", words="Time a client has to answer a heartbeat.", default="10"),
    ] = None,
    transport: Annotated[
        str | None,
        _setting(
            "--transport", takes="auto|asgi", words="Take connections over from uvicorn, or never.", default="auto"
        ),
    ] = None,
    reload: Annotated[
        bool | None, _setting("--reload", words="Start again when the code changes; for development.", default="off")
    ] = None,
    log_format: Annotated[
        str | None,
        _setting(
            "--log-format",
            takes="auto|text|json",
            words="How log lines look; auto: text on a terminal.",
            default="auto",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        _setting("--metrics", takes="on|off", words="Tell Prometheus how the server does, at /metrics.", default="off"),
    ] = None,
    metrics_token_file: Annotated[
        str | None,
        _setting("--metrics-token-file", takes="FILE", words="Tell only who has the token in it.", default="none"),
    ] = None,
    notices: Annotated[
        str | None,
        _setting("--notices", takes="on|off", words="Tell plain clients who came and left.", default="off"),
    ] = None,
    keep_messages_days: Annotated[
        str | None, _setting("--keep-messages-days", takes="N|off", words="Keep public messages so long.", default="30")
    ] = None,
    keep_reports_days: Annotated[
        str | None, _setting("--keep-reports-days", takes="N|off", words="Keep decided reports so long.", default="90")
    ] = None,
    keep_addresses_days: Annotated[
        str | None,
        _setting("--keep-addresses-days", takes="N|off", words="Let bans remember addresses so long.", default="14"),
    ] = None,
    terms: Annotated[
        str | None,
        _setting("--terms", takes="VERSION", words="Ask people to accept terms before strangers meet.", default="none"),
    ] = None,
    terms_url: Annotated[
        str | None, _setting("--terms-url", takes="URL", words="Where the terms can be read.", default="none")
    ] = None,
    age_bands: Annotated[
        str | None,
        _setting("--age-bands", takes="NAME:AGE,...", words="Age bands that never meet each other.", default="none"),
    ] = None,
    notify: Annotated[
        str | None, _setting("--notify", takes="URL", words="Post there that a report waits.", default="none")
    ] = None,
    jwt_secret_file: Annotated[
        str | None,
        _setting("--jwt-secret-file", takes="FILE", words="Secret of your users' tokens (HS256).", default="none"),
    ] = None,
    jwt_key_file: Annotated[
        str | None,
        _setting("--jwt-key-file", takes="FILE", words="Public key of your users' tokens (PEM).", default="none"),
    ] = None,
    jwt_jwks: Annotated[
        str | None,
        _setting("--jwt-jwks", takes="URL|FILE", words="Public keys of your users' tokens.", default="none"),
    ] = None,
    jwt_algorithms: Annotated[
        list[str] | None,
        _setting("--jwt-algorithms", takes="NAMES", words="Algorithms of tokens.", default="those that fit the key"),
    ] = None,
    jwt_issuer: Annotated[
        str | None, _setting("--jwt-issuer", takes="TEXT", words="Issuer that tokens must name.", default="any")
    ] = None,
    jwt_audience: Annotated[
        str | None, _setting("--jwt-audience", takes="TEXT", words="Audience that tokens must name.", default="any")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings and errors only.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log more.")] = False,
) -> int:
    flags = {name: value for name, value in context.params.items() if name not in ("quiet", "verbose")}
    from parlour.settings import Settings

    settings = Settings.load(**flags)
    if quiet or verbose:
        logging.getLogger("parlour").setLevel(logging.DEBUG if verbose else logging.WARNING)
    from parlour.serve import serve as serve_with

    return serve_with(settings)


@app.command(
    help="Chat in the terminal: a line typed is a message, /help lists what else can be done, Ctrl-D leaves. Lines "
    "from a pipe are said one by one, as they are; with --private, once a stranger is there to hear them."
)
def chat(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="The server. [default: http://127.0.0.1:8000]", show_default=False)
    ] = "http://127.0.0.1:8000",
    private: Annotated[
        bool, typer.Option("--private", help="Meet a stranger in a booth. /next looks for another one.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="What others call you. [default: your login name]")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print each event as one line of JSON, as the server sent it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing about the connection.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colours; NO_COLOR does the same.")] = False,
) -> int:
    from parlour.client.terminal import run

    return run(url, name=name, private=private, as_json=as_json, quiet=quiet, colour=not no_color)


app.add_typer(admin.app, name="admin")
