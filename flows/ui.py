"""Prefect's pages on this checkout's runs:  python -m flows.ui"""

import os
import sys

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from flows.child import Failed
from flows.server import FIRST_PORT, OWN, address, answers, free_port, variables
from tasks.closed_pipe import quiet


@quiet
def main() -> int:
    url, own = PREFECT_API_URL.value() or address(FIRST_PORT), PREFECT_HOME.value() / OWN
    try:
        known = next(filter(answers, [url, *([own.read_text()] if own.exists() else [])]), None)
    except Failed as error:
        print(error, file=sys.stderr)
        return 1
    if known:
        print(f"A server is running: {known.removesuffix('/api')}")
        return 0
    url = address(free_port())
    print(f"{url.removesuffix('/api')} (Ctrl-C ends it)", flush=True)
    command = [sys.executable, "-m", "prefect", "server", "start"]
    os.execve(sys.executable, command, os.environ | variables(url, PREFECT_HOME.value()))


if __name__ == "__main__":
    sys.exit(main())
