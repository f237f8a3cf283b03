"""YAML as a person writes it."""

from collections.abc import Mapping
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


def rewrite(text: str, values: Mapping[str, Any]) -> str:
    """`text` with other values at some dotted names, such as `ingest.root`; all else stays as it is, comments too.

    A name that is not there becomes the last of its section. Raises KeyError where there is no such section.
    """
    root: Any = yaml.SafeLoader(text).get_single_node()  # not libyaml's, whose marks count bytes
    edits = [_edit(text, root, name, _written(content)) for name, content in values.items()]
    for begin, end, new in sorted(edits, reverse=True):  # from behind, so that places before stay
        text = text[:begin] + new + text[end:]
    return text


def _edit(text: str, section: Any, name: str, value: str) -> tuple[int, int, str]:
    """What stands from here to there instead."""
    *above, last = name.split(".")
    for part in above:
        section = _entries(section)[part]
    entries = _entries(section)
    if last in entries:
        begin, end = entries[last].start_mark.index, _end(entries[last])
        return begin, end, value if begin < end else f" {value}"  # `pool:` and nothing is null
    if section.flow_style:
        place = section.end_mark.index - 1
        return place, place, f"{', ' if entries else ''}{last}: {value}"
    place = (text + "\n").index("\n", max(_end(entry) for entry in entries.values()))  # behind its comment
    return place, place, f"\n{' ' * section.start_mark.column}{last}: {value}"


def _entries(node: Any) -> dict[str, Any]:
    return {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}


def _end(node: Any) -> int:
    """Of a block the end of what it ends with: PyYAML takes comments behind it along."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    end: int = node.end_mark.index
    return end


def _written(content: Any) -> str:
    line: str = yaml.safe_dump(content, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return line.removesuffix("...\n").strip()
