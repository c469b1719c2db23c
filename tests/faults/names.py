"""The list: what can go wrong at each step of ingest and removal. Each name has a case in a test.

A test module says which names it has cases for; `test_names` fails if one is in none.
"""

from enum import StrEnum


class Fault(StrEnum):
    """A step, and what happens there."""

    # the process is killed
    KILLED_BEFORE_WRITE = "killed before the bytes are written"
    KILLED_BEFORE_FSYNC = "killed before the fsync of the bytes"
    KILLED_AFTER_FSYNC = "killed after the fsync of the bytes"
    KILLED_BEFORE_LINK = "killed before the link to the key"
    KILLED_AFTER_LINK = "killed after the link to the key"
    KILLED_BEFORE_DIRECTORY_FSYNC = "killed before the fsync of the key's directory"
    KILLED_AFTER_DIRECTORY_FSYNC = "killed after the fsync of the key's directory"
    KILLED_BEFORE_PUT = "killed before the put to a bucket"
    KILLED_AFTER_PUT = "killed after the put to a bucket"
    KILLED_BEFORE_COMMIT = "killed before the commit"
    KILLED_AFTER_COMMIT = "killed after the commit"
    KILLED_BEFORE_STATEMENT = "killed before the statement that is its own transaction"
    KILLED_AFTER_STATEMENT = "killed after the statement that is its own transaction"
    KILLED_BEFORE_UNLINK = "killed before an object is removed"
    KILLED_AFTER_UNLINK = "killed after an object is removed"
    # the disk fails
    EIO_AT_WRITE = "a write fails"
    EIO_AT_FSYNC = "the fsync of the bytes fails"
    EIO_AT_LINK = "the link to the key fails"
    EIO_AT_MKDIR = "a directory cannot be made"
    EIO_AT_DIRECTORY_FSYNC = "the fsync of a directory fails"
    EIO_AT_UNSTAGING = "a staged file cannot be removed"
    EIO_AT_UNLINK = "an object cannot be removed"
    # the disk is full
    ENOSPC_AT_WRITE = "no room at a write"
    ENOSPC_AT_FSYNC = "no room at the fsync of the bytes"
    ENOSPC_AT_LINK = "no room for the link"
    ENOSPC_AT_MKDIR = "no room for a directory"
    ENOSPC_AT_DIRECTORY_FSYNC = "no room at the fsync of a directory"
    FULL_DISK = "a real disk that is full"
    FULL_INDEX = "the index has no room at the commit"
    # the index goes away
    LOST_BEFORE_COMMIT = "the connection is lost before the commit"
    LOST_AFTER_COMMIT = "the answer to the commit is lost"
    LOST_BEFORE_STATEMENT = "the connection is lost before a statement that is its own transaction"
    LOST_AFTER_STATEMENT = "the answer to a statement that is its own transaction is lost"
    # the bucket fails
    BUCKET_LATE = "a bucket answers late"
    BUCKET_TOO_LATE = "a bucket answers when nobody waits any more"
    BUCKET_TWICE = "a bucket takes a request twice"
    BUCKET_BUSY = "a bucket says 503 once"
    BUCKET_DOWN = "a bucket says 503 each time"
    BUCKET_CUT = "the connection to a bucket is cut before it takes the request"
    BUCKET_ANSWER_LOST = "the connection to a bucket is cut after it took the request"
    BUCKET_KEEPS_OBJECT = "a bucket does not delete an object"
    # two at once
    SAME_UID_SAME_BYTES = "the same Instance is stored several times at once"
    SAME_UID_OTHER_BYTES = "two Instances of one UID are stored at once"
    STORE_DURING_REMOVAL = "stored again while it is removed"
    REMOVAL_DURING_STORE = "removed while others are stored into its Series"
    STORE_DURING_PURGE = "stored again while it is purged"
    STORE_DURING_SWEEP = "stored again while objects without a row are swept"
    GIVEN_UP = "the client gives up in the middle"
