"""Django settings, read from environment variables, which docs/reference/environment.md and .env.example list."""

from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

from redis.backoff import NoBackoff
from redis.retry import Retry

from config import secret_files
from config.env import (
    Env,
    broker_url,
    database,
    hours,
    issuer,
    redis_address,
    redis_url,
    refuse_unsafe_production,
    single_sign_on,
    time_zone,
)
from config.lib import metric_files, redis_connection
from config.openapi import SPECTACULAR_SETTINGS  # noqa: F401 (a setting)
from config.schedule import schedule
from config.theme import CONTENT_SECURITY_POLICY, UNFOLD  # noqa: F401 (settings of the admin)

metric_files.share()
BASE_DIR = Path(__file__).resolve().parent.parent
env = Env()
Env.read_env(env.str("ENV_FILE", str(BASE_DIR / ".env")))
secret_files.read_into(env.ENVIRON)
# Unset empty variables, as in .env.example, so that services.env can set them.
for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
    if not env.ENVIRON.get(name):
        env.ENVIRON.pop(name, None)
DATA_DIR = Path(env.str("DATA_DIR", "") or BASE_DIR / ".data")
# This file exists while `make run` is running, so that manage.py can use the same services.
Env.read_env(DATA_DIR / "services.env")

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", "")
WEBHOOK_SECRET = env.str("WEBHOOK_SECRET", "")
_secrets = env.list("WEBHOOK_SECRET")
WEBHOOK_SECRETS = [secret.encode() for secret in _secrets]
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
# Earlier values of SECRET_KEY, which still read what they have encrypted or signed.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS")
MAX_API_URL: str = env.str("MAX_API_URL", "https://platform-api2.max.ru")
OIDC_ISSUER = env.read("OIDC_ISSUER", issuer, "")
if DEBUG:
    SECRET_KEY = SECRET_KEY or "django-insecure-development-only-key-that-production-refuses"
    ALLOWED_HOSTS = ALLOWED_HOSTS or ["*"]
else:
    refuse_unsafe_production(SECRET_KEY, _secrets, ALLOWED_HOSTS, MAX_API_URL, OIDC_ISSUER)

# Applications
INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "unfold.contrib.import_export",
    "unfold.contrib.simple_history",
    # Leaves the import of admin modules to config.urls: the inbox worker and Celery start a third faster without them.
    "config.lib.admin_site.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "rest_framework",
    "rest_framework_simplejwt.token_blacklist",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "axes",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "import_export",
    "simple_history",
    # Before waffle, to replace its command waffle_flag, which bypasses the gates and the audit log.
    "monitoring",
    "waffle",
    "profiles.rollout",
    "profiles",
    "employees",
    "employees.history",
    "employees.credentials",
    "webhooks",
]
MIDDLEWARE = [
    "config.lib.http.middleware.ClientAddressMiddleware",
    "config.lib.http.access_log.RefusalLogMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "config.lib.http.middleware.PolicyMiddleware",
    "config.lib.http.middleware.CanonicalPathMiddleware",
    "config.lib.http.middleware.PrivacyMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "config.lib.http.middleware.InputMiddleware",
    "config.lib.http.middleware.FailureMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "axes.middleware.AxesMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "employees.middleware.ScopeMiddleware",
    "employees.credentials.middleware.SecondFactorMiddleware",
    "config.lib.http.middleware.TimeZoneMiddleware",
    "waffle.middleware.WaffleMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Stores
DATABASES = {"default": env.read("DATABASE_URL", database, "postgresql://postgres@localhost/directory")}
# For code that needs a session of its own while DATABASE_URL leads to a pooler: an entry as in DATABASES, or None.
DATABASE_DIRECT = env.get_value("DATABASE_DIRECT_URL", database)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

PROFILE_TTL = env.duration("PROFILE_TTL", "720h")
PROFILE_CACHE_ENABLED = env.bool("PROFILE_CACHE_ENABLED", default=True)
PROFILE_CACHE_TIMEOUT = env.duration("PROFILE_CACHE_TIMEOUT", "3s")
REDIS_ADDR = env.read("REDIS_ADDR", redis_address, "localhost:6379")
REDIS_PASSWORD = env.str("REDIS_PASSWORD", "")
REDIS_DB = env.int("REDIS_DB", default=1)
_login = f":{quote(REDIS_PASSWORD, safe='')}@" if REDIS_PASSWORD else ""
REDIS_URL = env.read("REDIS_URL", redis_url, f"redis://{_login}{REDIS_ADDR}/{REDIS_DB}")
# A third of the cache's time budget: when Redis does not respond in time, enough is left to query PostgreSQL.
REDIS_TIMEOUT = min(timedelta(milliseconds=500), PROFILE_CACHE_TIMEOUT / 3)
CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        # A list, because django-redis would split a string at its commas, which separate the hosts of Sentinel.
        "LOCATION": [REDIS_URL],
        "OPTIONS": {
            "CONNECTION_FACTORY": "config.lib.redis_connection.ConnectionFactory",
            "CONNECTION_POOL_KWARGS": {
                "socket_timeout": REDIS_TIMEOUT.total_seconds(),
                "socket_connect_timeout": REDIS_TIMEOUT.total_seconds(),
                # With redis-py's default retries, each request to a stopped server would wait for seconds.
                "retry": Retry(NoBackoff(), 0),
                "max_connections": 512,
                "redis_connect_func": redis_connection.connect,
            },
        },
    },
    # Flags are read from PostgreSQL: no decision may depend on Redis, and a change applies in each process at once.
    "waffle": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"},
}
WAFFLE_CACHE_NAME = "waffle"
WAFFLE_FLAG_MODEL = "rollout.Flag"
# monitoring.rollout_control.admin replaces these pages by pages that apply the rules and gates, and require a reason.
WAFFLE_ENABLE_ADMIN_PAGES = False

