"""The steps to take for each kind of alert, shown on the alert's page.

They are the same as in docs/how-to/runbook.md and docs/ru/alerts.md, but no step here names a shell command.
"""

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from monitoring.alerts.kinds import Kind

STEPS: dict[Kind, tuple[Promise, ...]] = {
    Kind.PROFILE_QUALITY_LOW: (
        _(
            "Open the “Name sources” page, and see which sources provide few names and at which universities many names"
            " are unknown."
        ),
        _("If many profiles are stale, people are not messaging the bot: ask them to, or raise PROFILE_TTL."),
        _(
            "If many profiles have suddenly become empty, MAX may have changed the format of its updates: look at the"
            " latest ones in the inbox."
        ),
    ),
    Kind.WEBHOOK_ERROR_RATE_HIGH: (
        _(
            "Look at the reasons: on the “Inbox” page, filtered by the state “quarantined”, and on the “Dead letters”"
            " page."
        ),
        _(
            "If the reason is the same for most updates, MAX has changed the format of its updates, or a proxy alters"
            " the request bodies: correct that, then replay these updates. No update is lost."
        ),
        _(
            "If the request bodies are random data but came with a valid secret, somebody else knows the secret:"
            " replace it."
        ),
    ),
    Kind.CACHE_CONNECTION_FAILED: (
        _(
            "No profile is lost: names are read from PostgreSQL, which is slower, and Redis is refilled when it is"
            " back."
        ),
        _("If Redis is not responding, start it, and check the address and the password in REDIS_URL."),
        _(
            "If Redis refuses writes, the alert names the reason: a replica, too little memory, or a full disk. Point"
            " REDIS_URL to the primary, raise REDIS_MAXMEMORY, or free the disk."
        ),
        _("If Redis will be down for a long time, switch the profile cache off on the “Rollout” page."),
    ),
    Kind.CACHE_EVICTIONS_HIGH: (
        _(
            "On the “Cache health” page, see how much memory Redis uses, and check that no other application stores"
            " data in Redis."
        ),
        _("Raise REDIS_MAXMEMORY and restart Redis."),
    ),
    Kind.DATABASE_RESTORED: (
        _("Everything written after the backup has been lost, including any later emergency stop."),
        _(
            "Check that the percentages and switches on the “Rollout” page are as they should be. If you are not sure,"
            " stop everything first."
        ),
        _("Repeat every erasure that was made after the backup."),
        _("Sessions, tokens and API keys that were revoked after the backup are valid again: revoke them once more."),
        _("Accept the restored state, as the runbook describes. The alert stays open until you do."),
    ),
    Kind.INBOX_LAG_HIGH: (
        _(
            "Updates are stored safely, but names appear with a delay. Check on the “Overview” page whether an inbox"
            " worker is running and processing is on."
        ),
        _("If no inbox worker is running, start one. Its log shows why the previous one ended."),
        _(
            "If processing is off and should be on: after an emergency stop, resume the rollout; otherwise, turn on the"
            " switch for processing."
        ),
        _(
            "If the number of pending updates is falling, wait. If it is growing, PostgreSQL is slow, or a session is "
            "holding a lock."
        ),
    ),
    Kind.DEAD_LETTERS: (
        _("Open the “Dead letters” page: it groups the failed updates by error and shows an example of each group."),
        _("Fix the cause of an error, then press “Replay this group” beside that error."),
        _("The alert resolves when all dead letters have been replayed, or 24 hours after the most recent one."),
    ),
    Kind.WEBHOOK_SILENT: (
        _("Check that the bot is subscribed at MAX with the public address of the webhook."),
        _("Open the address of the webhook from outside your network: the status 405 is correct."),
        _(
            "If the subscription and the address are right, MAX is sending a wrong secret, or a firewall blocks its"
            " requests."
        ),
        _(
            "If the webhook has not answered with 200 for eight hours, MAX unsubscribes the bot; if this has happened,"
            " subscribe the bot again. MAX repeats failed deliveries for several days."
        ),
    ),
    Kind.SUBSCRIPTION_LOST: (
        _("MAX sends no updates to this system: subscribe the bot again, as the runbook describes."),
        _(
            "Find out why the subscription was lost: MAX unsubscribes a bot if its webhook has not answered with 200"
            " for 8 hours."
        ),
    ),
    Kind.SUBSCRIPTION_WRONG: (
        _("The alert lists what is wrong. To correct it, subscribe the bot again, as the runbook describes."),
        _(
            "While the subscription is wrong, updates may arrive twice, which does no harm, but updates of a type"
            " missing from the subscription do not arrive."
        ),
    ),
    Kind.DIRECT_API_MISSING: (
        _("Check MAX_API_URL and MAX_API_USERS_PATH."),
        _(
            "If MAX offers you no direct API, names come only from the cache: move the rollout towards phase 4, and"
            " mute the alert. The “Unresolved names” page lists the employees who are not in the cache."
        ),
    ),
    Kind.SECRET_FAILURES: (
        _(
            "If the alert is critical, MAX itself is probably sending a wrong secret. Add the old secret after the new"
            " one in WEBHOOK_SECRET, restart, and subscribe the bot again."
        ),
        _(
            "If the alert is a warning, somebody is guessing the webhook secret; these requests are refused and do no"
            " harm. Find their addresses in the proxy's log and block them, or mute the alert."
        ),
    ),
    Kind.LOCK_HELD: (
        _(
            "The alert names the process and the application. If a person is running the application, ask them to"
            " commit or roll back the transaction."
        ),
        _(
            "If the application's name begins with directory-, the process belongs to this system; it may be a"
            " migration. If the alert shows the process as active, wait."
        ),
        _(
            "In all other cases, run the statement shown in the alert to end the process. The changes of its"
            " transaction are rolled back."
        ),
        _(
            "If the alert mentions a synchronous standby, start the standby, or remove it from"
            " synchronous_standby_names and reload PostgreSQL. Until then, only log-ins, an emergency stop, a pause"
            " and a step back by the rollout controller succeed. Other changes, such as lowering a percentage, end"
            " with an error after five seconds or more, although they are stored on this server; a failover would"
            " lose them. Reads that are recorded in the audit log also end with an error."
        ),
    ),
    Kind.ROLLOUT_HELD: (
        _(
            "See on the “Rollout” page whether the rollout is paused or stopped, and why. No phase can go up until the"
            " rollout is resumed."
        ),
        _(
            "Emergency stop: all names come from the direct API, and updates are only stored. Resume only when the"
            " cause is fixed. Phases 1 and 2 then return to their previous percentages, and phase 3 restarts at 1% at"
            " most."
        ),
        _(
            "Pause: the percentages stay as they are. If employees are getting wrong names, or may be getting them,"
            " lower the percentage or stop everything."
        ),
        _(
            "Look at the conflicts and at the people who got a name from the cache after the last step, and fix the"
            " cause."
        ),
        _(
            "Press “Resume” and give a reason. A new monitored period starts: earlier breaches and comparisons no"
            " longer count."
        ),
    ),
    Kind.BACKFILL_FAILED: (
        _("Open the page of the backfill: it lists the failed batches with their errors."),
        _(
            "Fix the cause, then press “Retry failed batches”. Until then, the employees in these batches keep their"
            " old names."
        ),
        _("To give up the whole backfill, press “Restore previous names”."),
    ),
}
