"""List the messages that this release no longer writes, but that rows of the previous release still contain.

Such rows are plans, audit rows, gate checks, readings and alerts. No code uses the list: it only keeps the messages in
the translation files.
"""

from django.utils.translation import gettext_lazy as _

FORMER_MESSAGES = (
    _("Saved by code without a reason"),
    _("Deleted without a reason"),
    _("not checked yet since the resume"),
    _("no updates since the resume"),
    _("no updates processed since the resume"),
    _("%(n)d of %(wanted)d lookups through the cache since the resume"),
    _("no new alerts since the resume; older alerts still open: %(count)d"),
    _("no university has a conspicuous share of wrong names"),
    _("Sentinel does not know a primary server"),
    _("The emergency stop is on: only a resume ends it."),
    _(
        "PostgreSQL has not answered in time, so it is unknown whether the change was stored. Check before you repeat"
        " it."
    ),
    _(
        "PostgreSQL has returned to an older state: rollout revision %(revision)s, it was %(revision_before)s; last"
        " erasure %(erasures)s, it was %(erasures_before)s"
    ),
    _(
        "PostgreSQL has returned to an older state: rollout revision %(revision)s, it was %(revision_before)s; last"
        " erasure %(erasures)s, it was %(erasures_before)s. Check the switches and repeat the erasures, as the runbook"
        " describes."
    ),
    _("updates arrive, the last one %(ago)s"),
    _("no evidence against the cache (n = %(n)s)"),
    _("TLS to %(host)s failed: set MAX_API_CA_BUNDLE to a file with its root certificate"),
    _("WEBHOOK_SECRET is not set: anyone could send updates in MAX's name"),
    _("Dropped: planned at revision %(then)d, the rollout is at %(now)d"),
    _("agreement at most %(agreement)s, conflicts at least %(conflicts)s (n = %(n)s)"),
    _("lookups without a name: at least %(mine)s by the cache, at most %(theirs)s by the direct API"),
    _(
        "Another change is in progress: PostgreSQL process %(pid)d (%(name)s, %(state)s) has held the lock for"
        " %(seconds)d s. “SELECT pg_terminate_backend(%(pid)d)” ends it."
    ),
    _(
        "PostgreSQL process %(pid)s (%(application)s, %(state)s) has held a lock for %(seconds)s s."
        " “SELECT pg_terminate_backend(%(pid)s)” ends it."
    ),
    _("An unknown person was looked up"),
    _("A person was looked up over the API"),
    _("Names of a person were changed over the API"),
    _("%(message)s, in %(passed)d of %(wanted)d checks in a row"),
    _("no updates for %(minutes)d min of working time; checked again in working hours"),
    _("%(n)d lookups by the cache, %(unnamed)d without a name"),
    _("%(n)d lookups through the cache, %(unnamed)d without a name (share ≥ %(bound)s, lower bound)"),
    _("%(n)d lookups through the cache, %(unnamed)d without a name"),
    _("lookups without a name: cache ≥ %(mine)s (lower bound), direct API ≤ %(theirs)s (upper bound)"),
    _("Cancelled by an emergency rollback"),
    _("%(n)d of %(wanted)d lookups by the cache since the step"),
    _("p95 %(mine)s ms by the cache, %(theirs)s ms by the direct API"),
    _("alerts were not checked recently: is the worker running?"),
    _("the direct API has not been checked: no worker has called it yet, or MAX_BOT_TOKEN is not set"),
    _("universities with wrong cached names: %(count)d; the one compared most: %(why)s"),
    _("no new alert since the resume; open from before: %(count)d"),
    _("no university stands out"),
    _("evictions: first measurement"),
    _("no evidence against the new cohort (n = %(n)s)"),
    _("Saved by a command without a reason"),
    _("The emergency stop is latched: only a resume ends it."),
    _(
        "PostgreSQL waits for a synchronous standby, for %(seconds)s s now. Changes that the standby has not confirmed"
        " are on this server only, and a failover would lose them. Start the standby, or remove it from"
        " synchronous_standby_names."
    ),
    _(
        "PostgreSQL waits for a synchronous standby, for %(seconds)s s now: what is stored meanwhile is on this server"
        " only, and a failover would lose it. Start the standby, or remove it from synchronous_standby_names."
    ),
)