CELERY_BROKER_URL = env.read("CELERY_BROKER_URL", broker_url, REDIS_URL)
vars().update(redis_connection.celery_settings(CELERY_BROKER_URL, seconds=2))
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Without this, a broker that refuses commands, such as a read-only replica, would end the worker.
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_TASK_IGNORE_RESULT = True
# Messages that the worker has prefetched would be processed before a check of the alerts.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "config.scheduler:Scheduler"
CELERY_BEAT_MAX_LOOP_INTERVAL = 2
CELERY_WORKER_CONSUMER = "config.broker:Consumer"
# In seconds: the one worker runs all tasks, so none may hang. The first limit raises an error in the task, the second
# replaces the process. Tasks that may take longer with millions of rows have their own limits.
CELERY_TASK_SOFT_TIME_LIMIT = 120
CELERY_TASK_TIME_LIMIT = 150
MONITORING_CHECK_INTERVAL = env.duration("MONITORING_CHECK_INTERVAL", "5m")
CELERY_BEAT_SCHEDULE = schedule(alerts_every=MONITORING_CHECK_INTERVAL)

# Rollout
PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE = env.float_up_to("PROFILE_INTEGRATION_ROLLOUT_PERCENTAGE", 100, 0)
EMPLOYEE_SERVICE_PROFILE_ENABLED = env.bool("EMPLOYEE_SERVICE_PROFILE_ENABLED", default=True)
CHAT_SERVICE_PROFILE_ENABLED = env.bool("CHAT_SERVICE_PROFILE_ENABLED", default=True)
WEBHOOK_ENABLED = env.bool("WEBHOOK_ENABLED", default=True)
ROLLOUT_DWELL = env.duration("ROLLOUT_DWELL", "24h")
ROLLOUT_APPROVALS = env.bool("ROLLOUT_APPROVALS", default=False)

# Direct API
MAX_BOT_TOKEN = env.str("MAX_BOT_TOKEN", "")
MAX_API_USERS_PATH = env.str("MAX_API_USERS_PATH", "/internal/users")
MAX_API_TIMEOUT = env.duration("MAX_API_TIMEOUT", "5s")
MAX_API_CA_BUNDLE = env.str("MAX_API_CA_BUNDLE", "")

