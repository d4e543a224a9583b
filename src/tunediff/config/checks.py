"""Which alarms are known and why they may stand."""

from pydantic import Field

from tunediff.config.section import Section, Word


class Checks(Section):
    """Which alarms are known and why they may stand."""

    acknowledge: dict[Word, Word] = Field(default={}, description="reason for each code, such as TD104")
