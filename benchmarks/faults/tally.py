"""What came of a kind of fault: how many were injected, how many went as they should.

In: outcomes, one after the other. Out: a row of the table, and the failures in words.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Tally:
    """One kind of fault."""

    what: str  # such as "kills survived / injected"
    made: int = 0
    failures: list[str] = field(default_factory=list)
    remarks: str = ""

    def count(self, failure: str | None) -> None:
        """One more, which went as it should or not."""
        self.made += 1
        if failure:
            self.failures.append(failure)

    @property
    def held(self) -> int:
        return self.made - len(self.failures)