# Webhook
WEBHOOK_PUBLIC_URL = env.str("WEBHOOK_PUBLIC_URL", "")
WEBHOOK_AUTO_RESUBSCRIBE = env.bool("WEBHOOK_AUTO_RESUBSCRIBE", default=False)
WEBHOOK_SILENCE_AFTER = env.duration("WEBHOOK_SILENCE_AFTER", "6h")
WEBHOOK_WORKING_HOURS = env.read("WEBHOOK_WORKING_HOURS", hours, "8-20")
INBOX_LAG_ALERT = env.duration("INBOX_LAG_ALERT", "5m")
INBOX_BODY_RETENTION = env.duration("INBOX_BODY_RETENTION", "72h")
INBOX_EVENT_RETENTION = env.duration("INBOX_EVENT_RETENTION", "720h")
INBOX_DEAD_LETTER_RETENTION = env.duration("INBOX_DEAD_LETTER_RETENTION", "2160h")

# Monitoring
MONITORING_ENABLED = env.bool("MONITORING_ENABLED", default=True)
MONITORING_TOKEN = env.str("MONITORING_TOKEN", "")
PROMETHEUS_ENABLED = env.bool("PROMETHEUS_ENABLED", default=True)
# In seconds; only six, to keep /metrics small. 0.1 and 0.2 are the targets for a lookup and for creating an employee.
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.05, 0.1, 0.2, 1.0, 5.0)
PROMETHEUS_EXPORT_MIGRATIONS = False
if PROMETHEUS_ENABLED:
    MIDDLEWARE = ["config.request_metrics.RequestMetricsMiddleware", *MIDDLEWARE]
# Other variables of OpenTelemetry are read by its SDK (docs/how-to/traces.md).
OTEL_EXPORTER_OTLP_ENDPOINT = env.str("OTEL_EXPORTER_OTLP_ENDPOINT", "")
PROFILE_QUALITY_ALERT_THRESHOLD = env.float_up_to("PROFILE_QUALITY_ALERT_THRESHOLD", 1, 0.8)
WEBHOOK_ERROR_ALERT_THRESHOLD = env.float_up_to("WEBHOOK_ERROR_ALERT_THRESHOLD", 1, 0.05)
ALERT_WEBHOOK_URL = env.str("ALERT_WEBHOOK_URL", "")
ALERT_SLACK_WEBHOOK = env.str("ALERT_SLACK_WEBHOOK", "")
ALERT_EMAIL_TO = env.list("ALERT_EMAIL_TO")
ALERT_EMAIL_FROM = env.str("ALERT_EMAIL_FROM", "alerts@localhost")
_port = env.str("PORT", "8095")
_site = f"http://localhost:{_port}" if DEBUG else f"https://{ALLOWED_HOSTS[0].lstrip('.')}"
SITE_URL: str = (env.str("SITE_URL", "") or _site).rstrip("/")
RUNBOOK_URL: str = env.str("RUNBOOK_URL", "")
DEFAULT_FROM_EMAIL = ALERT_EMAIL_FROM
vars().update(env.read("EMAIL_URL", Env.email_url_config, "smtp://localhost:25"))
EMAIL_TIMEOUT = 5

# HTTP
# The number of our own reverse proxies in front of the server; their X-Forwarded headers are trusted.
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", default=0)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXIES else None
SECURE_HSTS_SECONDS = 0 if DEBUG else 365 * 24 * 3600
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = not DEBUG
SESSION_ENGINE = "employees.credentials.sessions"
SESSION_COOKIE_AGE = 8 * 3600
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = LANGUAGE_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "config.lib.http.error_pages.forbidden"
# W008: the proxy redirects to https. W005 and W021: HSTS for the whole domain is the domain owner's decision.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W008", "security.W021"]

