"""What drf-spectacular cannot see: the errors of every operation, and what is no view of REST framework."""

from typing import Any

SPECTACULAR_SETTINGS = {
    "TITLE": "Employee directory",
    "DESCRIPTION": "Employees of a university network, named from MAX messenger's webhook profiles.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "config.openapi.describe_the_rest",
    ],
}
_MEANINGS = {
    "400": "VALIDATION_ERROR: the request makes no sense; details name the fields",
    "401": "UNAUTHORIZED: no token, or one that is no longer good",
    "403": "FORBIDDEN: not for this role",
    "404": "NOT_FOUND: nothing there, or nothing that this user may see",
    "409": "ALREADY_EXISTS, JOB_RUNNING or IDEMPOTENCY_IN_FLIGHT",
    "413": "PAYLOAD_TOO_LARGE: above 256 KiB at the webhook, 2.5 MB elsewhere",
    "415": "UNSUPPORTED_MEDIA_TYPE: JSON is spoken here",
    "422": "IDEMPOTENCY_MISMATCH: this key came with another body before",
    "429": "RATE_LIMITED: too many requests, or log-ins; see Retry-After",
    "503": "UNAVAILABLE: the database does not answer; see Retry-After",
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "details"],
            "properties": {
                "code": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "object", "additionalProperties": {}},
            },
        }
    },
}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_CONFLICTING = ("/employees", "/employees/{id}", "/employees/batch-update-max-id", "/universities")
_STATUS_OK = {"type": "object", "properties": {"status": {"type": "string", "enum": ["ok"]}}}
_WEBHOOK = {
    "post": {
        "operationId": "webhook_max",
        "description": 'One Update of the messenger, the legacy shape, or {"updates": [...]} of at most 100.',
        "tags": ["webhook"],
        "parameters": [{"name": "X-Max-Bot-Api-Secret", "in": "header", "schema": {"type": "string"}}],
        "requestBody": {"content": {"application/json": {"schema": {"type": "object", "additionalProperties": {}}}}},
        "responses": {
            "200": {
                "description": "stored durably",
                "content": {"application/json": {"schema": _STATUS_OK}},
            }
        },
    }
}

# Open to everybody, but for the metrics in production; 503 of /ready says more than an error does.
_READY = {
    "type": "object",
    "required": ["status", "database", "cache"],
    "properties": {
        "status": {"type": "string", "enum": ["ok", "degraded", "unavailable"]},
        "database": {"type": "boolean"},
        "cache": {"type": "boolean"},
    },
}


def _described(content_type: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {content_type: {"schema": schema}}}


_JSON = "application/json"
_OPERATIONS = {
    "/health": {
        "get": {
            "operationId": "health",
            "description": "Whether the process is up.",
            "tags": ["operations"],
            "responses": {"200": _described(_JSON, _STATUS_OK, "up, whatever the databases do")},
        }
    },
    "/ready": {
        "get": {
            "operationId": "ready",
            "description": "Whether requests can be served.",
            "tags": ["operations"],
            "responses": {
                "200": _described(_JSON, _READY, "ready; degraded while Redis does not answer"),
                "503": _described(_JSON, _READY, "PostgreSQL does not answer") | {"headers": _RETRY_AFTER},
            },
        }
    },
    "/metrics": {
        "get": {
            "operationId": "metrics",
            "description": "Counters and gauges for Prometheus; in production with the monitoring token.",
            "tags": ["operations"],
            "security": [{"monitoringAuth": []}, {}],
            "responses": {"200": _described("text/plain", {"type": "string"}, "the exposition format 0.0.4")},
        }
    },
}


def describe_the_rest(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Add the errors that each operation may answer with, and what is no view. A hook of drf-spectacular."""
    result["components"]["schemas"]["Error"] = _ERROR
    result["paths"] |= _OPERATIONS | {"/webhook/max": _WEBHOOK}
    for path, operations in result["paths"].items():
        for verb, operation in operations.items():
            for status in sorted(_statuses(path, verb, operation)):
                operation["responses"].setdefault(status, _answer(status))
    return result


def _statuses(path: str, verb: str, operation: dict[str, Any]) -> set[str]:
    if path == "/webhook/max":
        return {"401", "413", "415", "503"}
    if path in _OPERATIONS:
        return {"401"} if path == "/metrics" else set()
    is_writing = verb in ("post", "put", "patch")
    causes = {
        "400": is_writing or "parameters" in operation,
        "401": True,
        "403": not path.startswith("/api/token"),
        "404": "{" in path or path.startswith("/monitoring"),
        "409": is_writing and (path in _CONFLICTING or path.startswith("/monitoring/rollout/")),
        "413": is_writing,
        "415": is_writing,
        "422": (path, verb) == ("/employees", "post"),
        "429": True,
        "503": True,
    }
    return {status for status, is_possible in causes.items() if is_possible}


def _answer(status: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if status in ("429", "503"):
        answer["headers"] = _RETRY_AFTER
    return answer
