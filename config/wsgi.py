"""The WSGI application, which is Django; config.web receives its requests."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils import translation

from config.lib import tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Before Django loads its middleware.
tracing.start("web")
application = get_wsgi_application()

# Django would load a language when it is first needed: a request would fail if no more files can be opened then.
for language, _name in settings.LANGUAGES:
    with translation.override(language):
        pass
