"""The first schema.

A migration says for itself what the tables are like: `parlour.store.tables` goes on changing.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    big = sa.Integer() if is_sqlite else sa.BigInteger()  # only INTEGER can be SQLite's own row id
    op.create_table(
        "rooms",
        sa.Column("id", big, primary_key=True, autoincrement=False),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("locked", sa.Boolean, nullable=False),
        sa.Column("slow_ms", sa.Integer, nullable=False),
        sa.Column("archived", sa.Boolean, nullable=False),
        sa.Column("off", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("id", big, primary_key=True, autoincrement=False),
        sa.Column("room", big, sa.ForeignKey("rooms.id"), nullable=False),
        sa.Column("epoch", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("mid", sa.Text, nullable=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("name", sa.Text),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("plain", sa.Boolean, nullable=False),
        sa.Column("text", sa.Text),
        sa.Column("reply_to", sa.Text),
        sa.Column("key", sa.Text),
        sa.Column("edited", sa.BigInteger),
        sa.Column("deleted", sa.Boolean, nullable=False),
        sa.Column("emoji", sa.Text),
        sa.Column("is_on", sa.Boolean),
    )
    is_message, has_key = sa.text("kind = 'message'"), sa.text("key IS NOT NULL")
    op.create_index("events_mid", "events", ["mid"], unique=True, sqlite_where=is_message, postgresql_where=is_message)
    op.create_index(
        "events_key",
        "events",
        ["person", "room", "key"],
        unique=True,
        sqlite_where=has_key,
        postgresql_where=has_key,
    )
    op.create_index("events_ts", "events", ["ts"])
    op.create_table(
        "reactions",
        sa.Column("message", big, sa.ForeignKey("events.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("emoji", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, primary_key=True),
        sa.Column("off", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit",
        sa.Column("n", big, primary_key=True, autoincrement=False),
        sa.Column("ts", sa.BigInteger, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("actor", "action", "subject", "details", "prev_hash", "hash")
        ),
    )
    op.create_table(
        "bans",
        sa.Column("id", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kind", "subject", "reason")),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("by", sa.Text, nullable=False),
    )
    op.create_table(
        "mutes",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("person", sa.Text, nullable=False),
        sa.Column("room", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("by", sa.Text, nullable=False),
    )
    op.create_table(
        "blocks",
        sa.Column("person", sa.Text, primary_key=True),
        sa.Column("other", sa.Text, primary_key=True),
        sa.Column("since_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reports",
        sa.Column("ref", sa.Text, primary_key=True),
        sa.Column("room", sa.Text, nullable=False),
        sa.Column("reporter", sa.Text, nullable=False),
        sa.Column("accused", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("evidence", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("decision", sa.Text),
        sa.Column("decided_ms", sa.BigInteger),
        sa.Column("decided_by", sa.Text),
    )
    op.create_table(
        "operators",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("password_hash", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False, unique=True),
        sa.Column("scopes", sa.JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("last_used_ms", sa.BigInteger),
    )
    op.create_table(
        "consents",
        sa.Column("person", sa.Text, primary_key=True),
        sa.Column("version", sa.Text, primary_key=True),
        sa.Column("ts", sa.BigInteger, nullable=False),
        sa.Column("band", sa.Text),
    )
    op.create_table(
        "settings",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("json", sa.Text, nullable=False),
    )
    if is_sqlite:
        # It holds the words of the messages that are not deleted, and no text of its own. `parlour.store.sql` fills it:
        # a trigger costs 15 microseconds a message (measured), a second statement for the whole batch 4.
        op.execute(
            "CREATE VIRTUAL TABLE search USING fts5(text, content='events', content_rowid='id',"
            " tokenize='unicode61 remove_diacritics 2')"
        )
    else:
        op.execute(
            "ALTER TABLE events ADD COLUMN search tsvector GENERATED ALWAYS AS"
            " (CASE WHEN kind = 'message' THEN to_tsvector('simple', text) END) STORED"
        )
        op.execute("CREATE INDEX events_search ON events USING gin (search)")
