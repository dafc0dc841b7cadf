"""The WSGI application: Django, for which config.web takes in the requests."""

import os

from django.core.wsgi import get_wsgi_application

from config.lib import tracing

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

# Before Django loads its middleware.
tracing.start("web")
application = get_wsgi_application()
