"""Removal of secrets and home folders from records."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

HIDDEN = "***"

_NAMES = r"token|secret|passw|credential|api[-_]?key|access[-_]?key|private[-_]?key|_key"
_SECRET_NAME = re.compile(rf"(?i){_NAMES}\b|^key$")
_ASSIGNMENT = re.compile(r"(?s)^(--?)?([A-Za-z_][\w.-]*)=(.*)$")
_INLINE = re.compile(rf"(?i)([\w.-]*(?:{_NAMES})[\w-]*)(\s*[=:]\s*)([^\s,;&\"']+)")
_URL_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")
_KNOWN_TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_HOMES = re.compile(r"(?<![\w.~/-])(?:/home|/Users|[A-Za-z]:\\Users)[/\\][^/\\\s:'\"]+")


def scrub(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """A copy of `value` without secrets: values of variables and keys with secret-looking names, tokens, and passwords
    in URLs. Home folders become ``~``."""
    environment = os.environ if environment is None else environment
    found = {text for name, text in environment.items() if _SECRET_NAME.search(name) and len(text) >= 6}
    secrets = sorted(found, key=lambda text: (-len(text), text))
    home = environment.get("HOME", "")

    def clean(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, HIDDEN)
        text = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
        text = _KNOWN_TOKENS.sub(HIDDEN, text)
        text = _INLINE.sub(lambda match: f"{match[1]}{match[2]}{HIDDEN}" if _is_secret(match[1]) else match[0], text)
        if len(home) > 1:
            text = re.sub(re.escape(home) + r"(?=/|$)", "~", text)
        return _HOMES.sub("~", text)

    return _scrub(value, clean)


def _scrub(value: Any, clean: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {
            _scrub(key, clean): HIDDEN
            if isinstance(key, str) and isinstance(item, str) and item and _is_secret(key)
            else _scrub(item, clean)
            for key, item in value.items()
        }
    return _scrub_list(value, clean) if isinstance(value, (list, tuple)) else value


def _scrub_list(values: Iterable[Any], clean: Callable[[str], str]) -> list[Any]:
    """A list that may be a command line: the values of ``--token VALUE`` and ``token=VALUE`` are hidden."""
    cleaned: list[Any] = []
    hide_next = False
    for value in values:
        text = value if isinstance(value, str) else ""
        assignment = _ASSIGNMENT.match(text)
        if hide_next and isinstance(value, str) and not text.startswith("--"):
            cleaned.append(HIDDEN)
        elif assignment and _is_secret(assignment[2]):
            cleaned.append(f"{assignment[1] or ''}{assignment[2]}={HIDDEN}")
        else:
            cleaned.append(_scrub(value, clean))
        hide_next = text.startswith("-") and "=" not in text and _is_secret(text.lstrip("-"))
    return cleaned


def _is_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not name.lower().endswith(("tokens", "tokenizer", "tokeniser", "_size"))
