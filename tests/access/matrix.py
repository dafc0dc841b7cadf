"""Who may do what: one row per route and verb of the admin and the API, and the roles that it is checked for.

A role is a letter. Capital letters have no membership: **P**lain user, **S**taff without a group, **V**iewer,
**O**perator, rollout **M**anager, **D**ata protection officer, **C**urator, group super**A**dmin, and **R**oot, a
superuser. The same letters in lower case have a membership of the own university. ``-`` is anonymous, ``i`` inactive.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

UNLIMITED, LIMITED, LOGGED_OUT = "PSVOMDCAR", "vomdca", "-i"
ROLES = LOGGED_OUT + UNLIMITED + LIMITED
GROUPS = {
    "V": "viewer",
    "O": "operator",
    "M": "rollout_manager",
    "D": "data_protection_officer",
    "C": "curator",
    "A": "superadmin",
}
ALL = "VOMD"


@dataclass(frozen=True)
class Row:
    """A verb of a route, and the roles that it is for.

    ``may`` are the roles that are allowed everything, ``own`` those that are allowed rows of their university, to which
    other rows look unknown, as all rows do to those in ``none``. Others get ``refused``. With ``writes``, a request
    that is allowed changes the database. With ``hides``, rows out of scope look unknown even to who may see none.
    """

    path: str
    verb: str
    may: str
    own: str = ""
    none: str = ""
    ok: int = 200
    refused: int = 403
    unknown: int = 404
    logged_out: int = 401
    body: dict[str, Any] = field(default_factory=dict)
    hides: bool = False
    writes: bool = False

    @property
    def is_admin(self) -> bool:
        return self.path.startswith("admin/")

    def filled_in(self, ids: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """Return the address and the body of the request with these ids."""
        body = {name: value.format_map(ids) if isinstance(value, str) else value for name, value in self.body.items()}
        return f"/{self.path.format_map(ids)}", body

    def expected(self, role: str, *, is_foreign: bool) -> int:
        is_refused = self.is_admin and role == "P" and role not in self.may and self.logged_out == 302
        if role in LOGGED_OUT or is_refused:
            return self.logged_out
        if role in self.may:
            return self.ok
        if role in self.own:
            return self.unknown if is_foreign else self.ok
        is_hidden = self.hides and (role == "C" or (is_foreign and role in LIMITED))
        return self.unknown if role in self.none or is_hidden else self.refused


def admin(path: str, may: str, verbs: str = "get", **more: Any) -> list[Row]:
    """Return rows of a page of the admin. Roles with a membership may as without, if their letters are in ``may``."""
    more = {"unknown": 302, "logged_out": 302} | more
    return [Row(f"admin/{path}", verb, f"{may}R", **more) for verb in verbs.split()]


@dataclass(frozen=True)
class Table:
    """A table in the admin: the roles for each permission, ``!`` for not even root, and what a membership does.

    ``own`` limits members to rows of their university, ``whole`` refuses them, ``shared`` is the same for them.
    """

    view: str = ""
    add: str = ""
    change: str = ""
    delete: str = ""
    kind: str = "shared"
    members_may: str = "view add change delete"

    def roles(self, permission: str, *others: str) -> tuple[str, str]:
        """Return the roles that may without limits, and those that may for their own rows."""
        letters = "".join(sorted({*"".join(getattr(self, name) for name in (permission, *others))}))
        unlimited = "" if letters == "!" else letters.replace("!", "") + "R"
        has_members = self.kind != "whole" and permission in self.members_may
        members = "".join(letter for letter in unlimited.lower() if letter in LIMITED) if has_members else ""
        return (unlimited, members) if self.kind == "own" else (unlimited + members, "")

    def rows(self, label: str) -> Iterator[Row]:
        page = f"admin/{label.replace('.', '/')}/"
        common: dict[str, Any] = {"unknown": 302, "logged_out": 302}
        one = page + "{" + label.partition(".")[2] + "}/"
        may, own = self.roles("view", "change")
        for verb in ("get", "post"):
            yield Row(page, verb, may + own, **common)
            added, added_own = self.roles("add")
            yield Row(f"{page}add/", verb, added + added_own, **common)
            deleted, deleted_own = self.roles("delete")
            yield Row(f"{one}delete/", verb, deleted, deleted_own, **common)
        changed, changed_own = self.roles("change")
        yield Row(f"{one}change/", "get", may, own, **common)
        yield Row(f"{one}change/", "post", changed, changed_own, **common)
        yield Row(f"{one}history/", "get", may, own, hides=self.kind == "own", **common)
        # A curator without a membership sees no university, and so no page about all of them.
        everybody = ROLES if self.kind != "whole" else UNLIMITED.replace("C", "")
        yield Row(one, "get", everybody, ok=302, **common)


TABLES = {
    "employees.employee": Table(ALL, "O", "O", "", "own"),
    "employees.university": Table(ALL, "O", "O", "", "own", members_may="view"),
    "employees.backfillrun": Table(ALL, "OM", "!", "!", "own"),
    "employees.unresolvedname": Table(ALL, "!", "!", "!", "own"),
    "employees.membership": Table(kind="whole"),
    "employees.maxidjob": Table(ALL, "!", "!", "!", "whole"),
    "profiles.profile": Table(ALL, "", "", "D", "own"),
    "profiles.phonelink": Table("D", "!", "!", "D", "whole"),
    "profiles.erasure": Table("D", "!", "!", "!", "whole"),
    "profiles.comparison": Table(ALL, "!", "!", "!", "whole"),
    "webhooks.inboxupdate": Table(ALL, "!", "!", "!", "whole"),
    "webhooks.duplicatedelivery": Table(ALL, "!", "!", "!", "whole"),
    "webhooks.replay": Table("OMD", "!", "!", "!", "whole"),
    "webhooks.payloadaccess": Table("D", "!", "!", "!", "whole"),
    "rollout.universityrule": Table(ALL, "M", "M", "M", "own"),
    "rollout.change": Table(ALL, "!", "!", "!", "own"),
    # Of rows of the rollout, which even root may not delete.
    "rollout.flag": Table(ALL, "", "M", "!", members_may="view"),
    "waffle.switch": Table(ALL, "", "M", "!", members_may="view"),
    "waffle.sample": Table(members_may="view"),
    "rollout.approval": Table(ALL, "!", "!", "!", "own"),
    "rollout.plan": Table(ALL, "!", "!", "!"),
    "rollout.heartbeat": Table(ALL, "!", "!", "!"),
    "monitoring.gatecheck": Table(ALL, "!", "!", "!"),
    "monitoring.roundtrip": Table(ALL, "!", "!", "!"),
    "monitoring.alert": Table(ALL, "!", "!", "!"),
    "monitoring.signature": Table(ALL, "M", "!", "", members_may="view"),
    "credentials.apikey": Table("R", change="!", delete="!", kind="whole"),
    "auth.user": Table(delete="!", kind="whole"),
    "auth.group": Table(kind="whole"),
}
# What the rows of a table cannot say: the form is valid although it is empty, or the page of an unknown row differs.
EXCEPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("admin/employees/employee/{employee}/history/", "get"): {"unknown": 404},
    ("admin/employees/university/{university}/history/", "get"): {"unknown": 404},
    ("admin/profiles/profile/{profile}/change/", "post"): {"ok": 302},
    ("admin/profiles/profile/{profile}/delete/", "post"): {"ok": 302},
}
_STAFF = "SVOMDCAvomdca"
_SEE = "VOMDvomd"
_REASON = {"reason": "r"}

PAGES = [
    *admin("", _STAFF),
    *admin("login/", ROLES.replace("P", ""), ok=302, refused=200, logged_out=200),
    *admin("login/code/", ROLES, "get post", ok=302, logged_out=302),
    *admin("login/sso/", ROLES, "post", ok=404, logged_out=404),
    *admin("login/sso/callback/", ROLES, ok=404, logged_out=404),
    *admin("second-factor/", "P" + _STAFF),
    *admin("second-factor/set-up/", "P" + _STAFF, ok=302),
    *admin("second-factor/password/", "P" + _STAFF, "get post"),
    *admin("second-factor/code/", "P" + _STAFF, "get post", ok=302),
    *admin("second-factor/remove/", "P" + _STAFF, ok=404),
    *admin("second-factor/recovery-codes/", "P" + _STAFF, ok=404),
    *admin("second-factor/new-codes/", "P" + _STAFF, ok=302),
    *admin("language/", ROLES, "post", ok=302, logged_out=302),
    *admin("logout/", _STAFF, "post", logged_out=302),
    *admin("password_change/", _STAFF, "get post"),
    *admin("password_change/done/", _STAFF),
    *admin("jsi18n/", _STAFF),
    *admin("credentials/apikey/{apikey}/revoke/", "", unknown=404, none="Cvomdca"),
    *admin("credentials/apikey/{apikey}/revoke/", "", "post", ok=302, unknown=404, none="Cvomdca", writes=True),
    *admin("search/?s=a", _STAFF),
    *admin("employees/", _SEE, refused=404),
    *admin("r/{content_type}/{employee}/", "", refused=404, ok=404),
    *admin("nowhere/", "", refused=404, ok=404),
    *admin("autocomplete/?app_label=employees&model_name=employee&field_name=university&term=", _SEE),
    *admin("autocomplete/?app_label=employees&model_name=membership&field_name=user&term=", ""),
    *admin("live/home/", _SEE),
    *admin("live/rollout/", _SEE),
    *admin("live/cache/", _SEE),
    *admin("rollout/", _SEE),
    *admin("steer/3/", "M", "get post"),
    *admin("steer/3/preview/?percent=50", _SEE),
    *admin("steer/pause/", "M", "get post"),
    *admin("steer/resume/", "M", "get post"),
    *admin("steer/plan/", "M", "get post"),
    *admin("steer/on-breach/", "M", "get post"),
    *admin("steer/rehearsal/", "Mm", "get post"),
    *admin("steer/plan/{plan}/cancel/", "M", "post", ok=302, writes=True),
    *admin("approvals/{approval}/", "M", "get post", own="m", unknown=404),
    *admin("rollout/check/", "M", ok=302),
    *admin("rollout/check/", "M", "post", ok=302, writes=True),
    *admin("emergency/", "OMom", "get post"),
    *admin("comparisons/", ALL),
    *admin("checklist/", _SEE),
    *admin("checklist/", "M", "post", ok=302),
    *admin("checklist/items/", _SEE),
    *admin("sources/", ALL),
    *admin("sources.csv", ALL, writes=True),
    *admin("cache/", _SEE),
    *admin("audit/", "OMD"),
    *admin("person/", "OMDomd"),
    *admin("person/", "OMDomd", "post", body={"who": "+12025550100"}, writes=True),
    *admin("person/export/", "D", "post", own="d", body={"phone": "{phone}"}, writes=True),
    *admin("employees/employee/import/", "Oo", "get post"),
    *admin("employees/employee/import/template.csv", "Oo"),
    *admin("employees/employee/process_import/", "Oo", "post"),
    *admin("employees/employee/export/", "ODod", "get post"),
    *admin("employees/employee/{employee}/history/1/", "", refused=404, ok=404),
    *admin("employees/university/{university}/history/1/", "", refused=404, ok=404),
    *admin("employees/backfillrun/add/preview/", "OMom"),
    *admin("comparisons/{comparison}/person/", "OMD", ok=302),
    *admin("employees/backfillrun/{backfillrun}/progress/", ALL, own="vomd", unknown=404, refused=404),
    *admin("employees/backfillrun/{backfillrun}/do/undo/", "OM", "get post", own="om", unknown=404, hides=True),
    *admin("webhooks/inboxupdate/dead-letters/", ALL),
    *admin("webhooks/inboxupdate/replay/?state__exact=dead", "OM", "get post"),
    *admin("webhooks/inboxupdate/{inboxupdate}/replay-one/", "OM", ok=302),
    *admin("webhooks/inboxupdate/{inboxupdate}/raw-body/", "D", "get"),
    *admin("webhooks/inboxupdate/{inboxupdate}/raw-body/", "D", "post", body=_REASON, writes=True),
    *admin("webhooks/replay/{replay}/progress/", "OMD"),
    *admin("webhooks/replay/{replay}/cancel/", "OM", "get post"),
    *admin("monitoring/alert/{alert}/answer/acknowledge/", "OM"),
    *admin("monitoring/alert/{alert}/answer/acknowledge/", "OM", "post", ok=302, writes=True),
    *admin("auth/user/{user}/password/", "", "get post"),
]
_NEW = {"phone": "+12025550199", "first_name": "А", "last_name": "Б", "university_id": "{university}"}
# The directory's roles: a curator or operator without a membership sees nothing, a superadmin with one sees its own.
_READERS: dict[str, Any] = {"may": "AR", "own": "oca", "none": "OC"}
_WRITERS: dict[str, Any] = {"may": "AR", "own": "ca", "none": "C"}
_LIST: dict[str, Any] = {"may": "ARoOcCa"}
_PROFILES = "VOMDCARvomdca"

API = [
    Row("employees", "get", **_LIST),
    Row("employees/all", "get", **_LIST),
    Row("employees", "post", **_WRITERS, ok=201, unknown=400, body=_NEW, writes=True),
    Row("employees/{employee}", "get", **_READERS),
    Row("employees/{employee}", "put", **_WRITERS, body={"phone": "{phone}", "first_name": "Я"}, writes=True),
    Row("employees/{employee}", "patch", **_WRITERS, body={"last_name": "Я"}, writes=True),
    Row("employees/{employee}", "delete", **_WRITERS, ok=204, writes=True),
    Row("employees/by-max-id/{profile}", "get", **_READERS),
    Row("employees/batch-update-max-id", "post", "AR", ok=202, writes=True),
    Row("employees/batch-jobs", "get", "AR"),
    Row("employees/batch-jobs/{maxidjob}", "get", "AR"),
    Row("universities", "get", **_LIST),
    Row("universities", "post", "AR", ok=201, body={"name": "Новый"}, writes=True),
    # Other people look unknown, which is a 200 for a reader.
    Row("profiles/{profile}", "get", _PROFILES, writes=True),
    Row("profiles/stats", "get", _PROFILES),
    Row("profiles/{profile}", "put", "AR", "a", body={"max_first_name": "А"}, writes=True),
    Row("profiles/{profile}/name", "post", "AR", "a", body={"name": "Анна"}, writes=True),
    Row("profiles/{profile}", "delete", "ADR", "ad", ok=204, writes=True),
    Row("api/token", "post", ROLES, ok=400, logged_out=400),
    Row("api/token/refresh", "post", ROLES, ok=400, logged_out=400),
    Row("api/token/revoke", "post", ROLES, ok=400, logged_out=400),
    *(Row(path, "get", ROLES, logged_out=200) for path in ("health", "ready", "openapi.json", "swagger")),
    *(Row(path, "get", ROLES, ok=302, logged_out=302) for path in ("admin", "")),
    Row("nowhere", "get", ROLES, ok=404, logged_out=404),
    Row("metrics", "get", "", refused=401),
    *(
        Row(f"monitoring/{path}", "get", f"{_SEE}R")
        for path in (
            "profiles/coverage", "profiles/quality", "webhook/stats", "cache-health", "profile-stats", "health",
            "webhook-stats", "rollout", "alerts",
        )
    ),
    *(
        Row(f"monitoring/rollout/{name}", "post", "MRm", ok=400)
        for name in ("set", "advance", "pause", "resume", "plan", "cancel")
    ),
    Row("monitoring/rollout/approvals", "get", f"{_SEE}R"),
    Row("monitoring/rollout/approvals/{approval}/approve", "post", "MRm", ok=400),
    Row("monitoring/rollout/approvals/{approval}/refuse", "post", "MRm", ok=400),
    Row("monitoring/rollout/pause", "post", "MR", body=_REASON, writes=True),
    Row("monitoring/backfill", "get", f"{ALL}R", own="vomd"),
    Row("monitoring/backfill", "post", "OMRom", ok=400),
    *(Row(f"monitoring/backfill/{name}", "post", "OMRom", ok=400) for name in ("pause", "resume", "undo")),
    Row("monitoring/rollout/emergency", "post", "OMRom", ok=400),
]  # fmt: skip


def all_rows() -> list[Row]:
    tables = [row for label, table in TABLES.items() for row in table.rows(label)]
    return [*(replace(row, **EXCEPTIONS.get((row.path, row.verb), {})) for row in tables), *PAGES, *API]
