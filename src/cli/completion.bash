# completion of `qemb` in bash (and in zsh after `autoload bashcompinit; bashcompinit`). Commands and options are read from --help.
_qemb() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]} list
    if [ "$COMP_CWORD" = 1 ]; then
        list="$("$program" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  .*/\1/p') --help --version"
    elif [ "$before" = --device ]; then
        list="$("$program" devices --json 2>/dev/null | sed -n 's/.*"selector": *"\([^"]*\)".*/\1/p')"
    elif [ "${word#-}" != "$word" ]; then
        list=$("$program" "${COMP_WORDS[1]}" --help 2>/dev/null | grep -o -e '--[a-z][a-z0-9_-]*' | sort -u)
    else
        list=$(compgen -f -- "$word")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$list" -- "$word")
    [ "${word#-}" = "$word" ] && [ "$COMP_CWORD" != 1 ] && type compopt >/dev/null 2>&1 && compopt -o filenames 2>/dev/null
}
complete -F _qemb qemb
