"""The WSGI application: Django, for which config.web takes in the requests."""

import os

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.utils import translation

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

application = get_wsgi_application()

# Django would load a language when it is first needed: a request would fail if no more files can be opened then.
for language, _name in settings.LANGUAGES:
    with translation.override(language):
        pass
