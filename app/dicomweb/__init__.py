"""The DICOMweb routes."""
