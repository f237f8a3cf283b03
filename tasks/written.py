"""YAML as a person writes it."""

from typing import Any

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml, where PyYAML has it, reads ten times faster


def read(text: str) -> Any:
    """The content of YAML in which no key stands twice in a section, where the second would silently win.

    Raises yaml.YAMLError.
    """
    loader = _LOADER(text)
    node = loader.get_single_node()
    left, seen = [node], set()
    while left:
        section = left.pop()
        if id(section) in seen:  # an anchor may name the section that it stands in
            continue
        seen.add(id(section))
        if isinstance(section, yaml.SequenceNode):
            left += section.value
        elif isinstance(section, yaml.MappingNode):
            _see_that_no_key_stands_twice(section)
            left += [inner for _, inner in section.value]
    return None if node is None else loader.construct_document(node)


def _see_that_no_key_stands_twice(section: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in section.value:
        if isinstance(key, yaml.ScalarNode):
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"{key.value} stands twice", problem_mark=key.start_mark)
            seen.add(key.value)
