"""URLs for those pages of django-allauth that are used, with its URL names; there is no sign-up or password reset."""

from django.urls import path, re_path

from config.lib.http.throttling import as_log_in
from config.postgres.base import without_standby
from employees.credentials import log_in, single_sign_on

# Log-ins do not wait for a standby, so that users can act while the standby is lost. If a failover loses a log-in, the
# user logs in again. Single sign-on waits for the standby only if it removes a group.
_log_in = without_standby()

urlpatterns = [
    path("login/", as_log_in(_log_in(log_in.LogInView.as_view())), name="account_login"),
    path("login/code/", as_log_in(_log_in(log_in.CodeView.as_view())), name="mfa_authenticate"),
    re_path("^login/(?P<provider_id>sso)/$", as_log_in(single_sign_on.start), name="openid_connect_login"),
    re_path("^login/(?P<provider_id>sso)/callback/$", _log_in(single_sign_on.callback), name="openid_connect_callback"),
    path("second-factor/", log_in.SecondFactorView.as_view(), name="mfa_index"),
    path("second-factor/password/", as_log_in(log_in.PasswordAgainView.as_view()), name="account_reauthenticate"),
    path("second-factor/code/", as_log_in(log_in.CodeAgainView.as_view()), name="mfa_reauthenticate"),
    path("second-factor/set-up/", as_log_in(log_in.EnrolmentView.as_view()), name="mfa_activate_totp"),
    path("second-factor/remove/", log_in.RemovalView.as_view(), name="mfa_deactivate_totp"),
    path("second-factor/recovery-codes/", log_in.RecoveryCodesView.as_view(), name="mfa_view_recovery_codes"),
    path("second-factor/new-codes/", log_in.NewRecoveryCodesView.as_view(), name="mfa_generate_recovery_codes"),
]
