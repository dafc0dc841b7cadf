"""The WSGI application, which is Django; config.web passes requests to it."""

import gc
import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver
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

# An error in a page must end the start, not the first request.
get_resolver().url_patterns  # noqa: B018 (a property that loads the pages)

# The objects of the modules live as long as the process. Without this, each full garbage collection would check all of
# them and stop the process for a tenth of a second.
gc.freeze()
