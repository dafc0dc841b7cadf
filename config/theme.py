"""The theme of the admin, and the content security policy, which forbids loading anything from other hosts."""

from csp.constants import NONE, SELF, UNSAFE_INLINE
from django.templatetags.static import static
from django.utils.translation import gettext_lazy as _

CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF],
        # Scripts of the theme, its charts and Swagger set inline styles.
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "object-src": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}

UNFOLD = {
    "SITE_TITLE": _("MAX · employee directory"),
    "SITE_HEADER": _("Employee directory"),
    "SITE_SYMBOL": "badge",
    # No “View site” link: there is no public site.
    "SITE_URL": None,
    "SHOW_LANGUAGES": True,
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("screens/icon.svg")}],
    "BORDER_RADIUS": "8px",
    "COLORS": {
        # A blue that differs from the status colours.
        "primary": {
            "50": "oklch(97% .014 254.604)",
            "100": "oklch(93.2% .032 255.585)",
            "200": "oklch(88.2% .059 254.128)",
            "300": "oklch(80.9% .105 251.813)",
            "400": "oklch(70.7% .165 254.624)",
            "500": "oklch(62.3% .19 259.815)",
            "600": "oklch(51.6% .215 262.881)",
            "700": "oklch(46.8% .2 264.376)",
            "800": "oklch(42.4% .18 265.638)",
            "900": "oklch(37.9% .146 265.522)",
            "950": "oklch(28.2% .091 267.935)",
        },
    },
    "DASHBOARD_CALLBACK": "monitoring.dashboard.home.dashboard",
    "STYLES": [lambda request: static("screens/screens.css"), lambda request: static("screens/tables.css")],
    "SCRIPTS": [lambda request: static("screens/screens.js")],
    "SIDEBAR": {"navigation": "config.navigation.sidebar", "show_search": True},
}
