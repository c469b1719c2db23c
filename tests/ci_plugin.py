"""Where CI=true a test skipped for want of a tool is a failure: CI installs them all.

A skip for another reason stays one, such as a checkout that another user may not enter.
"""

import re
from collections.abc import Generator

import pytest

_WANTING = re.compile(r"not installed|(?:is|are) needed|could not import")


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if _WANTING.search(str(reason)):
            report.outcome = "failed"
            report.longrepr = f"skipped where CI=true: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure."""
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module's skip into a failure."""
    report = yield
    _refuse_skip(report)
    return report
