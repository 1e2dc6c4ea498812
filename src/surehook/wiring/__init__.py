"""The only place that builds adapters and roles from the settings."""

from __future__ import annotations

from surehook.wiring.database import OpenedDatabase, migrate, migration_status, open_database
from surehook.wiring.node import ROLES, MountedNode, Node, Role
from surehook.wiring.parts import build_providers, build_route, build_routes, load_app, warn_of_unknown
from surehook.wiring.running import run

__all__ = [
    "ROLES",
    "MountedNode",
    "Node",
    "OpenedDatabase",
    "Role",
    "build_providers",
    "build_route",
    "build_routes",
    "load_app",
    "migrate",
    "migration_status",
    "open_database",
    "run",
    "warn_of_unknown",
]
