"""Remove secrets and home folders from what is recorded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

HIDDEN = "***"

_SECRET_NAME = re.compile(
    r"(?i)(token|secret|passw|credential|api[-_]?key|access[-_]?key|private[-_]?key|_key\b|^key$)"
)
_ASSIGNMENT = re.compile(r"(?s)^(--?)?([A-Za-z_][\w.-]*)=(.*)$")
_INLINE = re.compile(
    r"(?i)([\w.-]*(?:token|secret|passw(?:or)?d|credential|api[-_]?key|access[-_]?key|private[-_]?key|_key)[\w-]*)"
    r"(\s*[=:]\s*)([^\s,;&\"']+)"
)
_URL_PASSWORD = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")
_KNOWN_TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}|sk-[A-Za-z0-9_-]{16,}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|xox[abprs]-[A-Za-z0-9-]{8,}|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*)"
)
_HOMES = re.compile(r"(?<![\w.~/-])(?:/home|/Users|[A-Za-z]:\\Users)[/\\][^/\\\s:'\"]+")


def scrub(value: Any, environment: Mapping[str, str] | None = None) -> Any:
    """`value` without secrets: values of secret-looking names and variables, tokens, passwords in URLs; home folders
    become ``~``."""
    environment = os.environ if environment is None else environment
    secrets = sorted(
        {text for name, text in environment.items() if _SECRET_NAME.search(name) and len(text) >= 6},
        key=lambda text: (-len(text), text),
    )
    home = environment.get("HOME", "")
    return _scrub(value, secrets, home if len(home) > 1 else "")


def _scrub(value: Any, secrets: Sequence[str], home: str) -> Any:
    if isinstance(value, str):
        return _scrub_text(value, secrets, home)
    if isinstance(value, Mapping):
        return {
            _scrub(key, secrets, home): HIDDEN
            if isinstance(key, str) and isinstance(item, str) and item and _is_secret_key(key)
            else _scrub(item, secrets, home)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return _scrub_list(value, secrets, home)
    return value


def _scrub_list(values: Iterable[Any], secrets: Sequence[str], home: str) -> list[Any]:
    """A command line: what follows ``--token`` is hidden, and what stands behind ``token=``."""
    cleaned: list[Any] = []
    hide_next = False
    for value in values:
        text = value if isinstance(value, str) else None
        assignment = _ASSIGNMENT.match(text) if text else None
        if hide_next and text is not None and not text.startswith("--"):
            cleaned.append(HIDDEN)
        elif assignment and _is_secret_key(assignment[2]):
            cleaned.append(f"{assignment[1] or ''}{assignment[2]}={HIDDEN}")
        else:
            cleaned.append(_scrub(value, secrets, home))
        hide_next = bool(text and text.startswith("-") and "=" not in text and _is_secret_key(text.lstrip("-")))
    return cleaned


def _is_secret_key(key: str) -> bool:
    return bool(_SECRET_NAME.search(key)) and not key.lower().endswith(("tokens", "tokenizer", "tokeniser", "_size"))


def _scrub_text(text: str, secrets: Sequence[str], home: str) -> str:
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
    text = _KNOWN_TOKENS.sub(HIDDEN, text)
    text = _INLINE.sub(lambda match: f"{match[1]}{match[2]}{HIDDEN}" if _is_secret_key(match[1]) else match[0], text)
    if home:
        text = re.sub(re.escape(home) + r"(?=/|$)", "~", text)
    return _HOMES.sub("~", text)
