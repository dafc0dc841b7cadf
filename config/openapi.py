"""Settings for drf-spectacular, and a hook that completes the schema.

The hook adds summaries, error responses and the views outside REST framework.
"""

import re
from http import HTTPStatus
from typing import Any

from config.lib import text as texts

SPECTACULAR_SETTINGS = {
    "TITLE": "Employee directory",
    "DESCRIPTION": "Employees of a university network, with names from MAX messenger profiles.",
    "VERSION": "1",
    "CONTACT": {"name": "The maintainers of the directory"},
    "LICENSE": {"name": "MIT", "url": "https://opensource.org/license/mit"},
    "SERVERS": [{"url": "/", "description": "This system"}, {"url": "/api/v1", "description": "The same paths"}],
    "TAGS": [
        {"name": "api", "description": "Log-in"},
        {"name": "employees", "description": "The employees of the directory"},
        {"name": "monitoring", "description": "Reports, alerts and the rollout"},
        {"name": "operations", "description": "Probes and metrics"},
        {"name": "profiles", "description": "The names of MAX users"},
        {"name": "universities", "description": "The universities of the network"},
        {"name": "webhook", "description": "Updates from MAX"},
    ],
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SERVE_AUTHENTICATION": [],
    "COMPONENT_SPLIT_REQUEST": True,
    # Enumerations say nothing about an absent value, which their field's schema allows or not.
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "config.openapi.complete"],
}
_DESCRIPTIONS = {
    "400": "VALIDATION_ERROR: the request is invalid; details name the fields",
    "401": "UNAUTHORIZED: the token is missing or not valid",
    "403": "FORBIDDEN: the user lacks the permission",
    "404": "NOT_FOUND: the object does not exist, or the user may not see it",
    "409": "ALREADY_EXISTS, JOB_RUNNING, APPROVAL_REQUIRED or IDEMPOTENCY_IN_FLIGHT",
    "413": "PAYLOAD_TOO_LARGE: the request body is too large",
    "415": "UNSUPPORTED_MEDIA_TYPE: the body is not JSON",
    "422": "IDEMPOTENCY_MISMATCH: the key has already been used with a different body",
    "429": "RATE_LIMITED: too many requests or log-ins; see Retry-After",
    "503": "UNAVAILABLE: the database is unavailable; see Retry-After",
}


def _object(properties: dict[str, Any], *, is_complete: bool = True) -> dict[str, Any]:
    return {"type": "object", **({"required": list(properties)} if is_complete else {}), "properties": properties}


_STRING, _BOOLEAN = {"type": "string"}, {"type": "boolean"}
_ANY_OBJECT = {"type": "object", "additionalProperties": {}}
_ERROR = _object({"error": _object({"code": _STRING, "message": _STRING, "details": _ANY_OBJECT})})
_STATUS_OK = _object({"status": _STRING | {"enum": ["ok"]}}, is_complete=False)
_STATES = {"status": _STRING | {"enum": ["ok", "degraded", "unavailable"]}, "database": _BOOLEAN, "cache": _BOOLEAN}
_RETRY_AFTER = {"Retry-After": {"description": "seconds", "schema": {"type": "integer"}}}
_REQUEST_ID = {"X-Request-ID": {"description": "the id of this request in the logs", "schema": _STRING}}
_CONFLICTING = ("/employees", "/employees/{id}", "/employees/batch-update-max-id", "/universities")


def _response(schema: dict[str, Any], description: str, content_type: str = "application/json") -> dict[str, Any]:
    return {"description": description, "content": {content_type: {"schema": schema}}}


def _operation(name: str, description: str, responses: dict[str, Any], **more: Any) -> dict[str, Any]:
    tag = "webhook" if name == "webhook_max" else "operations"
    return {"operationId": name, "description": description, "tags": [tag], **more, "responses": responses}


