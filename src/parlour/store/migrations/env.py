"""Runs migrations in the transaction that `parlour.store.database` began: all of them, or none."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
