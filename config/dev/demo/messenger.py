"""A simulated MAX for the demo: its direct API with switchable faults, and the traffic of people and of an HR service.

The page at / shows the switches; ``POST /switch/direct_api/slow`` sets one from a terminal. The demo's supervisor
passes the options as JSON in the environment variable DEMO_MESSENGER.
"""

import html
import json
import os
import random
import secrets
import threading
import time
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests

from config.dev.demo.people import Person, person, person_of
from config.dev.demo.updates import update_of

TOKEN, PUBLIC_URL = "demo-bot-token", "https://directory.example/webhook/max"
SWITCHES = {
    "direct_api": ("healthy", "slow", "failing", "disagreeing"),
    "names": ("right", "wrong"),
    "traffic": ("calm", "busy", "off"),
}
SCENES: dict[str, dict[str, str]] = {"calm": {}, "incident": {"names": "wrong", "traffic": "busy"}}
INCIDENT_AFTER = 45.0
_TITLES = {
    "direct_api": "Прямой API · direct API",
    "names": "Имена в обновлениях · names in updates",
    "traffic": "Обращения · traffic",
    "healthy": "исправен · healthy",
    "slow": "отвечает 4 с · slow",
    "failing": "ошибка 503 · failing",
    "disagreeing": "другие фамилии · disagreeing",
    "right": "верные · right",
    "wrong": "каждая вторая фамилия чужая · wrong",
    "calm": "обычные · calm",
    "busy": "два сотрудника в секунду · busy",
    "off": "нет · off",
}
_SLOW_SECONDS = 4.0
# Seconds between updates and between new employees.
_PACES = {"calm": (2.0, 6.0), "busy": (0.25, 0.5)}
_PAGE = """<!doctype html><html lang="ru"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>MAX</title><style>:root{{color-scheme:light dark}}body{{font:16px system-ui;max-width:40rem;margin:2rem auto;
padding:0 1rem}}button{{font:inherit;padding:.4rem .8rem;margin:.2rem}}[aria-pressed=true]{{font-weight:700;
outline:2px solid}}</style><h1>MAX · demo</h1>{groups}</html>"""


class Messenger(ThreadingHTTPServer):
    """The HTTP server of the simulated MAX, with the state of its switches and the number of people hired so far.

    The file ``state`` stores this number, so that a restart continues from it.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], state: Path, hired: int = 0) -> None:
        super().__init__(address, _Handler)
        self.switches = {name: values[0] for name, values in SWITCHES.items()}
        self.state = state
        self.hired = int(state.read_text()) if state.exists() else hired

    def count_hired(self) -> None:
        self.hired += 1
        self.state.write_text(str(self.hired))

    def page(self) -> str:
        groups = ""
        for name, values in SWITCHES.items():
            buttons = "".join(
                f'<form method="post" action="/switch/{name}/{value}" style="display:inline">'
                f'<button aria-pressed="{str(self.switches[name] == value).lower()}">{_TITLES[value]}</button></form>'
                for value in values
            )
            groups += f"<h2>{html.escape(_TITLES[name])}</h2><p>{buttons}</p>"
        return _PAGE.format(groups=groups)

    def find(self, phones: list[str]) -> dict[str, Any]:
        """Return the direct API's response for these phones.

        If the API is switched to “disagreeing”, every second person gets another last name.
        """
        users, failed = [], []
        for phone in phones:
            found = person_of(phone)
            name = found.direct_name if found else None
            if found is None or name is None:
                failed.append(phone)
                continue
            if self.switches["direct_api"] == "disagreeing" and found.number % 2:
                name = found.other_name()
            user = {"user_id": int(found.user_id), "first_name": name[0], "last_name": name[1], "is_bot": False}
            users.append(user | {"phone_number": phone.lstrip("+")})
        return {"users": users, "failed_phone_numbers": failed}


class _Handler(BaseHTTPRequestHandler):
    server: Messenger
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path == "/":
            self._reply(HTTPStatus.OK, self.server.page(), "text/html; charset=utf-8")
        elif self.path.startswith("/subscriptions"):
            since = int(time.time() * 1000)
            self._reply(HTTPStatus.OK, {"subscriptions": [{"url": PUBLIC_URL, "time": since, "update_types": None}]})
        else:
            self._reply(HTTPStatus.NOT_FOUND, {"code": "not.found", "message": "Path not found"})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        _, kind, *rest = self.path.split("/")
        if kind == "switch" and len(rest) == 2 and rest[1] in SWITCHES.get(rest[0], ()):
            self.server.switches[rest[0]] = rest[1]
            self._reply(HTTPStatus.SEE_OTHER, self.server.switches, Location="/")
        elif self.path == "/internal/users":
            self._find(sent)
        else:
            self._reply(HTTPStatus.NOT_FOUND, {"code": "not.found", "message": "Path not found"})

    def _find(self, sent: bytes) -> None:
        mode = self.server.switches["direct_api"]
        if self.headers["Authorization"] != TOKEN:
            self._reply(HTTPStatus.UNAUTHORIZED, {"code": "verify.token", "message": "Invalid access_token"})
        elif mode == "failing":
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE, {"code": "service.unavailable", "message": "Try later"})
        else:
            time.sleep(_SLOW_SECONDS if mode == "slow" else random.uniform(0.05, 0.15))  # noqa: S311 (a pause)
            self._reply(HTTPStatus.OK, self.server.find(json.loads(sent)["phone_numbers"]))

    def _reply(self, status: HTTPStatus, body: Any, kind: str = "application/json", **headers: str) -> None:
        content = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log no requests."""