_SECURITY = {
    "monitoringAuth": {"type": "http", "scheme": "bearer", "description": "MONITORING_TOKEN, or the JWT of a user"},
    "webhookSecret": {"type": "apiKey", "in": "header", "name": "X-Max-Bot-Api-Secret"},
}
# A user name or a token without a visible character belongs to nobody; passwords are not cleaned.
_PATTERNS = {
    "username": texts.VISIBLE_PATTERN,
    "refresh": texts.VISIBLE_PATTERN,
    "name": texts.VISIBLE_PATTERN,
    "university_name": f"{texts.EMPTY_PATTERN}|{texts.VISIBLE_PATTERN}",
    "password": r"^[^\x00]*$",
}
_UPDATE = {
    "update_type": "bot_started",
    "timestamp": 1767225600000,
    "chat_id": 1,
    "user": {"user_id": 1, "first_name": "Анна", "last_name": "Иванова", "is_bot": False},
}
_WEBHOOK = _operation(
    "webhook_max",
    'One update of MAX, the legacy shape, or {"updates": [...]} of at most 100.',
    {"200": _response(_STATUS_OK, "stored durably")},
    security=[{"webhookSecret": []}],
    # A body that is not an update is stored too, and quarantined.
    requestBody={"content": {"application/json": {"schema": {}, "example": _UPDATE}}},
)
_READY_RESPONSES = {
    "200": _response(_object(_STATES), "ready; degraded while Redis is unavailable"),
    "503": _response(_object(_STATES), "PostgreSQL is unavailable") | {"headers": _RETRY_AFTER},
}
_OPERATIONS = {
    "/health": _operation(
        "health",
        "Whether the process is up.",
        {"200": _response(_STATUS_OK, "up, even without the databases")},
    ),
    "/ready": _operation("ready", "Whether requests can be served.", _READY_RESPONSES),
    "/metrics": _operation(
        "metrics",
        "Counters and gauges for Prometheus.",
        {"200": _response(_STRING, "the exposition format 0.0.4", "text/plain")},
        security=[{"monitoringAuth": []}],
    ),
}
_WITH_PATTERNS = (
    *("TokenObtainPairRequest", "TokenRefreshRequest", "TokenRevokeRequest", "UniversityRequest"),
    *("EmployeeRequest", "PatchedEmployeeRequest"),
)


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Complete the schema; drf-spectacular calls this hook."""
    result["components"]["schemas"]["Error"] = _ERROR
    result["components"]["securitySchemes"] |= _SECURITY
    for name in _WITH_PATTERNS:
        fields = result["components"]["schemas"][name]["properties"]
        for field in fields.keys() & _PATTERNS.keys():
            fields[field]["pattern"] = _PATTERNS[field]
    result["paths"] |= {path: {"get": operation} for path, operation in _OPERATIONS.items()}
    result["paths"]["/webhook/max"] = {"post": _WEBHOOK}
    for path, operations in result["paths"].items():
        for verb, operation in operations.items():
            _complete_operation(path, verb, operation)
    return result


def _complete_operation(path: str, verb: str, operation: dict[str, Any]) -> None:
    """Add a summary (the first sentence of the description), the error responses, and the common headers."""
    operation["summary"] = re.split(r"\.\s", operation["description"])[0].rstrip(".")
    operation.setdefault("security", [])
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            parameter["allowEmptyValue"] = True
    for status in sorted(_statuses(path, verb, operation)):
        error = _response({"$ref": "#/components/schemas/Error"}, _DESCRIPTIONS[status])
        headers = {"headers": _RETRY_AFTER} if status in ("429", "503") else {}
        operation["responses"].setdefault(status, error | headers)
    for status, response in operation["responses"].items():
        response["description"] = response["description"] or HTTPStatus(int(status)).phrase
        response["headers"] = response.get("headers", {}) | _REQUEST_ID


def _statuses(path: str, verb: str, operation: dict[str, Any]) -> set[str]:
    if path == "/webhook/max":
        return {"401", "413", "415", "503"}
    if path in _OPERATIONS:
        return {"400", "401", "404"} if path == "/metrics" else {"400"}
    is_writing = verb in ("post", "put", "patch")
    causes = {
        "400": True,  # at least for a Host header that is not allowed
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
