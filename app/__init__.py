"""Fileroom: a picture archiving and communication system (PACS) that speaks HTTP."""

__version__ = "0.1.0"
