"""Who may come in: invitations, participants of platforms, the administrator's password, sessions, and attempts that
were wrong. Of all secrets only hashes are kept.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any

from rl4lms.human_eval.records import Refused, now, utc
from rl4lms.human_eval.schema import ATTEMPTS, RATERS, SESSIONS, STUDY
from rl4lms.plugins.databases import reading, transaction
from rl4lms.plugins.packages import of_extra

sa: Any = of_extra("sqlalchemy")

SESSION_DAYS = 30
#: Wrong passwords or invitations from one place within `ATTEMPTS_MINUTES`.
MOST_ATTEMPTS = 10
ATTEMPTS_MINUTES = 15
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}


def hash_of(secret: str) -> str:
    """Return what is kept of a secret that was drawn by lot, and is too long to be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()


def password_hash(password: str, salt: bytes) -> str:
    """Return what is kept of a password."""
    return f"{salt.hex()}:{hashlib.scrypt(password.encode(), salt=salt, **_SCRYPT).hex()}"


class Doors:
    """The doors of one study.

    Args:
        engine: of its database.
        secret: of the study, in hexadecimal.
        platform: what is kept of the platform's secret.
    """

    def __init__(self, engine: Any, secret: str, platform: str) -> None:
        self._engine, self._secret, self._platform = engine, bytes.fromhex(secret), platform

    def keyed(self, text: str) -> str:
        """Return a hash of a text that only this study can compute: of tokens in pages, and of what is outside."""
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def rater_of_invite(self, invite: str) -> int | None:
        """Return who has an invitation; None where nobody does."""
        with reading(self._engine) as connection:
            found = connection.execute(sa.select(RATERS.c.id).where(RATERS.c.invite == hash_of(invite))).scalar()
        return None if found is None else int(found)

    def is_platform(self, secret: str) -> bool:
        """Return whether this is the secret of the links that a platform has."""
        return hmac.compare_digest(hash_of(secret), self._platform)

    def rater_of_platform(self, secret: str, participant: str) -> int | None:
        """Return the rater that stands for a participant of a crowdsourcing platform, a free one at the first visit.

        Of the participant's id only a hash is kept.

        Args:
            secret: of the link that the platform has.
            participant: the platform's id, such as PROLIFIC_PID or workerId.

        Returns:
            None where the secret is wrong.

        Raises:
            Refused: all raters of the study are there already.
        """
        if not self.is_platform(secret) or not participant:
            return None
        who = self.keyed(f"participant {participant}")
        with transaction(self._engine, "human") as connection:
            known = connection.execute(sa.select(RATERS.c.id).where(RATERS.c.external == who)).scalar()
            if known is not None:
                return int(known)
            free = (RATERS.c.external.is_(None), RATERS.c.consented_at.is_(None), RATERS.c.withdrawn_at.is_(None))
            found = connection.execute(sa.select(RATERS.c.id).where(*free).order_by(RATERS.c.id).limit(1)).scalar()
            if found is None:
                raise Refused("all places of this study are taken")
            connection.execute(sa.update(RATERS).where(RATERS.c.id == found).values(external=who))
        return int(found)

    def is_password(self, password: str) -> bool:
        """Return whether this is the administrator's password."""
        with reading(self._engine) as connection:
            kept = str(connection.execute(sa.select(STUDY.c.password)).scalar_one())
        salt = bytes.fromhex(kept.partition(":")[0])
        return hmac.compare_digest(password_hash(password, salt), kept)

    def begin_session(self, rater: int | None) -> str:
        """Return the secret of a new session: of a rater, or of the administrator (None)."""
        token = secrets.token_urlsafe(32)
        ends = now() + timedelta(days=SESSION_DAYS if rater is not None else 1)
        with transaction(self._engine, "human") as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.expires_at < now()))
            connection.execute(sa.insert(SESSIONS).values(id=hash_of(token), rater_id=rater, expires_at=ends))
        return token

    def session(self, token: str) -> tuple[bool, int | None]:
        """Return whether a session is open, and whose it is: a rater's, or the administrator's (None)."""
        with reading(self._engine) as connection:
            row = connection.execute(sa.select(SESSIONS).where(SESSIONS.c.id == hash_of(token))).first()
        if row is None or (utc(row.expires_at) or now()) < now():
            return False, None
        return True, row.rater_id

    def end_session(self, token: str) -> None:
        """Close a session."""
        with transaction(self._engine, "human") as connection:
            connection.execute(sa.delete(SESSIONS).where(SESSIONS.c.id == hash_of(token)))

    def too_many(self, kind: str, source: str) -> bool:
        """Return whether there were too many wrong attempts from a place of late; such as `password`, `invite`."""
        since = now() - timedelta(minutes=ATTEMPTS_MINUTES)
        counted = sa.select(sa.func.count()).where(
            ATTEMPTS.c.kind == kind, ATTEMPTS.c.source == self.keyed(f"source {source}"), ATTEMPTS.c.at > since
        )
        with reading(self._engine) as connection:
            return int(connection.execute(counted).scalar_one()) >= MOST_ATTEMPTS

    def note_attempt(self, kind: str, source: str) -> None:
        """Note a wrong attempt."""
        with transaction(self._engine, "human") as connection:
            connection.execute(sa.delete(ATTEMPTS).where(ATTEMPTS.c.at < now() - timedelta(minutes=ATTEMPTS_MINUTES)))
            connection.execute(sa.insert(ATTEMPTS).values(kind=kind, source=self.keyed(f"source {source}"), at=now()))
