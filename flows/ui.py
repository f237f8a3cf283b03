"""Prefect's pages on this checkout's runs:  python -m flows.ui"""

import os
import sys

from prefect.settings import PREFECT_HOME

from flows.child import Failed
from flows.server import address, free_port, running, variables
from tasks.closed_pipe import quiet


@quiet
def main() -> int:
    try:
        known = running()
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
