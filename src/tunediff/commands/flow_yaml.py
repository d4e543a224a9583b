"""Write values as one line of YAML."""

from typing import Any

import yaml


class _OneLine(yaml.SafeDumper):
    """A YAML dumper that writes multi-line text on one line."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", text, style='"' if "\n" in text else None)


_OneLine.add_representer(str, _OneLine.represent_text)


def flow(value: object) -> str:
    """Dump a value as one line of YAML."""
    options: dict[str, Any] = {"default_flow_style": True, "sort_keys": False, "allow_unicode": True, "width": 10**9}
    text: str = yaml.dump(value, Dumper=_OneLine, **options)
    return text.removesuffix("\n").removesuffix("\n...")
