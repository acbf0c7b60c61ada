"""Completion in bash: its script, and how the words of a line are cut."""

from __future__ import annotations

import os

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' completion type value
    COMPREPLY=()
    for completion in $(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" %(complete_var)s=bash_complete $1); do
        IFS=',' read -r type value <<< "$completion"
        case $type in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            *) COMPREPLY+=("$value"); if [[ $value == *[=/] ]]; then compopt -o nospace; fi ;;
        esac
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


def register_bash() -> None:
    """Make click complete in bash what it does in other shells.

    bash cuts words at ``:`` and ``=``, so that ``zoo:NAME`` and ``--set KEY=`` were not found, and click's own script
    forgets names where files are possible as well, as for ``--recipe``.
    """
    from click.shell_completion import BashComplete, CompletionItem, add_completion_class, split_arg_string

    class Bash(BashComplete):
        source_template = _BASH
        typed = ""
        """The word that is being completed."""

        def get_completion_args(self) -> tuple[list[str], str]:
            line = os.environ["COMP_LINE"]
            words = split_arg_string(line)[1:]
            if words and not line[-1].isspace():
                self.typed = words.pop()
            return words, self.typed

        def format_completion(self, item: CompletionItem) -> str:
            end = max(self.typed.rfind(":"), self.typed.rfind("=")) + 1
            known = self.typed[:end]  # bash keeps this part of the word, and wants the rest only
            value = str(item.value)
            return f"{item.type},{value[len(known) :] if value.startswith(known) else value}"

    add_completion_class(Bash)
