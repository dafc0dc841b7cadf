"""The formats of moments in Russian; they name the time zone, which Django's own do not."""

DATETIME_FORMAT = "j b Y, H:i:s T"
SHORT_DATETIME_FORMAT = "j b Y, H:i T"
