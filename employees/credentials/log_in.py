"""The admin's log-in page and the pages of the second factor: django-allauth's flows in the admin's theme."""

from __future__ import annotations

import logging
from typing import Any

from allauth.account.decorators import reauthentication_required
from allauth.account.internal.decorators import login_stage_required
from allauth.account.internal.flows.login import perform_password_login
from allauth.account.internal.flows.reauthentication import reauthenticate_by_password, resume_request
from allauth.account.models import Login
from allauth.account.views import LoginView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.flows import generate_recovery_codes
from allauth.mfa.recovery_codes.views import ViewRecoveryCodesView
from allauth.mfa.totp.internal import flows
from allauth.mfa.totp.internal.auth import generate_totp_secret
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.auth import REDIRECT_FIELD_NAME, authenticate, logout
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.generic import TemplateView
from django.views.generic.edit import FormView
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget

from config.lib.http import access_log
from employees.credentials import second_factor
from employees.credentials.adapters import CodeStage
from employees.credentials.api import SecondFactorInvalid
from employees.credentials.middleware import lacks_second_factor

WRONG_CODE = SecondFactorInvalid.default_detail
_SECRET = "second_factor_secret"  # noqa: S105 (the name of a value in the session)


class LogInForm(AuthenticationForm):
    def confirm_login_allowed(self, user: User) -> None:
        """Raise ValidationError, and log the refusal, unless the user may log in on this page.

        Users of the admin may. Users of the API may if they need a second factor, which they set up on these pages.
        """
        if not user.is_staff and not second_factor.is_needed(user):
            environ, name = self.request.META, user.get_username()
            access_log.log("log_in", environ, name, level=logging.WARNING, outcome="not_staff")
            super().confirm_login_allowed(user)

    def login(self, request: HttpRequest, redirect_url: str | None = None) -> HttpResponse:
        user = self.get_user()
        response: HttpResponse = perform_password_login(
            request, {"username": user.get_username()}, Login(user=user, redirect_url=redirect_url)
        )
        return response


class _UserForm(forms.Form):
    def __init__(self, *args: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request, self.user = request, user


class CodeForm(_UserForm):
    """A form in which ``user`` enters a code from the authenticator app, or a recovery code."""

    code = forms.CharField(
        label=gettext_lazy("Code from the authenticator app"),
        max_length=second_factor.LONGEST_CODE,
        widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "one-time-code", "autofocus": ""}),
    )

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        self.factor = second_factor.use_code(self.request, self.user, code)
        if self.factor is None:
            raise ValidationError(WRONG_CODE)
        return code


