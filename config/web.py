"""What the web server loads: the WSGI application, in a process that tells which revision of the rollout it follows."""

from config.wsgi import application
from profiles.rollout.heartbeat import pulse

pulse.start("web")

__all__ = ["application"]
