from webhooks.admin import inbox

__all__ = ["inbox"]
