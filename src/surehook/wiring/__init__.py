"""The only place that builds adapters and roles from the settings."""

from __future__ import annotations

from surehook.wiring.database import (
    OpenedDatabase,
    database_file,
    migrate,
    migration_status,
    open_database,
)
from surehook.wiring.importing import load_app
from surehook.wiring.node import ROLES, MountedNode, Node, Role
from surehook.wiring.parts import (
    build_headers,
    build_providers,
    build_route,
    build_routes,
    resolve_at,
    warnings_of,
)
from surehook.wiring.running import run

__all__ = [
    "ROLES",
    "MountedNode",
    "Node",
    "OpenedDatabase",
    "Role",
    "build_headers",
    "build_providers",
    "build_route",
    "build_routes",
    "database_file",
    "load_app",
    "migrate",
    "migration_status",
    "open_database",
    "resolve_at",
    "run",
    "warnings_of",
]
