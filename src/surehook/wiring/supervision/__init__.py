"""Many processes of one node: a parent that starts them, watches them and keeps their number.

The parent binds the ports and serves nothing itself. It and its processes talk over a pair of sockets each: the process
sends the words of sd_notify(3), and the end of the parent is the end of the stream.
"""

from __future__ import annotations

from surehook.wiring.supervision.report import Report, to_systemd
from surehook.wiring.supervision.slot import Slot, take_slot
from surehook.wiring.supervision.supervise import MOST, SHORTEST_STALL, STALL, Plan, supervise

__all__ = [
    "MOST",
    "SHORTEST_STALL",
    "STALL",
    "Plan",
    "Report",
    "Slot",
    "supervise",
    "take_slot",
    "to_systemd",
]
