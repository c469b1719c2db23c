"""Does the index answer?"""

from app.index.engine import Index


async def check_alive(index: Index) -> None:
    """Ask the database the smallest question.

    Raises:
        Unavailable: it does not answer.
    """
    await index.fetchrow("SELECT 1")
