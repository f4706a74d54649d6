"""What is wrong with the labels of a data set: each problem once, with a count and examples."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dff.data.samples import SampleError

EXAMPLES = 3
"""Of each problem that are kept."""


@dataclass
class Problem:
    """One kind of problem.

    Attributes:
        what: In words, such as "boxes reach beyond their image and are clipped".
        cure: What to do about it.
        stops: Whether nothing can be trained before it is mended.
        count: How often it was met.
        examples: Where, of the first of them.
    """

    what: str
    cure: str
    stops: bool
    count: int = 0
    examples: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        shown = "; ".join(self.examples)
        more = self.count - len(self.examples)
        return f"{self.what}: {self.count} ({shown}{f'; and {more} more' if more > 0 else ''})"


class Findings:
    """The problems of a data set, in the order in which they were met; and what else is to say.

    Attributes:
        notes: How the files were understood, one sentence each.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._problems: dict[str, Problem] = {}

    def add(self, what: str, example: str, cure: str, stops: bool = False, count: int = 1) -> None:
        """Counts a problem.

        Args:
            what: See `Problem`; the same words count as the same problem.
            example: Where it was met.
            cure: See `Problem`.
            stops: Likewise.
            count: How often it was met there.
        """
        problem = self._problems.setdefault(what, Problem(what, cure, stops))
        problem.count += count
        if len(problem.examples) < EXAMPLES and example not in problem.examples:
            problem.examples.append(example)

    def note(self, sentence: str) -> None:
        """Says something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def take(self, other: "Findings") -> None:
        """Adds those of other files."""
        for sentence in other.notes:
            self.note(sentence)
        for problem in other:
            own = self._problems.setdefault(
                problem.what, Problem(problem.what, problem.cure, problem.stops)
            )
            own.count += problem.count
            own.examples = (own.examples + problem.examples)[:EXAMPLES]

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems.values())

    def __len__(self) -> int:
        return len(self._problems)

    def refuse(self) -> None:
        """Ends what cannot go on.

        Raises:
            SampleError: A problem stops; the message has the first one, its examples and cure.
        """
        stopping = [problem for problem in self if problem.stops]
        if stopping:
            more = len(stopping) - 1
            kinds = "kind" if more == 1 else "kinds"
            others = f" ({more} more {kinds} of problem: dff check lists them)" if more else ""
            raise SampleError(f"{stopping[0]}: {stopping[0].cure}{others}")
