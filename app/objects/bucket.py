"""The address of a bucket. Apart from the store, whose library is too large for light processes."""

from dataclasses import dataclass, field

SCHEMES = frozenset({"s3", "gs", "az"})


@dataclass(frozen=True, slots=True)
class Bucket:
    """Where a bucket is. What is not given comes from the environment, as the cloud's own tools
    take it (AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_ACCOUNT_NAME, …)."""

    url: str
    """`s3://bucket/prefix`, `gs://…`, `az://…`."""
    endpoint: str | None = None
    """Of a server that speaks S3 and is not Amazon's."""
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
