from monitoring.rollout_control.admin import gates, rollout

__all__ = ["gates", "rollout"]
