from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from django.views.i18n import set_language
from drf_spectacular.views import SpectacularSwaggerSplitView
from rest_framework.routers import SimpleRouter

from config.lib.http import errors
from config.schema import schema
from employees.api.views import EmployeeViewSet, MaxIdJobViewSet, ScopedProfileViewSet, UniversityViewSet
from employees.credentials.api import LogInView, RefreshView, RevokeView

admin.autodiscover()

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("employees", EmployeeViewSet, basename="employee")
router.register("employees/batch-jobs", MaxIdJobViewSet, basename="max-id-job")
router.register("universities", UniversityViewSet, basename="university")
router.register("profiles", ScopedProfileViewSet, basename="profile")

# Outside the admin, paths have no trailing slash and no /api/v1: CanonicalPathMiddleware removes both from requests.
urlpatterns = [
    path("admin/", include("employees.credentials.urls")),
    path("admin/language/", set_language, name="set_language"),
    path("admin/", include("monitoring.dashboard.urls")),
    path("admin/", admin.site.urls),
    path("api/token", LogInView.as_view()),
    path("api/token/refresh", RefreshView.as_view()),
    path("api/token/revoke", RevokeView.as_view()),
    path("employees/batch-update-max-id", MaxIdJobViewSet.as_view({"post": "start"})),
    path("openapi.json", schema, name="schema"),
    # Without OPTIONS, whose answer the page's template cannot show.
    path(
        "swagger",
        SpectacularSwaggerSplitView.as_view(url_name="schema", http_method_names=["get", "head"]),
        name="swagger",
    ),
    path("", include("monitoring.urls")),
    *router.urls,
    path("admin", RedirectView.as_view(url="/admin/")),
    path("", RedirectView.as_view(url="/admin/")),
    re_path("", errors.not_found),
]
handler400 = "config.lib.http.error_pages.bad_request"
handler403 = "config.lib.http.error_pages.forbidden"
handler404 = "config.lib.http.error_pages.not_found"
handler500 = "config.lib.http.error_pages.server_error"
