"""Russian date and time formats with the time zone, which Django's own formats lack."""

DATETIME_FORMAT = "j b Y, H:i:s T"
SHORT_DATETIME_FORMAT = "j b Y, H:i T"
