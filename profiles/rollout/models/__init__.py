from profiles.rollout.models.approval import APPROVAL_LASTS, Approval, ApprovalQuerySet, ApprovalState, approval_end
from profiles.rollout.models.change import REASON_LENGTH, Action, Change, ChangeQuerySet, ChangeRecord
from profiles.rollout.models.flag import Flag, PercentField, flag_saving
from profiles.rollout.models.heartbeat import Heartbeat
from profiles.rollout.models.plan import Plan, PlanState
from profiles.rollout.models.rollout import HELD_LENGTH, OnBreach, Rollout
from profiles.rollout.models.university_rule import UniversityRule, university_name

__all__ = [
    "APPROVAL_LASTS", "HELD_LENGTH", "REASON_LENGTH", "Action", "Approval", "ApprovalQuerySet", "ApprovalState",
    "Change", "ChangeQuerySet", "ChangeRecord", "Flag", "Heartbeat", "OnBreach", "PercentField", "Plan", "PlanState",
    "Rollout", "UniversityRule", "approval_end", "flag_saving", "university_name",
]  # fmt: skip
