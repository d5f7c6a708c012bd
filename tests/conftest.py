"""Set-up that every test shares: hypothesis profiles, and signals as a terminal's programs have them."""

from __future__ import annotations

import os
import signal

from hypothesis import HealthCheck, settings

# "ci": the same examples on every machine and every run, so a failure is a failure of the change at hand.
# No deadline: two cores are shared, and the first example pays for loading tables.
settings.register_profile(
    "ci", derandomize=True, deadline=None, max_examples=100, print_blob=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("dev", settings.get_profile("ci"), derandomize=False, max_examples=50)
# "soak": new examples for as long as one likes: HYPOTHESIS_PROFILE=soak pytest tests/property
settings.register_profile("soak", deadline=None, max_examples=20_000, print_blob=True, suppress_health_check=list(HealthCheck))
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell's background job ignores the first two, nohup the third; what tests start would have that from us.
for _number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.default_int_handler if _number == signal.SIGINT else signal.SIG_DFL)
