"""A console at a real gateway, somebody who is signed in as a browser would be, and the events that they are sent."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from skerry.clock import system_clock
from skerry.security.certificates import Role
from skerry.server.console import Admitted, Console, ConsoleRole, Links
from skerry.server.console.sessions import Sessions
from skerry.server.federation_home import FederationHome

from ._federation import Agent, Federation
from ._gateway import Running, Signing, running


@dataclass
class Time:
    """Seconds that a test moves forward."""

    s: float = 0.0

    def __call__(self) -> float:
        return self.s


@dataclass
class Person:
    """A browser's side: its cookie, the page's secret, and what a browser says of where it asks from."""

    url: str
    client: httpx.Client
    csrf: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def own(self) -> dict[str, str]:
        return {"origin": self.url, "sec-fetch-site": "same-origin"}

    def sign_in(self, token: str, **headers: str) -> httpx.Response:
        answer = self.client.post("/v1/console/sign-in", json={"token": token}, headers={**self.own, **headers})
        if answer.status_code == 200:
            self.csrf = answer.json()["csrf"]
        return answer

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(f"/v1/console/{path}", headers={"sec-fetch-site": "same-origin", **headers})

    def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        given = {**self.own, "x-skerry-csrf": self.csrf, **headers}
        return self.client.post(f"/v1/console/{path}", json={} if body is None else body, headers=given)

    @contextmanager
    def events(self, last: str | None = None) -> Iterator[Iterator[dict[str, Any]]]:
        """Each event as ``{"id", "event", "data"}``; comments are left out."""
        headers = {"sec-fetch-site": "same-origin"} | ({} if last is None else {"last-event-id": last})
        with self.client.stream("GET", "/v1/console/events", headers=headers, timeout=180) as answer:
            assert answer.status_code == 200, answer.read()
            assert answer.headers["content-type"].startswith("text/event-stream")
            yield _parsed(answer.iter_lines())


def _parsed(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        if not line:
            if "data" in event:
                yield event
            event = {}
            continue
        name, _, value = line.partition(": ")
        if name:
            event[name] = json.loads(value) if name == "data" else value


@dataclass
class Shown:
    """The gateway, the federation, and how to get in."""

    runs: Path
    gateway: Running
    federation: Federation
    links: Links
    time: Time

    def link(self, role: ConsoleRole = ConsoleRole.OPERATOR, who: str = "ann") -> str:
        return self.links.make(Admitted(who, role))

    def member(self, name: str, role: Role) -> Signing:
        """Somebody with an enrolled key."""
        agent = Agent(name)
        assert self.federation.enrol(agent, role=role, approve=False) is None
        office = self.federation.office
        office.approve(office.find(name), self.federation.authority, by="ann", why="known", now=system_clock())
        return Signing(name, agent.device_key)

    @contextmanager
    def browser(self) -> Iterator[Person]:
        with httpx.Client(base_url=self.gateway.url, verify=self.gateway.trusted, timeout=180) as client:
            yield Person(self.gateway.url, client)

    @contextmanager
    def person(self, role: ConsoleRole = ConsoleRole.OPERATOR, who: str = "ann") -> Iterator[Person]:
        with self.browser() as found:
            assert found.sign_in(self.link(role, who)).status_code == 200
            yield found


@contextmanager
def console(folder: Path, oidc: Any = None) -> Iterator[Shown]:
    """Serve a console over ``folder`` as the folder of runs, until the block ends."""
    federation, time = Federation(folder), Time()
    home = FederationHome(folder)
    home.folder.mkdir()
    (home.folder / "authority").symlink_to(folder / "authority-harbour")
    closing = asyncio.Event()
    made = Console(home, federation.devices, system_clock, closing, sessions=Sessions(time), oidc=oidc)
    loops = []

    def routes(reception):
        loops.append(asyncio.get_running_loop())
        return made.routes(reception)

    with running(folder, devices=federation.devices, desk=federation.desk, console=routes) as gateway:
        try:
            yield Shown(folder, gateway, federation, Links(home.console, system_clock), time)
        finally:
            loops[0].call_soon_threadsafe(closing.set)  # so that nobody's stream is waited for
    federation.devices.close()
