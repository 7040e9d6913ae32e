"""A plain connection under any order of calls: what holds whatever happens."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parlour.core.commands import Line
from parlour.core.connection import CALM, ERRORS_LIMIT, HOLD_LIMIT, PIECES_LIMIT, STALL_LIMIT, Pace
from parlour.core.events import Publish, Weigh
from parlour.core.policy import Policy
from parlour.errors import NO_PONG, RATE, REPLACED, TOO_MANY_ERRORS, UNFINISHED, Refusal
from tests.core.peer import PlainPeer

PACES = st.builds(
    Pace,
    rate=st.sampled_from([None, 0.5, 1.0, 7.0, 10.0, 1_000.0]),
    burst=st.sampled_from([1, 2, 30]),
    ping=st.sampled_from([3.0, 20.0, float("inf")]),
    ping_timeout=st.sampled_from([2.0, 10.0]),
)
CLOCKS = st.sampled_from([0.0, 1_000.1, 7_654_321.7, 123_456_789.123])
"""A monotonic clock counts from the machine's start: up to some years, where floats are coarse."""

SPANS = st.one_of(
    st.sampled_from([0.0, 0.1, 1 / 7, CALM, 3.0, PIECES_LIMIT, 20.0, STALL_LIMIT]),
    st.floats(min_value=0.0, max_value=70.0),
)
SIZES = st.sampled_from([0, 100, HOLD_LIMIT // 3, HOLD_LIMIT])


class AnyLife(RuleBasedStateMachine):
    """`PlainPeer` checks the order of effects and the honesty of `deadline`; here is what became of the lines."""

    @initialize(pace=PACES, now=CLOCKS)
    def open(self, pace: Pace, now: float) -> None:
        self.pace = pace
        self.policy = Policy()
        self.peer = PlainPeer(pace, now=now, seated=False, policy=self.policy)
        self.due: list[str] = []  # what must become of its lines, in order: a text, or a refusal's words

    @property
    def answers(self) -> list[str]:
        return [self.words(answer) for answer in self.peer.answers]

    @staticmethod
    def words(answer: Publish | Weigh | Refusal) -> str:
        if isinstance(answer, Refusal):
            return answer.message
        return answer.text if isinstance(answer, Publish) else answer.publish.text

    @property
    def seated(self) -> bool:
        return self.peer.connection.room is not None

    @property
    def over(self) -> bool:
        return self.peer.connection.ended

    @precondition(lambda self: not self.seated and not self.over)
    @rule()
    def sit(self) -> None:
        self.peer.sit()

    @rule(fine=st.booleans(), size=SIZES)
    def say(self, fine: bool, size: int) -> None:
        words = f"{len(self.due)}"
        if not self.over:
            self.due.append(words)
        self.peer.hand(Line(words, "ada") if fine else Refusal("bad_frame", words), size=size)

    @rule(size=SIZES, lines=st.integers(min_value=2, max_value=40))
    def say_much(self, size: int, lines: int) -> None:
        for _ in range(lines):
            self.say(True, size)

    @rule(classifies=st.booleans())
    def weigh(self, classifies: bool) -> None:
        """From now on each line is weighed before it is said, or none is."""
        self.policy.classifies = classifies
        self.policy.change()

    @rule(frames=st.sampled_from([1, 1, 31]))
    def control(self, frames: int) -> None:
        for _ in range(frames):
            self.peer.control()

    @rule()
    def begin(self) -> None:
        self.peer.begin()

    @rule()
    def finish(self) -> None:
        self.peer.connection.finished()

    @rule(seconds=SPANS)
    def wait(self, seconds: float) -> None:
        self.peer.wait(seconds)

    @precondition(lambda self: self.peer.connection.deadline < float("inf"))
    @rule()
    def wait_for_deadline(self) -> None:
        self.peer.wait_for_deadline()

    @rule(seconds=SPANS)
    def oversleep(self, seconds: float) -> None:
        """A busy loop calls `tick` late."""
        self.peer.now += seconds
        self.peer.tick()

    @rule(seconds=SPANS)
    def freeze(self, seconds: float) -> None:
        """A busy loop reads first, and calls `tick` later still."""
        self.peer.now += seconds

    @rule()
    def tick_in_between(self) -> None:
        deadline = self.peer.connection.deadline
        if self.peer.now < deadline:
            assert not self.peer.tick()
            assert self.peer.connection.deadline == deadline

    # Rare, for most of what can go wrong needs a long life

    @precondition(lambda self: len(self.due) > 60)
    @rule(lost=st.booleans())
    def end(self, lost: bool) -> None:
        if lost:
            self.peer.lose()
        else:
            self.peer.end(REPLACED)

    @invariant()
    def no_line_is_lost_doubled_or_reordered(self) -> None:
        answers = self.answers
        assert answers == self.due[: len(answers)]
        if self.seated and self.pace.rate is None:
            assert answers == self.due

    @invariant()
    def the_rate_is_kept(self) -> None:
        if self.pace.rate is None:
            return
        times = self.peer.answered_at
        for later in range(max(0, len(times) - 3), len(times)):
            for earlier in range(later):
                least = (later - earlier + 1 - self.pace.burst) / self.pace.rate
                assert times[later] - times[earlier] >= least - 1e-5

    @invariant()
    def ten_refusals_in_a_row_are_the_end(self) -> None:
        last = self.peer.answers[-ERRORS_LIMIT:]
        too_many = len(last) == ERRORS_LIMIT and all(isinstance(answer, Refusal) for answer in last)
        assert not too_many or self.peer.close == TOO_MANY_ERRORS

    @invariant()
    def an_end_has_its_reason(self) -> None:
        assert self.peer.close in (None, NO_PONG, RATE, REPLACED, TOO_MANY_ERRORS, UNFINISHED)
        if self.over:
            assert self.peer.connection.deadline == float("inf")
            assert self.peer.connection.room is None

    @invariant()
    def one_who_is_not_read_has_a_deadline(self) -> None:
        """Else it could stay so for ever."""
        assert self.over or self.peer.is_read() or self.peer.connection.deadline <= self.peer.now + STALL_LIMIT + 1e-6

    def teardown(self) -> None:
        """Who lives on gets all lines said in the end."""
        if not hasattr(self, "peer"):
            return
        if not self.over and not self.seated:
            self.peer.sit()
        for _ in range(1_000):
            if self.over or len(self.peer.answers) == len(self.due):
                break
            self.peer.connection.finished()
            pings = len(self.peer.pings)
            self.peer.wait_for_deadline()
            if len(self.peer.pings) > pings:
                self.peer.control()
        if not self.over:
            assert self.answers == self.due


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=150, stateful_step_count=40)
