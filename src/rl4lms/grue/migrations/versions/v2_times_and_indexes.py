"""When a result was added, and indexes for what people ask for: a system on a task, and a metric of all results."""

from __future__ import annotations

from rl4lms.plugins.packages import of_extra

op, sa = of_extra("alembic").op, of_extra("sqlalchemy")
revision, down_revision = "2", "1"


def upgrade() -> None:
    """Add those that are not there; of results that are there already, nobody knows the time."""
    there = sa.inspect(op.get_bind())  # MySQL keeps what a migration that was interrupted had done
    if "created_at" not in {column["name"] for column in there.get_columns("grue_results")}:
        op.add_column("grue_results", sa.Column("created_at", sa.DateTime(timezone=True)))
    indexes = {
        "grue_results_of_system": ("grue_results", ["task", "system"]),
        "grue_values_of_metric": ("grue_values", ["metric"]),
    }
    for name, (table, columns) in indexes.items():
        if name not in {index["name"] for index in there.get_indexes(table)}:
            op.create_index(name, table, columns)
