"""How tests are spread over processes. Only those that run some load their fixtures, and torch with them."""

import os

from xdist.scheduler import LoadFileScheduling


def pytest_configure(config):
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        config.pluginmanager.import_plugin("common_fixtures")


def pytest_xdist_auto_num_workers():
    """One more than there are cores: tests of flows wait most of their time for other processes."""
    return (os.cpu_count() or 1) + 1


class Together(LoadFileScheduling):
    """A worker a file, and one for all files of flows, which share its server: to start one takes half a minute."""

    def _split_scope(self, nodeid):
        file = super()._split_scope(nodeid)
        return "tests/flows" if file.startswith("tests/flows/") else file


def pytest_xdist_make_scheduler(config, log):
    return Together(config, log)


def pytest_collection_modifyitems(items):
    """Files with slow tests first: begun last, one would keep a worker busy while the others have nothing to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
