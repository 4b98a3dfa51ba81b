"""What Alembic runs to migrate: over the connection, and within the transaction, of whoever called it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
