"""A room: its members, and the numbering of what happens in it."""

from parlour.core.events import Member, MemberJoined, MemberLeft, Message, Publish, Seat


class Room:
    """Members who hear each other, and one order of messages.

    Invariant: `off` is the offset of the newest message; it only grows within an epoch.
    """

    __slots__ = ("epoch", "members", "name", "off")

    def __init__(self, name: str, epoch: str) -> None:
        self.name = name
        self.epoch = epoch  # names this numbering: a restart begins another one
        self.off = 0
        self.members: dict[str, Member] = {}  # by connection, in the order of their coming

    def join(self, member: Member) -> MemberJoined | None:
        """Seat the member; None if it sits here already."""
        if member.connection in self.members:
            return None
        self.members[member.connection] = member
        return MemberJoined(self.name, member, len(self.members))

    def leave(self, connection: str) -> MemberLeft | None:
        """Free the seat; None if there is none, so that leaving twice is leaving once."""
        member = self.members.pop(connection, None)
        return None if member is None else MemberLeft(self.name, member, len(self.members))

    def seat(self) -> Seat:
        """Where one who joined last stands."""
        return Seat(self.name, self.epoch, self.off, len(self.members))

    def publish(self, publish: Publish, mid: str, ts: int) -> Message:
        """Give the message its place in the room's order."""
        self.off += 1
        return Message(self.name, self.epoch, self.off, mid, ts, publish.sender, publish.text)
