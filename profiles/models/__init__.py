from profiles.max_api.models import DirectAnswer, DirectApiPace
from profiles.models.cache_generation import CacheGeneration
from profiles.models.comparison import Comparison, ComparisonOutcome, Pattern, WaitingComparison
from profiles.models.profile import PhoneLink, Profile, ProfileQuerySet, ProfileSource
from profiles.models.tombstones import Erasure, PersonExport, Tombstone

__all__ = [
    "CacheGeneration",
    "Comparison",
    "ComparisonOutcome",
    "DirectAnswer",
    "DirectApiPace",
    "Erasure",
    "Pattern",
    "PersonExport",
]
__all__ += ["PhoneLink", "Profile", "ProfileQuerySet", "ProfileSource", "Tombstone", "WaitingComparison"]
