"""The tables of the first schema."""

from __future__ import annotations

from rl4lms.human_eval.schema import LONG
from rl4lms.plugins.packages import of_extra

op, sa = of_extra("alembic").op, of_extra("sqlalchemy")
revision, down_revision = "1", None


def upgrade() -> None:
    """Create the tables that are not there: MySQL keeps what a migration that was interrupted had done."""
    time = sa.DateTime(timezone=True)
    op.create_table(
        "human_study",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("content", LONG, nullable=False),
        sa.Column("secret", sa.String(64), nullable=False),
        sa.Column("password", sa.String(200), nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("created_at", time, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "human_items",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("purpose", sa.String(10), nullable=False),
        sa.Column("prompt_id", sa.Text, nullable=False),
        sa.Column("prompt", LONG, nullable=False),
        sa.Column("stratum", sa.Text, nullable=False),
        sa.Column("repeat_of", sa.Integer),
        sa.Column("context", LONG, nullable=False),
        sa.Column("outputs", LONG, nullable=False),
        sa.Column("expected", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "human_raters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("invite", sa.String(64), nullable=False, unique=True),
        sa.Column("external", sa.String(64), unique=True),
        sa.Column("quota", sa.Integer, nullable=False),
        sa.Column("code", sa.String(32), nullable=False),
        *(
            sa.Column(name, time)
            for name in (
                *("consented_at", "qualified_at", "refused_at", "seen_at", "finished_at", "withdrawn_at"),
                "released_at",
            )
        ),
        sa.Column("feedback", sa.Text),
        if_not_exists=True,
    )
    op.create_table(
        "human_assignments",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("item_id", sa.Integer, sa.ForeignKey("human_items.id"), nullable=False),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("human_raters.id")),
        sa.Column("position", sa.Integer),
        sa.Column("shown", sa.String(200), nullable=False),
        sa.Column("opened_at", time),
        sa.Column("draft", sa.Text),
        sa.Column("answers", sa.Text),
        sa.Column("seconds", sa.Float),
        sa.Column("edits", sa.Integer, nullable=False),
        sa.Column("rated_at", time),
        sa.UniqueConstraint("rater_id", "position"),
        sa.UniqueConstraint("rater_id", "item_id"),
        if_not_exists=True,
    )
    op.create_table(
        "human_sessions",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("rater_id", sa.Integer, sa.ForeignKey("human_raters.id")),
        sa.Column("expires_at", time, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "human_attempts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("at", time, nullable=False),
        if_not_exists=True,
    )
    op.create_index("human_assignments_of_item", "human_assignments", ["item_id"], if_not_exists=True)
    op.create_index("human_attempts_of_source", "human_attempts", ["kind", "source", "at"], if_not_exists=True)
