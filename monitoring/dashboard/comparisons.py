"""The comparison explorer: how names from the cache compare with names from the direct API."""

import math
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from config.lib.scope import requires_global_scope
from employees.models import Employee, University
from monitoring.dashboard import person
from monitoring.dashboard.access import LOOK_UP, SEE_COMPARISONS, may, page, screen
from monitoring.stats import comparison_stats
from profiles.comparison import hash_of
from profiles.models import Comparison, ComparisonOutcome, Pattern
from profiles.rollout import presenters
from profiles.rollout.decision import current_state
from profiles.rollout.phases import PHASES

ROWS_SHOWN = 25
UNIVERSITIES_SHOWN = 50
# The window of the comparisons that the gates count: since the last resume, but a week at most.
COUNTED = "counted"
WINDOWS = [
    (COUNTED, gettext_lazy("7 days, or since the last resume if that was later")),
    ("1", gettext_lazy("24 hours")),
    ("7", gettext_lazy("7 days")),
    ("30", gettext_lazy("30 days")),
]
_TONES = {
    ComparisonOutcome.AGREE: "good",
    ComparisonOutcome.EQUIVALENT: "good",
    ComparisonOutcome.CACHE_RICHER: "good",
    ComparisonOutcome.CONFLICT: "bad",
    ComparisonOutcome.API_RICHER: "wait",
}
_PATTERNS = dict(Pattern.choices)


class FilterForm(forms.Form):
    days = forms.ChoiceField(label=gettext_lazy("Period"), choices=WINDOWS, required=False)
    outcome = forms.ChoiceField(
        label=gettext_lazy("Outcome"),
        choices=[("", gettext_lazy("every outcome")), *ComparisonOutcome.choices],
        required=False,
    )
    stage = forms.ChoiceField(
        label=gettext_lazy("Stage"),
        choices=[("", gettext_lazy("every stage")), *((str(n), str(n)) for n in range(2, 5))],
        required=False,
    )
    university = forms.ModelChoiceField(
        University.objects.order_by("name"),
        label=gettext_lazy("University"),
        required=False,
        empty_label=gettext_lazy("every university"),
    )


_SAME_BUCKET = "SELECT id, phone FROM employees WHERE rollout_bucket(%s, phone) = %s"


@screen(LOOK_UP)
@requires_global_scope
def open_person(request: HttpRequest, pk: int) -> HttpResponse:
    """Show the page of the employee whose lookup was compared.

    The comparison stores only a hash of the phone, so phones of employees are hashed until a hash matches. Requests
    other than POST are redirected to the list of comparisons.
    """
    if not request.user.has_perm(SEE_COMPARISONS):
        raise PermissionDenied
    comparison = get_object_or_404(Comparison, pk=pk)
    if request.method != "POST":
        return HttpResponseRedirect(reverse("screens:comparisons"))
    salt = current_state().salts.get(PHASES[2], "")
    # The bucket narrows the employees down to one in ten thousand, so that few phones have to be hashed.
    for employee in Employee.objects.raw(_SAME_BUCKET, [salt, comparison.bucket]):
        if hash_of(employee.phone) == comparison.key_hash:
            return person.show(request, employee.phone)
    messages.error(request, _("This person is no longer an employee."))
    return HttpResponseRedirect(reverse("screens:comparisons"))


@screen(SEE_COMPARISONS)
@requires_global_scope
def explorer(request: HttpRequest) -> HttpResponse:
    form = FilterForm(request.GET or {"days": COUNTED})
    filters = form.cleaned_data if form.is_valid() else {}
    days = filters.get("days") or COUNTED
    rows = comparison_stats.counted() if days == COUNTED else comparison_stats.recent(timedelta(days=int(days)))
    university = filters.get("university")
    conditions = {"stage": filters.get("stage"), "university_id": university and university.pk}
    rows = rows.filter(**{name: value for name, value in conditions.items() if value})
    stats, ages = comparison_stats.stats_of(rows), comparison_stats.by_age(rows)
    by_university = comparison_stats.by_university(rows)
    largest = sorted(by_university.items(), key=lambda item: -item[1].total)
    if "all" not in request.GET:
        largest = largest[:UNIVERSITIES_SHOWN]
    names = dict(University.objects.filter(pk__in=[pk for pk, _own in largest]).values_list("pk", "name"))
    outcome = filters.get("outcome")
    context: dict[str, Any] = {
        "form": form,
        "may": may(request),
        "stats": stats,
        "outcomes": [
            {
                "value": outcome.value,
                "label": outcome.label,
                "tone": _TONES.get(outcome, "calm"),
                "count": stats.counts[outcome],
                "share": stats.counts[outcome] / stats.total,
            }
            for outcome in ComparisonOutcome
            if stats.counts.get(outcome)
        ],
        "universities": [(pk, names.get(pk, _("deleted university")), own) for pk, own in largest],
        "universities_left": len(by_university) - len(largest),
        "all_universities": f"?{urlencode({**request.GET.dict(), 'all': 1})}",
        "ages": [(None if math.isinf(edge) else edge, of_age) for edge, of_age in ages.items()],
        "ttl": comparison_stats.ttl_advice(ages),
        "restart": presenters.last_restart(comparison_stats.WINDOW),
        "left_out": comparison_stats.without_university(),
        "patterns": [(_PATTERNS.get(name, name), n) for name, n in comparison_stats.conflict_patterns(rows).items()],
        "rows": (rows.filter(outcome=outcome) if outcome else rows)[:ROWS_SHOWN],
    }
    return page(request, "comparisons.html", _("Comparisons"), **context)