REST_FRAMEWORK = {
    # Use REMOTE_ADDR, which ClientAddressMiddleware has set to the client's address.
    "NUM_PROXIES": 0,
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "employees.credentials.authentication.TokenAuthentication",
        "employees.credentials.authentication.ApiKeyAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["config.lib.http.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_THROTTLE_CLASSES": ["config.lib.http.throttling.UserRate"],
    "EXCEPTION_HANDLER": "config.lib.http.errors.handle",
}
SIMPLE_JWT = {
    "ALGORITHM": "HS256",
    # Production refuses the tokens of development, whichever key signed them.
    "AUDIENCE": "development" if DEBUG else "production",
    "ACCESS_TOKEN_LIFETIME": timedelta(minutes=15),
    "REFRESH_TOKEN_LIFETIME": timedelta(days=1),
}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
# Five wrong passwords for a user name from one address lock this pair out; counted in PostgreSQL.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_USERNAME_CALLABLE = "config.lib.http.throttling.lockout_name"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code"]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_DISABLE_ACCESS_LOG = True
# Instead of admin pages, `manage.py axes_reset_username NAME` ends a lockout early.
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
AXES_LOCKOUT_CALLABLE = "config.lib.http.error_pages.locked_out"
# Whoever moves the rollout or sees people needs a second factor (employees.credentials.second_factor).
ADMIN_MFA_REQUIRED = env.bool("ADMIN_MFA_REQUIRED", default=not DEBUG)
LOGIN_URL, LOGIN_REDIRECT_URL = "/admin/login/", "/admin/"
ACCOUNT_ADAPTER = "employees.credentials.adapters.AccountAdapter"
MFA_ADAPTER = "employees.credentials.adapters.SecondFactorAdapter"
SOCIALACCOUNT_ADAPTER = "employees.credentials.single_sign_on.SingleSignOnAdapter"
# allauth's own limits would need Redis. LogInRate and axes limit the attempts instead.
ACCOUNT_RATE_LIMITS = MFA_RATE_LIMITS = False
ACCOUNT_AUTHENTICATED_LOGIN_REDIRECTS = False
# Accounts are managed in the admin. By default, a migration of allauth would write e-mail addresses in lower case.
ACCOUNT_SIGNUP_ENABLED = False
ACCOUNT_USER_MODEL_EMAIL_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
# Accept the codes of the minute around now, because telephones' clocks differ.
MFA_TOTP_TOLERANCE = 1
MFA_RECOVERY_CODES_SHOW_ONCE = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
# Single sign-on by OpenID Connect, off without OIDC_ISSUER
OIDC_CLIENT_ID = env.str("OIDC_CLIENT_ID", "")
OIDC_CLIENT_SECRET = env.str("OIDC_CLIENT_SECRET", "")
OIDC_NAME = env.str("OIDC_NAME", "")
OIDC_SCOPES = env.list("OIDC_SCOPES", default=["openid", "profile", "email"])
OIDC_GROUPS_CLAIM = env.str("OIDC_GROUPS_CLAIM", "")
OIDC_CREATE_USERS = env.bool("OIDC_CREATE_USERS", default=False)
SOCIALACCOUNT_PROVIDERS = single_sign_on(OIDC_ISSUER, OIDC_CLIENT_ID, OIDC_CLIENT_SECRET, OIDC_SCOPES)
# In seconds, for each of the two or three requests to the provider.
SOCIALACCOUNT_REQUESTS_TIMEOUT = 3
if OIDC_ISSUER:
    # The log-in page's form is answered by a redirect to the provider.
    CONTENT_SECURITY_POLICY["DIRECTIVES"]["form-action"].append("/".join(OIDC_ISSUER.split("/")[:3]))
# Requests per second from one user; 0 means no limit.
API_RATE_LIMIT = env.int("API_RATE_LIMIT", default=0 if DEBUG else 100)
# Reverting to an old version would silently overwrite later changes.
SIMPLE_HISTORY_REVERT_DISABLED = True
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# Language and time
LANGUAGE_CODE = "ru"
LANGUAGES = [("ru", "Русский"), ("en", "English")]
# locale_thirdparty translates the texts of other packages.
LOCALE_PATHS = [BASE_DIR / "locale", BASE_DIR / "locale_thirdparty"]
USE_TZ = True
# Of pages and commands; the database, the API and the days of reports are in UTC.
TIME_ZONE = env.read("TIME_ZONE", time_zone, "Europe/Moscow")
FORMAT_MODULE_PATH = ["config.formats"]

# Logs
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"json": {"()": "config.lib.logs.formatter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "json"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django": {"level": "INFO", "handlers": ["console"], "propagate": False},
        # Client errors are not logged: the client learns about them from the response.
        "django.request": {"level": "ERROR"},
        # config.lib.http.access_log writes one line about each of these, with the user name and address.
        "axes": {"level": "ERROR"},
        "django.security.csrf": {"level": "ERROR"},
    },
}
