"""The formats of moments in English; they name the time zone, which Django's own do not."""

DATETIME_FORMAT = "j M Y, H:i:s T"
SHORT_DATETIME_FORMAT = "j M Y, H:i T"
