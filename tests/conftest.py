"""How hypothesis runs here: no deadline, since CI machines stall, and no database in the tree."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "project",
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")
