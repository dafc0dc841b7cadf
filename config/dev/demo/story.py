"""The timeline of the demo's rollout over the last two weeks: when each phase began, and which incidents happened."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from profiles.rollout.decision import BUCKETS, RolloutState
from profiles.rollout.phases import PHASES

DAYS = 14
MOSCOW = timedelta(hours=3)
OPERATOR, CLERK, OFFICER, ADMIN = "operator", "clerk", "officer", "admin"
# Two universities, by their index in people.UNIVERSITIES: the first asked to wait, the second volunteered.
DENIED, VOLUNTEER = 3, 5


@dataclass(frozen=True)
class Story:
    """The times of the events in the two weeks that end at ``now``."""

    now: datetime

    def at(self, days: int, hour: int, minute: int = 0) -> datetime:
        """Return the time ``days`` days ago at this hour and minute in Moscow."""
        midnight = (self.now + MOSCOW).replace(hour=0, minute=0, second=0, microsecond=0) - MOSCOW
        return midnight - timedelta(days=days) + timedelta(hours=hour, minutes=minute)

    @cached_property
    def start(self) -> datetime:
        return self.at(DAYS, 9)

    @cached_property
    def collecting_since(self) -> datetime:
        return self.at(13, 11)

    @cached_property
    def delivery_gap(self) -> tuple[datetime, datetime]:
        """Return the start and the end of a period without updates.

        Because of this gap, the rollout was held until the operator resumed it.
        """
        return self.at(10, 13, 30), self.at(10, 14, 25)

    @property
    def held_at(self) -> datetime:
        return self.delivery_gap[1] - timedelta(minutes=3)

    @cached_property
    def outage(self) -> tuple[datetime, datetime]:
        """Return the start and the end of the direct API's outage."""
        return self.at(8, 11, 5), self.at(8, 11, 50)

    @cached_property
    def backfilled_at(self) -> datetime:
        return self.at(5, 19, 30)

    @cached_property
    def steps(self) -> list[tuple[datetime, int, str]]:
        """Return the steps of phase 3: when, to which percentage, and the operator's reason."""
        return [
            (self.at(7, 10, 20), 1, "Первая группа: имена совпадают"),
            (self.at(6, 10, 45), 5, "Сутки без расхождений"),
            (self.at(4, 11, 10), 25, "Совпадение имён держится, жалоб от кадров нет"),
        ]

    @cached_property
    def rules_since(self) -> datetime:
        return self.at(7, 9, 40)

    def state_at(self, moment: datetime, universities: list[int], salt: str) -> RolloutState:
        """Return the state of the rollout at this time; ``universities`` are IDs, indexed by ``Person.university``."""
        percent = max((percent for at, percent, _ in self.steps if at <= moment), default=0)
        collecting = BUCKETS if moment >= self.collecting_since else 0
        has_rules = moment >= self.rules_since
        return RolloutState(
            salts={PHASES[2]: salt},
            phases=(BUCKETS, collecting, percent * BUCKETS // 100, 0),
            allowed={universities[VOLUNTEER]: 3} if has_rules else {},
            denied={universities[DENIED]: 3} if has_rules else {},
        )