class PasswordForm(_UserForm):
    password = forms.CharField(
        label=gettext_lazy("Password"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password", "autofocus": ""}),
    )

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if authenticate(self.request, username=self.user.get_username(), password=password) is None:
            raise ValidationError(_("The password is wrong."))
        return password


class EnrolmentForm(CodeForm):
    """A form for the first code from an authenticator app, after the app has read the secret from the page."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        encrypted = self.request.session.get(_SECRET) or second_factor.encrypt(generate_totp_secret())
        self.request.session[_SECRET] = encrypted
        self.secret = second_factor.decrypt(encrypted)

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        self.step = second_factor.step_of(self.secret, code)
        if self.step is None:
            raise ValidationError(
                _("The code does not match this key. Check that the clock of your phone is right, and try again.")
            )
        return code


class _Page:
    """A page that belongs to no model of the admin, in the theme of the log-in page."""

    request: HttpRequest
    template_name: str | None = "admin/second_factor.html"
    title: Any = ""
    text: Any = ""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context_data(**kwargs)  # type: ignore[misc]
        frame = {"title": self.title, "text": self.text, "next": self.request.GET.get(REDIRECT_FIELD_NAME, "")}
        return admin.site.each_context(self.request) | context | frame


class _FormPage(_Page, FormView):  # type: ignore[type-arg]
    """A page with a form for a user who is logged in or is logging in."""

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"request": self.request, "user": self.request.user}


class LogInView(LoginView):
    form_class = LogInForm
    template_name = "admin/log_in.html"

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated and not lacks_second_factor(request):
            if admin.site.has_permission(request):
                return HttpResponseRedirect(settings.LOGIN_REDIRECT_URL)
            if second_factor.is_needed(request.user):
                return HttpResponseRedirect(reverse("mfa_index"))
        response: HttpResponse = super().get(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        more = {"title": _("Log in"), "app_path": self.request.get_full_path(), "has_sso": bool(settings.OIDC_ISSUER)}
        more |= {"sso_name": settings.OIDC_NAME, "next": self.get_next_url() or ""}
        context: dict[str, Any] = admin.site.each_context(self.request) | super().get_context_data(**kwargs) | more
        return context


@method_decorator(login_stage_required(stage=CodeStage.key, redirect_urlname="account_login"), name="dispatch")
class CodeView(_FormPage):
    """Ask for a code as the second step of a log-in, after the password or single sign-on."""

    form_class = CodeForm
    title = gettext_lazy("Second factor")
    text = gettext_lazy("Enter the code that your authenticator app shows now, or one of your recovery codes.")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        self.stage: CodeStage = request._login_stage  # type: ignore[attr-defined]  # noqa: SLF001 (set by allauth)
        return super().dispatch(request, *args, **kwargs) if self.stage.is_valid() else self.stage.abort()

    def get_form_kwargs(self) -> dict[str, Any]:
        return super().get_form_kwargs() | {"user": self.stage.login.user}

    def form_valid(self, form: CodeForm) -> HttpResponse:
        second_factor.record_proof(self.request, form.user, form.factor)
        response: HttpResponse = self.stage.exit()
        return response


class CodeAgainView(LoginRequiredMixin, _FormPage):
    """Ask a logged-in user for a code if none was entered in this session, or before the second factor is changed."""

    form_class = CodeForm
    title, text = CodeView.title, CodeView.text

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated and not second_factor.is_set_up(request.user):
            return HttpResponseRedirect(reverse("mfa_activate_totp"))
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: CodeForm) -> HttpResponse:
        second_factor.record_proof(self.request, form.user, form.factor, reauthenticated=True)
        return resume_request(self.request) or HttpResponseRedirect(settings.LOGIN_REDIRECT_URL)


class PasswordAgainView(LoginRequiredMixin, _FormPage):
    """Ask for the password again before a user sets up a second factor, if the session is older than five minutes."""

    form_class = PasswordForm
    title = gettext_lazy("Confirm your password")
    text = gettext_lazy("You logged in more than five minutes ago.")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        # A password cannot replace a second factor that is set up.
        if request.user.is_authenticated and second_factor.is_set_up(request.user):
            return HttpResponseRedirect(reverse("mfa_reauthenticate"))
        return super().dispatch(request, *args, **kwargs)

    def form_valid(self, form: PasswordForm) -> HttpResponse:
        reauthenticate_by_password(self.request)
        return resume_request(self.request) or HttpResponseRedirect(reverse("mfa_activate_totp"))


class EnrolmentView(_Page, ActivateTOTPView):
    form_class = EnrolmentForm
    template_name = "admin/second_factor_enrolment.html"
    title = gettext_lazy("Set up the second factor")

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        if request.user.is_authenticated and second_factor.is_set_up(request.user):
            return HttpResponseRedirect(reverse("mfa_index"))
        return super().dispatch(request, *args, **kwargs)

    def get_form_kwargs(self) -> dict[str, Any]:
        kwargs: dict[str, Any] = super().get_form_kwargs()
        return kwargs | {"request": self.request}

    def form_valid(self, form: EnrolmentForm) -> HttpResponse:
        user: Any = self.request.user
        with transaction.atomic():
            # If the user submits this form in two windows, the second request waits, and finds the factor of the first.
            User.objects.select_for_update(no_key=True).get(pk=user.pk)
            if not second_factor.is_set_up(user):
                factor, _codes = flows.activate_totp(self.request, form)
                # The code of the enrolment cannot be used for a log-in too.
                factor.data["step"] = form.step
                factor.save(update_fields=["data"])
                second_factor.record_proof(self.request, user, factor)
        self.request.session.pop(_SECRET, None)
        return HttpResponseRedirect(reverse("mfa_view_recovery_codes"))


class SecondFactorView(LoginRequiredMixin, _Page, TemplateView):
    """Show whether the user has a second factor, and how many recovery codes are left."""

    template_name = "admin/second_factor_state.html"
    title = CodeView.title

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user: Any = self.request.user
        factor = Authenticator.objects.filter(user_id=user.pk, type=Authenticator.Type.TOTP).first()
        return super().get_context_data(**kwargs) | {"factor": factor, "left": second_factor.codes_left(user)}


class RecoveryCodesView(_Page, ViewRecoveryCodesView):
    template_name = "admin/second_factor_codes.html"
    title = gettext_lazy("Recovery codes")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        if not second_factor.codes_left(self.request.user):
            raise Http404
        return super().get_context_data(**kwargs)


@method_decorator(reauthentication_required(app="allauth.mfa"), name="dispatch")
class NewRecoveryCodesView(_Page, FormView):  # type: ignore[type-arg]
    form_class = forms.Form
    title = gettext_lazy("Create new recovery codes")
    text = gettext_lazy("The current recovery codes become invalid.")

    def form_valid(self, form: forms.Form) -> HttpResponse:
        if second_factor.is_set_up(self.request.user):
            generate_recovery_codes(self.request)
        return HttpResponseRedirect(reverse("mfa_view_recovery_codes"))


class RemovalView(_Page, DeactivateTOTPView):
    title = gettext_lazy("Remove the second factor")
    text = gettext_lazy(
        "Your sessions end, and your tokens stop working. If your account needs a second factor, you will set up a new"
        " one at the next log-in."
    )

    def form_valid(self, form: forms.Form) -> HttpResponse:
        flows.deactivate_totp(self.request, self.authenticator)
        # A trigger has deleted the session.
        logout(self.request)
        return HttpResponseRedirect(reverse("account_login"))
