"""Prefect's pages on this checkout's runs:  python -m flows.ui"""

import os
import sys

from prefect.settings import PREFECT_API_URL, PREFECT_HOME

from flows.child import Failed
from flows.server import FIRST_PORT, address, answers, free_port, own, variables
from tasks.closed_pipe import quiet


@quiet
def main() -> int:
    url = PREFECT_API_URL.value() or address(FIRST_PORT)
    try:
        known = url if answers(url) else own(PREFECT_HOME.value())
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
