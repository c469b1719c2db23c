"""The limits of what is taken in. Bytes from outside are hostile; nothing is unbounded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """One bound per danger; each is a setting `FILEROOM_LIMITS__…` with this default."""

    header_bytes: int = 64 * 2**20
    """All that a scan may hold of one Instance: every value but bulk values."""
    elements: int = 1_000_000
    """Data Elements of one Instance, nested ones included."""
    nesting_depth: int = 32
    """Sequences within Sequences."""
    inline_bytes: int = 4096
    """A binary value up to this size stands in the Metadata; a longer one is Bulk Data."""
    text_bytes: int = 2**20
    """A text value longer than this is refused."""
    inflated_bytes: int = 4 * 2**30
    """A deflated data set, inflated."""
    inflate_ratio: int = 200
    """How many times its size a deflated data set may grow (beyond the first 64 MiB)."""
    fragments: int = 5_000_000
    """Items of encapsulated Pixel Data."""
    decoded_bytes: int = 2 * 2**30
    """One frame, decoded."""
    parts: int = 100_000
    """Parts of one Store request."""
    refused_parts: int = 10_000
    """Parts of one Store request that are no Instances at all; one more, and nothing is stored."""
    part_header_bytes: int = 16 * 2**10
    """Header fields of one part."""
    part_bytes: int = 64 * 2**30
    """One part of a Store request."""
    request_bytes: int = 1024 * 2**30
    """The body of one Store request."""
    memory_part_bytes: int = 4 * 2**20
    """A part up to this size stays in memory; a longer one goes to a staging file."""
    reserve_bytes: int = 256 * 2**20
    """What a disk keeps free: nothing is stored past it, so that the index can still be written."""
    body_seconds: int = 60
    """How long a client may send nothing in the middle of a body."""
    body_rate: int = 1024
    """Bytes a second that a client sends or takes at least, on average over `body_seconds`."""
    search_results: int = 5_000
    """Matches in one Search answer when the client names no limit, and the most it may ask for."""
    counted_matches: int = 1_000
    """How far the remaining matches of a Search are counted."""
    looked_into: int = 5_000
    """Studies, Series or Instances that one Search may look into for what is not in the index."""
    commitment_references: int = 50_000
    """Instances that one request for storage commitment names."""
    waiting_clients: int = 200
    """Clients that wait for changes at once, of one process."""
    uploads: int = 64
    """Store requests at once, of one process."""
    downloads: int = 64
    """Answers with all of a Study or Series at once, of one process."""
    wide_searches: int = 4
    """Searches at once, of one process, that need more than the index's columns."""
    waiting_requests: int = 128
    """Requests that wait for a turn of one kind, of one process."""
    waiting_seconds: int = 10
    """How long they wait."""
    principal_rate: int = 1000
    """Requests a second of one caller, to one process."""
    address_rate: int = 2000
    """Requests a second from one address, to one process."""
    burst_seconds: int = 10
    """For how many seconds' worth of requests may come at once after a rest."""
