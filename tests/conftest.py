"""Set-up that every test shares: hypothesis profiles, and surroundings that do not depend on who starts the tests."""

from __future__ import annotations

import contextlib
import os
import resource
import signal

from hypothesis import HealthCheck, settings

import support

# "ci": the same examples on every machine and every run, so a failure is a failure of the change at hand.
# No deadline: two cores are shared, and the first example pays for loading tables.
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=60, print_blob=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", settings.get_profile("ci"), derandomize=False, max_examples=50)
# "soak": new examples for as long as one likes: HYPOTHESIS_PROFILE=soak pytest tests/property
settings.register_profile("soak", deadline=None, max_examples=20_000, print_blob=True, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# What surrounds the tests is the same whoever starts them: a shell, make, cron, another program's job.

#: variables that stay: who finds what, and what steers tests; all others are somebody's settings (of git, make, Python, colours, languages)
KEPT = {"PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "USER", "LOGNAME", "CI", "FUZZ_SECONDS", "PATIENCE", "SHRINK"}
for _name in os.environ.keys() - KEPT:
    if not _name.startswith(("PYTEST_", "COV_", "COVERAGE_", "HYPOTHESIS_", "SECLUDE_")):
        del os.environ[_name]
os.environ["HOME"] = str(support.once("home", lambda path: path.mkdir(0o700)))

# A shell's background job ignores SIGINT and SIGQUIT, nohup SIGHUP; some services block or ignore others. What tests start would have that from us.
for _number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:  # these two Python ignores itself, and not for whom it starts
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_SETMASK, ())
os.umask(0o022)

# Room for a thousand descriptors, a stack that ends, and no core files where tests look at what was written. A lower hard limit stays, but for root.
for _kind, _most in ((resource.RLIMIT_NOFILE, 1024), (resource.RLIMIT_STACK, 8 << 20), (resource.RLIMIT_CORE, 0)):
    _hard = resource.getrlimit(_kind)[1]
    if _hard != resource.RLIM_INFINITY and _hard < _most:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(_kind, (_most, _most))
            continue
        _most = _hard
    resource.setrlimit(_kind, (_most, _hard))


def pytest_collection_modifyitems(items):
    """Tests that are slow, most of which try the same many times over, are run without coverage's tracing, which makes them two to three times as slow
    again: what they run is traced in the tests beside them.
    """
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker("no_cover")
