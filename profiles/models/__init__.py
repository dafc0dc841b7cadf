from profiles.models.comparison import Comparison, ComparisonOutcome, Pattern, WaitingComparison
from profiles.models.direct import DirectAnswer, DirectApiPace
from profiles.models.links import PhoneLink
from profiles.models.profile import Profile, ProfileQuerySet, ProfileSource

__all__ = [
    "Comparison",
    "ComparisonOutcome",
    "DirectAnswer",
    "DirectApiPace",
    "Pattern",
    "PhoneLink",
    "Profile",
    "ProfileQuerySet",
    "ProfileSource",
    "WaitingComparison",
]
