"""Serve the OpenAPI schema from the file that ``make openapi`` writes: generating it takes a tenth of a second."""

import gzip
import hashlib
import re
from functools import cache

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_vary_headers
from django.views.decorators.http import condition

from config.lib.http import errors


@cache
def _content(*, is_compressed: bool) -> tuple[bytes, str]:
    """Return the body and its ETag; both are computed once in each process."""
    body = (settings.BASE_DIR / "openapi.json").read_bytes()
    body = gzip.compress(body, mtime=0) if is_compressed else body
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'


def _accepts_gzip(request: HttpRequest) -> bool:
    """Return whether Accept-Encoding lists gzip or ``*`` with a non-zero weight (RFC 9110, 12.5.3)."""
    weights = {}
    for item in request.headers.get("Accept-Encoding", "").lower().split(","):
        name, *parameters = item.split(";")
        pairs = (parameter.partition("=") for parameter in parameters)
        weights[name.strip()] = next((value.strip() for key, _, value in pairs if key.strip() == "q"), "1")
    weight = weights.get("gzip", weights.get("x-gzip", weights.get("*", "0")))
    return re.fullmatch(r"0(?:\.0*)?", weight) is None


def _etag(request: HttpRequest) -> str:
    return _content(is_compressed=_accepts_gzip(request))[1]


@errors.read_only
@condition(etag_func=_etag)
def schema(request: HttpRequest) -> HttpResponse:
    is_compressed = _accepts_gzip(request)
    headers = {"Cache-Control": "public, max-age=300"} | ({"Content-Encoding": "gzip"} if is_compressed else {})
    response = HttpResponse(
        _content(is_compressed=is_compressed)[0], content_type="application/vnd.oai.openapi+json", headers=headers
    )
    patch_vary_headers(response, ["Accept-Encoding"])
    return response
