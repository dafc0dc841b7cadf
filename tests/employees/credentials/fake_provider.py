"""An OpenID Connect provider on loopback: it signs ID tokens, and checks what the client sends, as Keycloak does."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client
from pytest_django.fixtures import Settings

from config.env import single_sign_on

ID, SECRET = "directory", "a-secret:of/the client"
_KEY = rsa.generate_private_key(65537, 2048)


@dataclass
class FakeProvider:
    issuer: str
    # Claims of the next token beside those of the protocol, which they replace.
    claims: dict[str, Any] = field(default_factory=dict)
    signing_key: Any = _KEY
    algorithm: str = "RS256"
    key_id: str = "1"
    status: int = 200
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    configured_issuer: str = ""
    requests: list[str] = field(default_factory=list)

    def answer(self, path: str, body: dict[str, str]) -> tuple[int, Any]:
        self.requests.append(path)
        if self.status != 200:
            return self.status, {"error": "temporarily_unavailable"}
        if path == "/realm/.well-known/openid-configuration":
            return 200, {
                "issuer": self.configured_issuer or self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        if path == "/realm/keys":
            public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_KEY.public_key()))
            return 200, {"keys": [public | {"kid": "1", "alg": "RS256", "use": "sig"}]}
        assert path == "/realm/token", path
        asked = self.codes.pop(body["code"], None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(body["code_verifier"].encode()).digest()).decode().rstrip("=")
        if not asked or digest != asked["code_challenge"] or body["redirect_uri"] != asked["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        if (body["client_id"], body["client_secret"]) != (ID, SECRET):
            return 401, {"error": "invalid_client"}
        return 200, {"access_token": "opaque", "token_type": "Bearer", "id_token": self.id_token()}

    def id_token(self) -> str:
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": ID, "sub": "u-1", "iat": now, "exp": now + 60} | self.claims
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.signing_key, self.algorithm, headers={"kid": self.key_id})

    def log_in(self, client: Client, next_url: str = "", **claims: Any) -> Any:
        """Log in at the provider as a browser does; return the answer to its return."""
        self.claims = claims
        started = client.post("/admin/login/sso/", {"next": next_url})
        assert started.status_code == 302, started.content.decode()
        return client.get(self.authorize(started["Location"]))

    def authorize(self, address: str) -> str:
        """Return the address to which the provider sends the browser back."""
        asked = dict(parse_qsl(urlsplit(address).query))
        assert address.startswith(f"{self.issuer}/authorize?")
        assert (asked["client_id"], asked["response_type"], asked["code_challenge_method"]) == (ID, "code", "S256")
        assert set(asked["scope"].split()) == {"openid", "profile", "email"}
        code = secrets.token_hex(8)
        self.codes[code] = asked
        back = urlsplit(asked["redirect_uri"])
        return f"{back.path}?code={code}&state={asked['state']}"


@contextmanager
def fake_provider(settings: Settings) -> Iterator[FakeProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, body: dict[str, str]) -> None:
            status, answer = provider.answer(urlsplit(self.path).path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider = FakeProvider(f"http://127.0.0.1:{server.server_port}/realm")
    settings.OIDC_ISSUER = provider.issuer
    settings.SOCIALACCOUNT_PROVIDERS = single_sign_on(provider.issuer, ID, SECRET, ["openid", "profile", "email"])
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
