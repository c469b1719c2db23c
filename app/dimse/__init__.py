"""The DIMSE bridge: DICOM's own network protocol on one side, the public HTTP API on the other.

It holds no database and no store, and knows the archive by its address alone (DESIGN §1). The
upper layer's states, negotiation and messages are pynetdicom's; what carries data sets is ours.
"""