class Traffic:
    """Simulate people who write to the bot and an HR service that hires people, over the system's public HTTP API."""

    def __init__(self, messenger: Messenger, url: str, secret: str, key: str, universities: list[int]) -> None:
        self.messenger, self.url, self.universities = messenger, url, universities
        self.webhook_headers = {"X-Max-Bot-Api-Secret": secret}
        self.api_headers = {"Authorization": f"Api-Key {key}"}
        self.session = requests.Session()
        # The people whose last update had a wrong name.
        self.wrong: list[int] = []

    def run(self) -> None:
        next_update = next_hire = time.monotonic()
        while True:
            pace = _PACES.get(self.messenger.switches["traffic"])
            now = time.monotonic()
            try:
                if pace and now >= next_update:
                    next_update = now + pace[0]
                    self.write(self._writer())
                if pace and now >= next_hire:
                    next_hire = now + pace[1]
                    self.hire()
            except requests.RequestException as error:
                print(f"{type(error).__name__}: the system does not answer", flush=True)  # noqa: T201 (the log)
                time.sleep(2)
            time.sleep(0.05)

    def _writer(self) -> Person:
        """Return the person who writes the next update.

        When names are switched from wrong to right, the people whose last update had a wrong name write first.
        """
        if self.wrong and self.messenger.switches["names"] == "right":
            return person(self.wrong.pop())
        who = person(random.randrange(self.messenger.hired))  # noqa: S311 (no secret)
        return who if who.writes else self._writer()

    def write(self, who: Person) -> None:
        name = None
        if self.messenger.switches["names"] == "wrong" and who.number % 2:
            name = who.other_name()
            self.wrong.append(who.number)
        update = update_of(
            who, "message_created", datetime.now(UTC), secrets.token_hex(10), text="Здравствуйте", name=name
        )
        self.session.post(f"{self.url}/webhook/max", json=update, headers=self.webhook_headers, timeout=10)

    def hire(self) -> None:
        """Hire the next person: send an update from them, if they use the bot, then create the employee."""
        who = person(self.messenger.hired)
        self.messenger.count_hired()
        if who.writes:
            self.write(who)
            time.sleep(0.3)
        body: dict[str, Any] = {"phone": who.phone, "university_id": self.universities[who.university]}
        if who.account and who.number % 3:
            body["max_id"] = who.user_id
        self.session.post(f"{self.url}/employees", json=body, headers=self.api_headers, timeout=15)


def start_scene(messenger: Messenger, scene: str) -> None:
    """Set the switches for the scene, which is “calm” or “incident”.

    In an incident, wrong names begin only after INCIDENT_AFTER seconds, so that the normal state can be seen first.
    """
    changes = SCENES[scene]
    messenger.switches["traffic"] = changes.get("traffic", "calm")
    if "names" in changes:
        time.sleep(INCIDENT_AFTER)
        messenger.switches["names"] = changes["names"]


def main(options: dict[str, Any]) -> None:
    messenger = Messenger((options["host"], options["port"]), Path(options["state"]), options["employees"])
    threading.Thread(target=messenger.serve_forever, daemon=True).start()
    threading.Thread(target=start_scene, args=[messenger, options["scene"]], daemon=True).start()
    Traffic(messenger, options["url"], options["secret"], options["key"], options["universities"]).run()


if __name__ == "__main__":
    main(json.loads(os.environ["DEMO_MESSENGER"]))
